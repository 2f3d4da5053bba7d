"""Every way to write to PostgreSQL, in every kind of transaction, voids what was computed before; a rollback nothing.

Taken away, the guards turn these red: the execute wrapper (all of ``WRITES``), and with it ``RETURNING`` and the
``WITH`` that writes in ``sqltables.py``; commits under ``durable`` and ``ATOMIC_REQUESTS`` go through ``commits.py``;
what SQL by hand says of the transaction's end (``goes_on``, ``at_once``) is heard in ``statements.py``.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.cache import caches
from django.db import connections, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.invalidation import Touched, invalidates, touch
from bergizi_redis.cache.listeners import _listeners
from tests.herds import Threads
from tests.models import Dish, Kitchen, Packed, Recipe, Special, Step
from tests.postgres.conftest import Postgres

DISH, PACKED, RECIPE, STEP = (model._meta.db_table for model in (Dish, Packed, Recipe, Step))
THROUGH = Recipe.dishes.through._meta.db_table
ContentType.objects.clear_cache()


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def no_listeners() -> Iterator[None]:
    """Functions that other tests have registered would void more."""
    before = dict(_listeners)
    _listeners.clear()
    yield
    _listeners.clear()
    _listeners.update(before)


@pytest.fixture
def kitchen(postgres: Postgres) -> Recipe:
    dishes = Dish.objects.using("pg")
    soto, packed = dishes.create(name="soto"), Packed.objects.using("pg").create(name="nasi", weight=1)
    recipe = Recipe.plain.using("pg").create(kitchen=Kitchen.objects.using("pg").create(id="a"), name="lunch")
    recipe.dishes.add(soto, packed)
    Step.objects.using("pg").create(recipe=recipe, text="boil")
    return recipe


def dishes() -> Any:
    return Dish.objects.using("pg")


def sql(text: str, *params: Any) -> None:
    with connections["pg"].cursor() as cursor:
        cursor.execute(text, params)


def many(text: str, *rows: tuple[Any, ...]) -> None:
    with connections["pg"].cursor() as cursor:
        cursor.executemany(text, rows)


def saved(**changes: Any) -> None:
    dish = dishes().get(name="soto")
    vars(dish).update(changes)
    dish.save(update_fields=list(changes) or None)


def recipe() -> Recipe:
    return Recipe.plain.using("pg").get()


# What is written, and the tables that it changes
WRITES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "create": (lambda: dishes().create(name="pecel"), (DISH,)),
    "save": (lambda: saved(), (DISH,)),
    "save of one field": (lambda: saved(name="rawon"), (DISH,)),
    "save through a proxy": (lambda: Special.objects.using("pg").get(name="soto").save(), (DISH,)),
    "create of a child": (lambda: Packed.objects.using("pg").create(name="kering"), (DISH, PACKED)),
    "update of a parent's field by the child": (lambda: Packed.objects.using("pg").update(name="b"), (DISH,)),
    "update of both": (lambda: Packed.objects.using("pg").update(name="b", weight=2), (DISH, PACKED)),
    "delete of a child": (lambda: Packed.objects.using("pg").get().delete(), (DISH, PACKED, THROUGH)),
    "delete": (lambda: dishes().get(name="soto").delete(), (DISH, THROUGH)),
    "delete of a set": (lambda: dishes().all().delete(), (DISH, PACKED, THROUGH)),
    "cascade": (lambda: Kitchen.objects.using("pg").get().delete(), (RECIPE, STEP, THROUGH)),
    "update": (lambda: dishes().update(name="rawon"), (DISH,)),
    "update by F": (lambda: dishes().update(tenant=F("name")), (DISH,)),
    "bulk_create": (lambda: dishes().bulk_create([Dish(name="a"), Dish(name="b")]), (DISH,)),
    "bulk_create that updates": (
        lambda: dishes().bulk_create(
            [Dish(pk=1, name="a")], update_conflicts=True, update_fields=["name"], unique_fields=["id"]
        ),
        (DISH,),
    ),
    "bulk_update": (lambda: dishes().bulk_update(list(dishes().all()), ["name"]), (DISH,)),
    "get_or_create": (lambda: dishes().get_or_create(name="pecel"), (DISH,)),
    "update_or_create": (lambda: dishes().update_or_create(name="soto", defaults={"tenant": "b"}), (DISH,)),
    "many to many, add": (lambda: recipe().dishes.add(dishes().create(name="x")), (DISH, THROUGH)),
    "many to many, remove": (lambda: recipe().dishes.remove(dishes().get(name="soto")), (THROUGH,)),
    "many to many, set": (lambda: recipe().dishes.set([]), (THROUGH,)),
    "many to many, clear": (lambda: recipe().dishes.clear(), (THROUGH,)),
    "many to many, from the other side": (lambda: dishes().get(name="soto").recipes.clear(), (THROUGH,)),
    "many to many, by its table": (lambda: Recipe.dishes.through.objects.using("pg").all().delete(), (THROUGH,)),
    "raw SQL": (lambda: sql(f"UPDATE {DISH} SET name = %s", "rawon"), (DISH,)),
    "executemany": (lambda: many(f"UPDATE {DISH} SET name = %s WHERE id = %s", ("a", 1), ("b", 2)), (DISH,)),
    "a WITH that deletes": (
        lambda: sql(f"WITH gone AS (DELETE FROM {STEP} RETURNING id) SELECT count(*) FROM gone"), (STEP,)
    ),
    "a WITH that moves rows": (
        lambda: sql(
            f"WITH gone AS (DELETE FROM {THROUGH} RETURNING dish_id), "
            f"named AS (UPDATE {DISH} SET name = 'gone' WHERE id IN (SELECT dish_id FROM gone) RETURNING id) "
            f"INSERT INTO {STEP} (recipe_id, text) SELECT 1, 'gone' FROM named"
        ),
        (DISH, STEP, THROUGH),
    ),
    "insert on conflict": (
        lambda: sql(
            f"INSERT INTO {DISH} (id, tenant, name) VALUES (1, 'a', 'b') ON CONFLICT (id) DO UPDATE SET name = 'c'"
        ),
        (DISH,),
    ),
    "update from": (lambda: sql(f"UPDATE ONLY {DISH} AS d SET name = s.text FROM {STEP} s WHERE s.id = d.id"), (DISH,)),
    "delete using": (lambda: sql(f"DELETE FROM {STEP} USING {DISH} WHERE {DISH}.id = {STEP}.id"), (STEP,)),
    "merge": (
        lambda: sql(f"MERGE INTO {STEP} t USING {DISH} s ON t.id = s.id WHEN MATCHED THEN DELETE"), (STEP,)
    ),
    "truncate": (lambda: sql(f'TRUNCATE "{STEP}"'), (STEP,)),
    "the schema and its name": (lambda: sql(f'UPDATE "public"."{DISH}" SET name = $$it\'s$$'), (DISH,)),
    "an anonymous block": (lambda: sql(f"DO $$ BEGIN UPDATE {DISH} SET name = 'x'; END $$"), (DISH,)),
    "two statements": (lambda: sql(f"SELECT 1; UPDATE {DISH} SET name = 'x'"), (DISH,)),
    "explain analyze": (lambda: sql(f"EXPLAIN ANALYZE UPDATE {DISH} SET name = 'x'"), (DISH,)),
    "a prepared statement": (
        lambda: sql(f"PREPARE cook AS UPDATE {DISH} SET name = 'x'; EXECUTE cook; DEALLOCATE cook"), (DISH,)
    ),
}  # fmt: skip


def in_atomic(write: Callable[[], Any]) -> None:
    with transaction.atomic(using="pg", durable=True):
        write()


def in_savepoints(write: Callable[[], Any]) -> None:
    with transaction.atomic(using="pg"), transaction.atomic(using="pg"), transaction.atomic(using="pg"):
        write()


def without_autocommit(write: Callable[[], Any]) -> None:
    transaction.set_autocommit(False, using="pg")
    try:
        write()
        transaction.commit(using="pg")
    finally:
        transaction.rollback(using="pg")
        transaction.set_autocommit(True, using="pg")


WAYS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "committing itself": lambda write: write(),
    "durable": in_atomic,
    "three savepoints deep": in_savepoints,
    "without autocommit": without_autocommit,
}


@pytest.mark.usefixtures("kitchen")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("write", WRITES)
def test_a_write_voids_what_was_computed_from_its_tables(cache: TaggedRedisCache, write: str, way: str) -> None:
    act, tables = WRITES[write]
    for table in tables:
        cache.set(table, "old", tags=[table])
    cache.set("of-all", "old", tags=[*tables, "django_content_type"])
    WAYS[way](act)
    assert [cache.get(key) for key in (*tables, "of-all")] == [None] * (len(tables) + 1)
    for table in tables:
        with cache.lookup(table, tags=[table]) as entry:
            assert entry.store("new")  # no fence was left behind
        assert cache.get(table) == "new"


@pytest.mark.usefixtures("kitchen")
@pytest.mark.parametrize("write", WRITES)
def test_what_is_rolled_back_voids_nothing(cache: TaggedRedisCache, write: str) -> None:
    act, tables = WRITES[write]
    cache.set("k", "kept", tags=tables)
    with suppress(ZeroDivisionError), transaction.atomic(using="pg"):
        act()
        raise ZeroDivisionError
    if write not in ("an anonymous block", "a prepared statement", "two statements"):  # whose text says too little
        assert cache.get("k") == "kept"


# Transactions


@pytest.mark.usefixtures("kitchen")
def test_each_request_may_be_a_transaction(postgres: Postgres, cache: TaggedRedisCache) -> None:
    postgres.alias("pg", ATOMIC_REQUESTS=True)
    from django.core.handlers.base import BaseHandler

    def rename(request: HttpRequest, name: str) -> HttpResponse:
        dishes().update(name=name)
        assert cache.get("k") == "old"  # not committed yet
        if name == "fails":
            raise ZeroDivisionError
        return HttpResponse("done")

    cache.set("k", "old", tags=[DISH])
    view = BaseHandler().make_view_atomic(rename)
    with pytest.raises(ZeroDivisionError):
        view(RequestFactory().post("/"), "fails")
    assert cache.get("k") == "old"
    view(RequestFactory().post("/"), "new")
    assert cache.get("k") is None


@pytest.mark.usefixtures("kitchen")
def test_each_of_two_databases_commits_its_own(postgres: Postgres, cache: TaggedRedisCache) -> None:
    postgres.alias("second")
    cache.set("k", "old", tags=[DISH])
    cache.set("steps", "old", tags=[STEP])
    with transaction.atomic(using="pg"):
        dishes().update(name="new")
        with suppress(ZeroDivisionError), transaction.atomic(using="second"):
            Step.objects.using("second").update(text="never")
            raise ZeroDivisionError
        with transaction.atomic(using="second"):
            Step.objects.using("second").update(text="committed first")
        assert cache.get("steps") is None
        assert cache.get("k") == "old"
    assert cache.get("k") is None


@pytest.mark.usefixtures("kitchen")
def test_what_fails_in_another_app_on_commit_takes_nothing_along(cache: TaggedRedisCache) -> None:
    @invalidates(Dish)
    def touched(dish: Dish) -> Touched:
        return Touched(tenant=None, tags=["menus"])

    cache.set("k", "old", tags=["menus"])
    cache.set("l", "old", tags=[DISH])
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="pg"):  # noqa: PT012 – the commit raises
        transaction.on_commit(lambda: 1 / 0, using="pg")
        saved(name="new")
    assert cache.get("k") is None
    assert cache.get("l") is None


@pytest.mark.usefixtures("kitchen")
def test_touch_works_without_autocommit_too(cache: TaggedRedisCache) -> None:
    cache.set("k", "old", tags=["menus"])

    def by_hand() -> None:
        touch(Touched(tenant=None, tags=["menus"]), using="pg")
        assert cache.get("k") == "old"

    without_autocommit(by_hand)
    assert cache.get("k") is None


@pytest.mark.usefixtures("kitchen")
def test_a_save_without_autocommit_tells_when_it_is_committed_and_nothing_when_not(cache: TaggedRedisCache) -> None:
    @invalidates(Dish)
    def touched(dish: Dish) -> Touched:
        return Touched(tenant=None, tags=["menus"])

    cache.set("k", "old", tags=["menus"])
    transaction.set_autocommit(False, using="pg")
    saved(name="never")
    transaction.rollback(using="pg")
    transaction.set_autocommit(True, using="pg")
    assert cache.get("k") == "old"
    without_autocommit(lambda: saved())
    assert cache.get("k") is None


@pytest.mark.usefixtures("kitchen")
def test_rows_that_are_fetched_piece_by_piece_are_stored_as_of_their_query(
    postgres: Postgres, cache: TaggedRedisCache
) -> None:
    """A server-side cursor goes on showing the rows of when it was opened; the token is older still."""
    with cache.lookup("k", tags=[DISH]) as entry:
        rows = dishes().values_list("name", flat=True).order_by("name").iterator(chunk_size=1)
        seen = [next(rows)]
        postgres.elsewhere(lambda: dishes().update(name="new"))
        entry.store([*seen, *rows])
    assert cache.get("k") is None


OPEN = ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "SAVEPOINT s; ROLLBACK TO\nSAVEPOINT s"]


@pytest.mark.parametrize("text", OPEN)
def test_a_transaction_that_goes_on_voids_at_its_end_what_it_wrote(
    text: str, cache: TaggedRedisCache, kitchen: Recipe
) -> None:
    def read() -> bool:
        with cache.lookup("menu", tags=[DISH]) as entry:
            return entry.store("of before")

    sql("BEGIN")
    for statement in text.split("; "):
        sql(statement)
    sql(f"UPDATE {DISH} SET name = 'x'")
    assert Threads(1, read).join().results == [True]
    sql("COMMIT")
    assert cache.get("menu") is None


@pytest.mark.parametrize("text", ["ABORT", "abort work", "ROLLBACK", "COMMIT", "END", "COMMIT AND NO CHAIN"])
def test_after_a_transaction_a_write_voids_at_once(text: str, cache: TaggedRedisCache, kitchen: Recipe) -> None:
    sql("BEGIN")
    sql(text)
    assert Threads(1, lambda: cache.set("menu", "of before", tags=[DISH])).join().results == [True]
    sql(f"UPDATE {DISH} SET name = 'x'")
    assert cache.get("menu") is None
