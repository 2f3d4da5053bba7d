"""Cached queries: what names a query, what it depends on, what is refused, and what its rows are when they come back.

The write is forced between the query and the store. Guards taken away once to see these tests go red: the token of
before the query, asking the database after a write of one's own and for what writes, keeping the caller's objects out,
types of parameters, the database and the models' fields in the key, tables of prefetches and of those inside them, and
each condition of the proof that only one tenant's rows are read.
"""

import asyncio
import datetime
import pickle
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from decimal import Decimal
from functools import partial
from ipaddress import ip_address
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, connections, models, transaction
from django.db.models import Count, Exists, F, Func, OuterRef, Prefetch, Q, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Lower, Now, Random
from django.db.models.sql.compiler import SQLCompiler
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.fingerprint import fingerprint
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.queries import CachedQuerySet, cache_query
from bergizi_redis.cache.queryplans import address_of_query, nameable
from bergizi_redis.exceptions import CacheKeyError, ConfigurationError, NotCacheable, TenantRequired
from bergizi_redis.signals import cache_lied
from bergizi_redis.tenancy import use_tenant
from tests.models import Dish, Kitchen, Packed, Recipe, Remark, Special, Step

TENANT = "sppg-a"
pytestmark = pytest.mark.django_db(databases=["default", "other"])
Rows = Callable[[], Any]


@pytest.fixture(autouse=True)
def in_tenant() -> Iterator[None]:
    with use_tenant(TENANT):
        yield


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def kitchen() -> Kitchen:
    """With two recipes of two dishes and three steps."""
    kitchen = Kitchen.objects.create(id=TENANT, name="Jakarta")
    for name in ("rawon", "soto"):
        recipe = Recipe.plain.create(kitchen=kitchen, name=name, price=Decimal("1.50"))
        recipe.dishes.add(Dish.objects.create(name=f"{name} dish"))
        for text in ("cut", "cook"):
            Step.objects.create(recipe=recipe, text=text)
    Remark.objects.create(text="good", about=kitchen.recipes.first())
    return kitchen


def asked(act: Rows) -> int:
    """How many statements the database got."""
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


def tables(queryset: Any, operation: str = "rows") -> set[str]:
    """The tables that the result depends on, those read of the tenant alone with an @."""
    found = set()
    for key in address_of_query(queryset, operation)[1].version_keys:
        scope, is_version, name = key.rpartition(":v:")
        if is_version:
            found.add(f"{name}@" if f"{{{TENANT}}}" in scope else name)
    return found


def key(queryset: Any, operation: str = "rows") -> str:
    return address_of_query(queryset, operation)[1].key


# Results


WAYS_TO_ASK: dict[str, tuple[Rows, Any]] = {
    "iterating": (lambda: [dish.name for dish in cache_query(Dish.objects.order_by("pk"))], ["rawon", "soto"]),
    "count": (lambda: cache_query(Dish.objects.all()).count(), 2),
    "exists": (lambda: cache_query(Dish.objects.all()).exists(), True),
    "not exists": (lambda: cache_query(Dish.objects.filter(name="x")).exists(), False),
    "len": (lambda: len(cache_query(Dish.objects.all())), 2),
    "bool": (lambda: bool(cache_query(Dish.objects.all())), True),
    "values": (lambda: [*cache_query(Dish.objects.all()).values("name")], [{"name": "rawon"}, {"name": "soto"}]),
    "values_list": (lambda: [*cache_query(Dish.objects.all()).values_list("name", flat=True)], ["rawon", "soto"]),
    "named": (lambda: cache_query(Dish.objects.all()).values_list("name", named=True)[1].name, "soto"),
    "iterator": (lambda: [dish.name for dish in cache_query(Dish.objects.all()).iterator()], ["rawon", "soto"]),
    "first": (lambda: cache_query(Dish.objects.all()).first().name, "rawon"),  # type: ignore[union-attr]
    "last": (lambda: cache_query(Dish.objects.all()).last().name, "soto"),  # type: ignore[union-attr]
    "get": (lambda: cache_query(Dish.objects.all()).get(name="soto").name, "soto"),
    "index": (lambda: cache_query(Dish.objects.order_by("pk"))[1].name, "soto"),
    "slice": (lambda: [dish.name for dish in cache_query(Dish.objects.order_by("pk"))[1:]], ["soto"]),
    "sliced": (lambda: [dish.name for dish in cache_query(Dish.objects.order_by("pk")[:1])], ["rawon"]),
    "filter": (lambda: cache_query(Dish.objects.all()).filter(name="soto")[0].name, "soto"),
    "contains": (lambda: cache_query(Dish.objects.all()).contains(Dish(pk=0)), False),
    "in_bulk": (lambda: [d.name for d in cache_query(Dish.objects.all()).in_bulk().values()], ["rawon", "soto"]),
    "manager": (lambda: [dish.name for dish in cache_query(Dish.objects)], ["rawon", "soto"]),
    "union": (
        lambda: sorted(
            dish.name
            for dish in cache_query(Dish.objects.filter(name="soto").union(Dish.objects.filter(name="rawon")))
        ),
        ["rawon", "soto"],
    ),
    "annotation": (
        lambda: [dish.low for dish in cache_query(Dish.objects.annotate(low=Lower("name")).order_by("pk"))],
        ["rawon", "soto"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS_TO_ASK)
def test_every_way_to_ask_is_answered_without_a_query_the_second_time(cache: TaggedRedisCache, way: str) -> None:
    for name in ("rawon", "soto"):
        Dish.objects.create(name=name)
    act, expected = WAYS_TO_ASK[way]
    assert asked(lambda: act()) == 1
    assert asked(lambda: act()) == 0
    assert act() == expected
    cache.invalidate_tags(["tests_dish"])
    assert asked(lambda: act()) == 1


@pytest.mark.django_db(transaction=True)
def test_the_async_twins_answer_from_the_cache_too(monkeypatch: pytest.MonkeyPatch) -> None:
    Dish.objects.bulk_create([Dish(name="rawon"), Dish(name="soto")])

    async def act() -> list[Any]:
        rows = cache_query(Dish.objects.order_by("pk"))
        first: Any = await rows.afirst()
        return [
            [dish.name async for dish in rows],
            [dish.name async for dish in rows.aiterator()],
            await rows.acount(),
            await rows.aexists(),
            first.name,
            (await rows.aget(name="soto")).name,
            [row async for row in rows.values_list("name", flat=True)],
        ]

    async def run() -> list[Any]:
        try:
            return await act()
        finally:
            await sync_to_async(connections.close_all)()

    before = asyncio.run(run())
    monkeypatch.setattr(SQLCompiler, "execute_sql", lambda *_, **__: pytest.fail("the database was asked"))
    assert asyncio.run(run()) == before
    assert before == [["rawon", "soto"], ["rawon", "soto"], 2, True, "rawon", "soto", ["rawon", "soto"]]


def test_in_an_event_loop_only_the_async_methods_work_warm_or_cold(kitchen: Kitchen) -> None:
    async def act() -> None:
        for ask in (list, len, bool):
            with pytest.raises(SynchronousOnlyOperation):
                ask(cache_query(Dish.objects.all()))

    asyncio.run(act())
    list(cache_query(Dish.objects.all()))
    asyncio.run(act())


def test_a_hit_is_one_round_trip_and_a_query_without_rows_none(commands: Any) -> None:
    Dish.objects.create(name="soto")
    list(cache_query(Dish.objects.all()))
    with commands() as log:
        list(cache_query(Dish.objects.all()))
    assert len(log) == 1
    with commands() as log:
        for _ in range(2):
            assert list(cache_query(Dish.objects.none())) == []
            assert list(cache_query(Dish.objects.filter(pk__in=[]))) == []
            assert cache_query(Dish.objects.none()).count() == 0
            assert not cache_query(Dish.objects.none()).exists()
    assert log == []


def test_nothing_is_asked_before_the_rows_are_used(commands: Any) -> None:
    with commands() as log:
        assert asked(lambda: cache_query(Dish.objects.all()).filter(name="a").order_by("pk")) == 0
    assert log == []


def test_no_rows_are_a_hit() -> None:
    assert asked(lambda: list(cache_query(Dish.objects.all()))) == 1
    assert asked(lambda: list(cache_query(Dish.objects.all()))) == 0
    with pytest.raises(Dish.DoesNotExist):
        cache_query(Dish.objects.all()).get()


# Rows that come back


@pytest.fixture(params=["computed", "restored"])
def rows(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """The rows of a cached query, the first or the second time."""

    def fetch(queryset: Any) -> Any:
        if request.param == "restored":
            list(cache_query(queryset))
        found = cache_query(queryset)
        assert asked(lambda: list(found)) == 0 if request.param == "restored" else list(found) is not None
        return found

    return fetch


def test_an_instance_is_as_django_makes_it(rows: Callable[[Any], Any], kitchen: Kitchen) -> None:
    recipe = rows(Recipe.plain.defer("price"))[0]
    assert (recipe._state.db, recipe._state.adding, recipe.get_deferred_fields()) == ("default", False, {"price"})
    assert recipe.price == Decimal("1.50")
    recipe.name = "gado"
    assert asked(recipe.save) == 1
    assert Recipe.plain.get(pk=recipe.pk).name == "gado"


def test_related_rows_come_along(rows: Callable[[Any], Any], kitchen: Kitchen) -> None:
    for step in rows(Step.objects.select_related("recipe__kitchen")):
        assert asked(partial(getattr, step.recipe.kitchen, "name")) == 0
    for recipe in rows(Recipe.plain.prefetch_related("dishes", Prefetch("steps", Step.objects.order_by("-pk"), "all"))):
        assert asked(partial(list, recipe.dishes.all())) == 0
        assert [step.text for step in recipe.all] == ["cook", "cut"]


def test_the_object_that_was_asked_is_the_rows_own(rows: Callable[[Any], Any], kitchen: Kitchen) -> None:
    """It is the caller's, with what only the caller knows of it: it does not go into the cache."""
    assert all(recipe.kitchen is kitchen for recipe in rows(kitchen.recipes.all()))
    kitchen.name = "renamed, not saved"
    other = Kitchen.objects.get()
    assert [recipe.kitchen.name for recipe in cache_query(other.recipes.all())] == ["Jakarta"] * 2


def test_changed_rows_do_not_change_the_cache() -> None:
    Dish.objects.create(name="soto")
    for _ in range(3):
        dish = cache_query(Dish.objects.all())[0]
        assert dish.name == "soto"
        dish.name = "changed"


# What names a query


PLAIN = st.one_of(
    st.integers(-(2**31), 2**31), st.text(max_size=8), st.booleans(), st.floats(allow_nan=False),
    st.decimals(allow_nan=False), st.binary(max_size=8), st.dates(), st.uuids(), st.sampled_from([0, "0", 1, "1"]),
)  # fmt: skip


@given(PLAIN, PLAIN)
def test_two_parameters_have_two_keys_unless_they_are_one(left: Any, right: Any) -> None:
    with use_tenant(TENANT):
        keys = [key(Dish.objects.annotate(given=Value(each, output_field=Anything()))) for each in (left, right)]
    assert (keys[0] == keys[1]) == (type(left) is type(right) and repr(left) == repr(right))


class Anything(models.Field):  # type: ignore[type-arg]
    """Hands each value to the driver as it is."""


def test_types_of_parameters_are_told_apart() -> None:
    given = [1, "1", True, 1.0, Decimal(1), Decimal("1.0"), b"1", None, [1], ["1"], datetime.date(2026, 1, 1)]
    found = {key(Dish.objects.annotate(given=Value(each, output_field=Anything()))) for each in given}
    assert len(found) == len(given)


def test_whatever_makes_a_difference_makes_another_key(kitchen: Kitchen) -> None:
    dishes = Dish.objects.all()
    different: list[Any] = [
        dishes,
        dishes.filter(name="a"),
        dishes.filter(name="b"),
        dishes.exclude(name="a"),
        dishes.order_by("name"),
        dishes.order_by("-name"),
        dishes[:1],
        dishes[:2],
        dishes.using("other"),
        dishes.only("name"),
        dishes.values("name"),
        dishes.values_list("name"),
        dishes.values_list("name", flat=True),
        dishes.values_list("name", named=True),
        dishes.distinct(),
        dishes.prefetch_related("recipes"),
        dishes.prefetch_related(Prefetch("recipes", to_attr="some")),
        dishes.prefetch_related(Prefetch("recipes", Recipe.plain.filter(name="a"))),
        dishes.prefetch_related(Prefetch("recipes", Recipe.plain.filter(name="b"))),
        dishes.prefetch_related("recipes__steps"),
        Special.objects.all(),
    ]
    assert len({key(each) for each in different}) == len(different)
    assert len({key(dishes, operation) for operation in ("rows", "count", "exists")}) == 3
    assert key(dishes) == key(Dish.objects.all())
    mine = key(dishes)
    with use_tenant("sppg-b"):
        assert key(dishes) != mine


def test_what_the_driver_of_postgresql_wraps_is_told_apart() -> None:
    numeric, range_ = pytest.importorskip("psycopg.types.numeric"), pytest.importorskip("psycopg.types.range")
    json = pytest.importorskip("psycopg.types.json")
    wrapped = [
        1, numeric.Int4(1), numeric.Int8(1), numeric.Int4(2), numeric.Float8(1.0), json.Jsonb({"a": 1}),
        json.Jsonb({"a": "1"}), json.Jsonb([1]), range_.Range(1, 2), range_.Range(1, 3), range_.Range(1, 2, "[]"),
        ip_address("127.0.0.1"), ip_address("::1"), "127.0.0.1",
    ]  # fmt: skip
    assert len({fingerprint(nameable(each)) for each in wrapped}) == len(wrapped)
    assert fingerprint(nameable(numeric.Int4(1))) == fingerprint(nameable(numeric.Int4(1)))


def test_text_is_text_however_it_is_marked() -> None:
    texts = ("a", mark_safe("a"), gettext_lazy("a"))
    assert len({key(Dish.objects.filter(name=each)) for each in texts}) == 1


def test_a_model_that_has_changed_does_not_find_the_rows_of_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key(Dish.objects.only("pk"))
    monkeypatch.setattr(Dish._meta.get_field("name"), "attname", "called")
    from bergizi_redis.cache import queryreads

    queryreads._state_of.cache_clear()
    after = key(Dish.objects.only("pk"))
    monkeypatch.undo()
    queryreads._state_of.cache_clear()
    assert before != after


# What a query depends on


def test_all_tables_that_are_read_are_tags(kitchen: Kitchen) -> None:
    recipe, step = "tests_recipe", "tests_step"
    through, dish = "tests_recipe_dishes", "tests_dish"
    expected: list[tuple[Any, set[str]]] = [
        (Recipe.plain.all(), {recipe}),
        (Recipe.plain.filter(kitchen__id="a"), {recipe}),
        (Recipe.plain.filter(kitchen__name="a"), {recipe, "tests_kitchen"}),
        (Recipe.plain.select_related("kitchen"), {recipe, "tests_kitchen"}),
        (Recipe.plain.filter(dishes__name="a"), {recipe, through, dish}),
        (Recipe.plain.filter(dishes=1), {recipe, through}),
        (Recipe.plain.annotate(n=Count("steps")), {recipe, step}),
        (Recipe.plain.filter(pk__in=Step.objects.filter(text="a").values("recipe")), {recipe, step}),
        (Recipe.plain.exclude(steps__text="a"), {recipe, step}),
        (Recipe.plain.filter(Exists(Step.objects.filter(recipe=OuterRef("pk")))), {recipe, step}),
        (Recipe.plain.annotate(t=Step.objects.filter(recipe=OuterRef("pk")).values("text")[:1]), {recipe, step}),
        (Step.objects.all(), {step, recipe}),  # by its Meta.ordering
        (Step.objects.order_by("pk"), {step}),
        (Packed.objects.all(), {"tests_packed", dish}),
        (Special.objects.all(), {dish}),
        (Dish.objects.values("name").union(Recipe.plain.order_by().values("name")), {recipe, dish}),
        (Recipe.plain.annotate(s=models.FilteredRelation("steps", condition=Q(steps__text="a"))).filter(s__pk=1),
         {recipe, step}),
        (Recipe.plain.prefetch_related("dishes"), {recipe, through, dish}),
        (Dish.objects.prefetch_related("recipes"), {recipe, through, dish}),
        (Recipe.plain.prefetch_related("steps"), {recipe, step}),
        (Recipe.plain.prefetch_related("remarks"), {recipe, "tests_remark"}),
        (Step.objects.order_by("pk").prefetch_related("recipe"), {recipe, step}),
        (Kitchen.objects.prefetch_related("recipes__dishes"), {"tests_kitchen", recipe, through, dish}),
        (Kitchen.objects.prefetch_related(Prefetch("recipes", Recipe.plain.filter(steps__text="a"), "some")),
         {"tests_kitchen", recipe, step}),
        (Kitchen.objects.prefetch_related(*SOME),
         {"tests_kitchen", recipe, step}),
        (Kitchen.objects.prefetch_related(Prefetch("recipes", Recipe.plain.prefetch_related("steps"))),
         {"tests_kitchen", recipe, step}),
        (Dish.objects.prefetch_related("packed"), {dish, "tests_packed"}),
    ]  # fmt: skip
    for queryset, names in expected:
        assert tables(queryset) == names, str(queryset.query)
        list(queryset)  # and Django can do it


def test_counting_does_not_depend_on_what_is_only_prefetched() -> None:
    assert tables(Recipe.plain.prefetch_related("steps"), "count") == {"tests_recipe"}


# The plugin of mypy does not know the names that Prefetch gives.
SOME: Any = (Prefetch("recipes", to_attr="some"), "some__steps")
WRITES: list[tuple[Any, str]] = [
    (lambda: Recipe.plain.select_related("kitchen"), "tests_kitchen"),
    (lambda: Recipe.plain.prefetch_related("dishes"), "tests_recipe_dishes"),
    (lambda: Recipe.plain.filter(steps__text="cut"), "tests_step"),
]


@pytest.mark.parametrize(("queryset", "table"), WRITES)
def test_rows_of_before_a_write_are_not_stored_after_it(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch, queryset: Rows, table: str
) -> None:
    """The write comes between the query and the store."""
    store = Lookup.store

    def late(self: Any, *args: Any) -> bool:
        monkeypatch.undo()
        cache.invalidate_tags([table])
        return store(self, *args)

    monkeypatch.setattr(Lookup, "store", late)
    for is_asked in (True, True, False):
        assert bool(asked(lambda: list(cache_query(queryset())))) is is_asked


# Tenants


def test_without_a_tenant_there_is_no_cached_query() -> None:
    rows = cache_query(Dish.objects.all())
    with use_tenant(None):
        for act in (lambda: cache_query(Dish.objects.all()), lambda: list(rows), lambda: rows.count()):
            with pytest.raises(TenantRequired):
                act()


@pytest.fixture
def fields(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANT_FIELD": ("tenant", "kitchen")}


@pytest.mark.usefixtures("fields")
def test_rows_proven_to_be_the_tenants_depend_on_its_version_of_the_table_alone(kitchen: Kitchen) -> None:
    dish, recipe = "tests_dish", "tests_recipe"
    proven: list[tuple[Any, set[str]]] = [
        (Dish.objects.filter(tenant=TENANT), {f"{dish}@"}),
        (Dish.objects.filter(name="a", tenant=TENANT).order_by("name")[:3], {f"{dish}@"}),
        (Dish.objects.filter(Q(tenant=TENANT) & (Q(name="a") | Q(name="b"))), {f"{dish}@"}),
        (Recipe.plain.filter(kitchen=kitchen), {f"{recipe}@"}),
        (Recipe.plain.filter(kitchen_id=TENANT), {f"{recipe}@"}),
        (Recipe.plain.filter(kitchen__id=TENANT), {f"{recipe}@"}),
        (kitchen.recipes.all(), {f"{recipe}@"}),
        (Recipe.plain.filter(kitchen=kitchen).select_related("kitchen"), {f"{recipe}@", "tests_kitchen"}),
        (Step.objects.order_by("pk").filter(recipe__kitchen=kitchen), {"tests_step", f"{recipe}@"}),
        (Packed.objects.filter(tenant=TENANT), {"tests_packed", f"{dish}@"}),
    ]
    unproven: list[tuple[Any, set[str]]] = [
        (Dish.objects.all(), {dish}),
        (Dish.objects.filter(tenant="sppg-b"), {dish}),
        (Dish.objects.filter(Q(tenant=TENANT) | Q(name="a")), {dish}),
        (Dish.objects.exclude(tenant=TENANT), {dish}),
        (Dish.objects.filter(~Q(tenant=TENANT)), {dish}),
        (Dish.objects.filter(tenant__in=[TENANT]), {dish}),
        (Dish.objects.filter(tenant__iexact=TENANT), {dish}),
        (Dish.objects.filter(tenant=F("name")), {dish}),
        (Dish.objects.filter(name=TENANT), {dish}),
        (Dish.objects.annotate(t=Lower("tenant")).filter(t=TENANT), {dish}),
        (Dish.objects.filter(tenant=TENANT).union(Dish.objects.all()), {dish}),
        (Dish.objects.filter(tenant=TENANT, pk__in=[]).union(Dish.objects.all()), {dish}),
        (Dish.objects.filter(tenant=TENANT, pk__in=Dish.objects.values("pk")), {dish}),
        (Dish.objects.filter(tenant=TENANT).prefetch_related("recipes__dishes"),
         {dish, recipe, "tests_recipe_dishes"}),
    ]  # fmt: skip
    for queryset, names in proven + unproven:
        assert tables(queryset) == names, str(queryset.query)


@pytest.mark.usefixtures("fields")
def test_another_tenants_write_leaves_proven_rows_warm(cache: TaggedRedisCache) -> None:
    mine, all_ = Dish.objects.filter(tenant=TENANT), Dish.objects.all()
    for queryset in (mine, all_):
        list(cache_query(queryset))
    cache.invalidate_tags(["tests_dish"], tenant="sppg-b")
    assert asked(lambda: list(cache_query(mine))) == 0
    assert asked(lambda: list(cache_query(all_))) == 1
    cache.invalidate_tags(["tests_dish"], tenant=TENANT)
    assert asked(lambda: list(cache_query(mine))) == 1
    cache.invalidate_tags(["tests_dish"])
    assert asked(lambda: list(cache_query(mine))) == 1


def test_tenants_do_not_see_one_anothers_results() -> None:
    Dish.objects.create(name="soto")
    list(cache_query(Dish.objects.all()))
    with use_tenant("sppg-b"):
        assert asked(lambda: list(cache_query(Dish.objects.all()))) == 1


# What is refused


class Own(Func):
    function = "UPPER"


class Vouched(Own):
    deterministic = True


REFUSED: dict[str, tuple[Rows, str]] = {
    "now": (lambda: Dish.objects.annotate(now=Now()), "moment"),
    "now in a condition": (lambda: Recipe.plain.filter(changed__lt=Now()), "moment"),
    "now deep inside": (
        lambda: Dish.objects.filter(
            pk__in=Recipe.plain.filter(changed__lt=Now() + datetime.timedelta(1)).values("pk")
        ),
        "moment",
    ),
    "today": (lambda: Dish.objects.annotate(day=Cast(Value("today"), models.DateField())), "moment"),
    "random": (lambda: Dish.objects.annotate(n=Random()), "moment"),
    "random order": (lambda: Dish.objects.order_by("?"), "order_by"),
    "random union": (lambda: Dish.objects.order_by().union(Dish.objects.order_by("?")[:1]), "order_by"),
    "raw": (lambda: Dish.objects.annotate(n=RawSQL("1", ())), "RawSQL"),
    "raw condition": (lambda: Dish.objects.filter(pk__in=RawSQL("SELECT 1", ())), "RawSQL"),
    "extra": (lambda: Dish.objects.extra(select={"n": "1"}), "extra"),
    "extra where": (lambda: Dish.objects.extra(where=["1=1"]), "extra"),
    "extra order": (lambda: Dish.objects.extra(order_by=["name"]), "extra"),
    "lock": (lambda: Dish.objects.select_for_update(), "locks"),
    "a function by name": (lambda: Dish.objects.annotate(n=Func(F("name"), function="next_number")), "deterministic"),
    "a function with a text of its own": (
        lambda: Dish.objects.annotate(n=Lower("name", template="random()")),
        "deterministic",
    ),
    "a function of the project": (lambda: Dish.objects.annotate(n=Own("name")), "deterministic"),
    "raw query set": (lambda: Dish.objects.raw("SELECT * FROM tests_dish"), "query set"),
    "a list": (lambda: [1], "query set"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_differ_without_a_write_is_refused_with_the_reason(what: str) -> None:
    make, reason = REFUSED[what]
    with pytest.raises(NotCacheable, match=reason):
        cache_query(make())


def test_what_becomes_unsafe_later_is_refused_when_it_is_used(kitchen: Kitchen) -> None:
    with pytest.raises(NotCacheable):
        list(cache_query(Dish.objects.all()).order_by("?"))
    with pytest.raises(NotCacheable):
        cache_query(Dish.objects.all()).annotate(now=Now()).count()
    with pytest.raises(NotCacheable, match="GenericForeignKey"):
        list(cache_query(Remark.objects.prefetch_related("about")))
    with pytest.raises(NotCacheable, match="moment"):
        list(cache_query(Recipe.plain.prefetch_related(Prefetch("steps", Step.objects.annotate(now=Now())))))
    with pytest.raises(NotCacheable, match="manager and filter"):
        list(cache_query(Kitchen.objects.prefetch_related(Prefetch("recipes", kitchen.recipes.all()))))


def test_an_ordering_of_the_model_that_is_random_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dish._meta, "ordering", ["?"])
    with pytest.raises(NotCacheable, match="RAND"):
        list(cache_query(Dish.objects.all()))


def test_known_functions_and_vouched_ones_are_fine() -> None:
    list(cache_query(Dish.objects.annotate(n=Func(F("name"), function="LOWER"), v=Vouched("name"), c=Count("recipes"))))


def test_a_moment_as_a_parameter_is_fine() -> None:
    moment = timezone.now()
    list(cache_query(Recipe.plain.filter(changed__lt=moment)))
    assert asked(lambda: list(cache_query(Recipe.plain.filter(changed__lt=moment)))) == 0


@pytest.mark.parametrize("timeout", [0, -1, None, True, "300"])
def test_a_life_that_is_none_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="cache_query"):
        cache_query(Dish.objects.all(), timeout=timeout)


def test_a_parameter_without_a_stable_name_is_refused() -> None:
    with pytest.raises(CacheKeyError):
        list(cache_query(Dish.objects.annotate(n=Value(object(), output_field=Anything()))))


def test_a_serializer_that_changes_what_it_is_given_is_refused(settings: Any) -> None:
    options = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": options}}
    with pytest.raises(ConfigurationError, match="JSONSerializer"):
        cache_query(Dish.objects.all())


# Transactions


@pytest.mark.django_db(transaction=True)
def test_a_transaction_sees_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from bergizi_redis.cache.invalidation import Touched, touch

    Dish.objects.create(name="old")

    def names() -> list[str]:
        return [dish.name for dish in cache_query(Dish.objects.all())]

    assert names() == ["old"]
    with transaction.atomic():
        Dish.objects.update(name="new")
        touch(Touched(TENANT, ["tests_dish"]))
        assert names() == ["new"]
        transaction.set_rollback(True)
    assert names() == ["old"]


WRITERS: dict[str, Callable[[Recipe], Any]] = {
    "save": lambda recipe: Recipe(pk=recipe.pk, kitchen=recipe.kitchen, name="new").save(),
    "update": lambda recipe: Recipe.plain.update(name="new"),
    "bulk_update": lambda recipe: Recipe.plain.bulk_update([Recipe(pk=recipe.pk, name="new")], ["name"]),
    "bulk_create": lambda recipe: Recipe.plain.bulk_create([Recipe(kitchen=recipe.kitchen, name="new")]),
    "delete": lambda recipe: recipe.delete(),
    "many-to-many": lambda recipe: recipe.dishes.clear(),
    "a related row": lambda recipe: Kitchen.objects.update(name="new"),
    "SQL by hand": lambda recipe: connection.cursor().execute("UPDATE tests_recipe SET name = %s", ["new"]),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("in_transaction", [True, False])
def test_whoever_writes_is_seen_by_the_next_reader(writer: str, in_transaction: bool, kitchen: Kitchen) -> None:
    def read() -> list[Any]:
        rows = Recipe.plain.select_related("kitchen").prefetch_related("dishes")
        return [(row.name, row.kitchen.name, [dish.name for dish in row.dishes.all()]) for row in cache_query(rows)]

    old = read()
    assert asked(read) == 0
    with transaction.atomic() if in_transaction else nullcontext():
        WRITERS[writer](Recipe.plain.select_related("kitchen")[0])
    assert read() != old
    assert asked(read) == 0


# Models that cache by themselves


@pytest.fixture
def opted(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "QUERY_CACHE": {"tests.Recipe": 300}}


@pytest.mark.usefixtures("opted")
def test_a_listed_model_caches_its_queries(kitchen: Kitchen, cache: TaggedRedisCache) -> None:
    ways: list[Rows] = [
        lambda: list(Recipe.objects.all()),
        lambda: Recipe.objects.filter(name="soto").count(),
        lambda: Recipe.objects.exists(),
        lambda: list(Recipe.objects.values("name")),
        lambda: Recipe.objects.get(name="soto"),
        lambda: list(Recipe.objects.iterator()),
        lambda: list(kitchen.recipes.all()),
    ]
    for act in ways:
        cache.invalidate_tags(["tests_recipe"])
        assert asked(act) == 1
        assert asked(act) == 0


@pytest.mark.usefixtures("opted")
def test_a_listed_model_asks_the_database_where_it_must(kitchen: Kitchen) -> None:
    ways: list[Rows] = [
        lambda: list(Recipe.objects.order_by("?")),
        lambda: list(Recipe.objects.filter(changed__lt=Now())),
        lambda: list(Recipe.plain.all()),
        lambda: Recipe.objects.aggregate(n=Count("pk")),
    ]
    for act in ways:
        assert [asked(act), asked(act)] == [1, 1]
    with use_tenant(None):
        assert [asked(lambda: list(Recipe.objects.all())) for _ in range(2)] == [1, 1]


@pytest.mark.usefixtures("opted")
def test_what_writes_does_not_read_the_cache(kitchen: Kitchen) -> None:
    Recipe.objects.get(name="soto")
    Recipe.objects.get(name="soto", kitchen=kitchen)
    assert asked(lambda: Recipe.objects.get(name="soto", kitchen=kitchen)) == 0
    with transaction.atomic():
        assert asked(lambda: Recipe.objects.get_or_create(name="soto", kitchen=kitchen)) == 1
        assert asked(lambda: Recipe.objects.select_for_update().get(name="soto")) == 1
    assert Recipe.objects.filter(name="soto").update(name="soto ayam") == 1
    assert Recipe.objects.filter(name="rawon").delete()[0]


def test_a_model_that_is_not_listed_is_not_cached(kitchen: Kitchen) -> None:
    assert [asked(lambda: list(Recipe.objects.all())) for _ in range(2)] == [1, 1]
    assert [asked(lambda: list(Recipe.objects.iterator())) for _ in range(2)] == [1, 1]


# Query sets of a project's own


class DishQuerySet(models.QuerySet[Dish]):
    def named(self, name: str) -> "DishQuerySet":
        return self.filter(name=name)


def test_a_projects_own_methods_stay(kitchen: Kitchen) -> None:
    rows: Any = cache_query(DishQuerySet(Dish))
    assert [dish.name for dish in rows.named("soto dish")] == ["soto dish"]
    assert asked(lambda: list(rows.named("soto dish"))) == 0
    assert isinstance(rows, DishQuerySet)
    again = pickle.loads(pickle.dumps(rows.named("soto dish")))  # noqa: S301 – our own
    assert [dish.name for dish in again] == ["soto dish"]
    assert type(again) is type(rows)


def test_a_query_set_that_fetches_by_itself_is_refused() -> None:
    class Fetching(models.QuerySet[Dish]):
        def _fetch_all(self) -> None:
            raise AssertionError

    with pytest.raises(NotCacheable, match="Fetching"):
        cache_query(Fetching(Dish))


def test_a_cached_query_inside_another_one_is_a_subquery(kitchen: Kitchen) -> None:
    inner = cache_query(Step.objects.filter(text="cut")).values("recipe")
    outer = cache_query(Recipe.plain.filter(pk__in=inner))
    assert asked(lambda: list(outer)) == 1
    assert tables(outer) == {"tests_recipe", "tests_step"}
    assert isinstance(outer, CachedQuerySet)


# Statistics


def test_queries_are_counted_by_model_and_tenant_and_a_wrong_one_is_told(
    cache: TaggedRedisCache, settings: Any, kitchen: Kitchen
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "VERIFY_SAMPLE": 1.0}
    lies: list[str] = []

    def hear(sender: Any, domain: str, **_: Any) -> None:
        lies.append(domain)

    cache_lied.connect(hear)
    try:
        rows = Recipe.plain.prefetch_related("dishes")
        for _ in range(2):
            assert cache_query(rows).count() == len(cache_query(rows)) == len(cache_query(kitchen.recipes.all()))
        assert lies == []
        connection.connection.execute("UPDATE tests_recipe SET name = 'past Django'")
        assert [row.name for row in cache_query(rows)] == ["rawon", "soto"]
        assert lies == ["query.tests.recipe"]
    finally:
        cache_lied.disconnect(hear)
    assert cache.stats()["by_domain"]["query.tests.recipe"]["verified"] == 4
    assert cache.stats()["by_tenant"][TENANT]["lies"] == 1


# Outages


def test_with_redis_down_the_database_is_asked(server: Any, kitchen: Kitchen) -> None:
    server.kill()
    for _ in range(2):
        assert cache_query(Recipe.plain.all()).count() == 2
        assert len(cache_query(Recipe.plain.all())) == 2
