"""``@invalidates``: what a save or a deletion voids, and when.

Guards taken away once to see these tests go red: waiting for the commit, parting batches by savepoint, standing before
other apps' functions on commit, sending for all batches at once, subclasses, and taking the tenant at the save.
"""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connections, models, transaction
from django.db.models.signals import class_prepared, post_delete, post_save
from django.test import TestCase, override_settings

from bergizi_redis.cache import commits, invalidation
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.invalidation import Touched, invalidates, touch
from bergizi_redis.cache.transactions import pending_of
from bergizi_redis.exceptions import ConfigurationError, TenantError
from bergizi_redis.signals import tags_invalidated
from bergizi_redis.tenancy import current_tenant, use_tenant
from tests.models import Dish, Packed, Special

Sent = list[tuple[str | None, tuple[str, ...]]]
committing = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@contextmanager
def rolled_back(using: str = "default") -> Iterator[None]:
    """A transaction, or a savepoint of one, that fails at its end."""
    with suppress(ZeroDivisionError), transaction.atomic(using=using):
        yield
        raise ZeroDivisionError


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def sent() -> Iterator[Sent]:
    """The invalidations that were sent, by the signal that follows each."""
    said: Sent = []

    def hear(sender: Any, tenant: str | None, tags: tuple[str, ...], **_: Any) -> None:
        said.append((tenant, tags))

    tags_invalidated.connect(hear)
    yield said
    tags_invalidated.disconnect(hear)


@pytest.fixture
def bumps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many versions were made anew after each commit, in one round trip each."""
    counted: list[int] = []
    taken_down, released = commits.Fence.take_down, commits.release

    def counting(fence: commits.Fence) -> None:
        counted.append(len(fence.version_keys))
        taken_down(fence)

    def counting_release(version_keys: Collection[str]) -> None:
        counted.extend([len(version_keys)] if version_keys else [])
        released(version_keys)

    monkeypatch.setattr(commits.Fence, "take_down", counting)
    monkeypatch.setattr(invalidation, "release", counting_release)
    return counted


@pytest.fixture
def touched() -> None:
    @invalidates(Dish)
    def dish_touched(dish: Dish) -> Touched:
        return Touched(tenant=dish.tenant, tags=["dishes", f"dish:{dish.name}"])


@committing
@pytest.mark.usefixtures("touched")
def test_a_save_and_a_deletion_void_what_was_computed_from_the_row(cache: TaggedRedisCache, sent: Sent) -> None:
    cache.set("k", 1, tags=["dishes"])
    dish = Dish.objects.create(name="soto")
    assert cache.get("k") is None
    cache.set("k", 1, tags=["dish:soto"])
    dish.save()
    assert cache.get("k") is None
    cache.set("k", 1, tags=["dish:soto"])
    dish.delete()
    assert cache.get("k") is None
    assert sent == [("sppg-a", ("dish:soto", "dishes"))] * 3


@committing
@pytest.mark.usefixtures("touched")
def test_nothing_is_sent_before_the_commit(cache: TaggedRedisCache, sent: Sent) -> None:
    cache.set("k", 1, tags=["dishes"])
    with transaction.atomic():
        Dish.objects.create(name="soto")
        assert cache.get("k") == 1
        assert not sent
    assert cache.get("k") is None


@committing
@pytest.mark.usefixtures("touched")
def test_a_rollback_sends_nothing_now_or_later(cache: TaggedRedisCache, sent: Sent, bumps: list[int]) -> None:
    with rolled_back():
        Dish.objects.create(name="soto")
    with transaction.atomic():
        Dish.objects.create(name="rawon")
    assert sent == [("sppg-a", ("dish:rawon", "dishes"))]
    assert len(bumps) == 1


@committing
@pytest.mark.usefixtures("touched")
def test_an_inner_rollback_drops_only_its_own_three_savepoints_deep(sent: Sent, bumps: list[int]) -> None:
    def save(name: str) -> None:
        Dish.objects.create(name=name, tenant=name)

    with transaction.atomic():
        save("outer")
        with transaction.atomic():
            save("one")
            with rolled_back():
                save("two")
                with transaction.atomic():
                    save("three")  # released into one that is rolled back
            with transaction.atomic():
                save("four")
            with rolled_back():
                save("five")
        save("six")
    assert sorted(str(tenant) for tenant, _ in sent) == ["four", "one", "outer", "six"]
    assert len(bumps) == 1


@committing
@pytest.mark.usefixtures("touched")
def test_many_saves_are_one_round_trip_whatever_encloses_them(bumps: list[int], sent: Sent) -> None:
    with transaction.atomic():
        for number in range(50):
            Dish.objects.create(name=str(number))
        for number in range(50):
            Dish.objects.update_or_create(name=str(number), defaults={"tenant": "sppg-b"})  # a savepoint each
        Dish.objects.all().delete()
    assert len(bumps) == 1
    assert {tenant for tenant, _ in sent} == {"sppg-a", "sppg-b"}


@committing
@pytest.mark.usefixtures("touched")
def test_outside_of_a_transaction_each_save_is_sent_at_once(bumps: list[int]) -> None:
    for name in ("soto", "rawon"):
        Dish.objects.create(name=name)
    assert len(bumps) == 2


@committing
@pytest.mark.usefixtures("touched")
def test_each_database_commits_its_own(cache: TaggedRedisCache, sent: Sent) -> None:
    with transaction.atomic(), transaction.atomic(using="other"):
        Dish.objects.create(name="soto")
        Dish.objects.using("other").create(name="rawon", tenant="sppg-b")
        with rolled_back("other"):
            Dish.objects.using("other").create(name="gado", tenant="sppg-c")
        assert not sent
    assert sorted(str(tenant) for tenant, _ in sent) == ["sppg-a", "sppg-b"]
    sent.clear()
    with rolled_back("other"):
        Dish.objects.using("other").create(name="rawon", tenant="sppg-b")
        Dish.objects.create(name="soto")  # the other database's transaction is none of its business
        assert sent == [("sppg-a", ("dish:soto", "dishes"))]
    assert len(sent) == 1


@committing
@pytest.mark.usefixtures("touched")
def test_what_fails_in_another_app_on_commit_does_not_take_the_invalidation_along(cache: TaggedRedisCache) -> None:
    cache.set("k", 1, tags=["dishes"])
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 – the commit raises
        transaction.on_commit(lambda: 1 / 0)
        Dish.objects.create(name="soto")
    assert Dish.objects.filter(name="soto").exists()
    assert cache.get("k") is None


@committing
@pytest.mark.usefixtures("touched")
def test_a_listener_that_fails_is_nobody_elses_trouble(cache: TaggedRedisCache) -> None:
    def fail(**_: Any) -> None:
        raise ZeroDivisionError

    tags_invalidated.connect(fail)
    try:
        cache.set("k", 1, tags=["dishes"])
        Dish.objects.create(name="soto")
        cache.invalidate_tags(["dishes"])
        asyncio.run(cache.ainvalidate_tags(["dishes"]))
    finally:
        tags_invalidated.disconnect(fail)
    assert cache.get("k") is None


@committing
def test_the_tenant_is_taken_when_the_row_is_saved(sent: Sent) -> None:
    @invalidates(Dish)
    def dish_touched(dish: Dish) -> Touched:
        return Touched(tenant=current_tenant(), tags=["dishes"])

    with transaction.atomic():
        with use_tenant("sppg-x"):
            dish = Dish.objects.create(name="soto")
        with use_tenant("sppg-y"):
            dish.save()
            dish.tenant = "changed afterwards"
    assert sent == [("sppg-x", ("dishes",)), ("sppg-y", ("dishes",))]


@committing
def test_an_unknown_tenant_voids_the_tags_of_all(cache: TaggedRedisCache, settings: Any) -> None:
    @invalidates(Dish)
    def dish_touched(dish: Dish) -> Touched:
        return Touched(tenant=None, tags=["dishes"])

    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": {"TENANT_SCOPED": True}}}
    scoped = caches["default"]
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            scoped.set("k", 1, tags=["dishes"])  # type: ignore[call-arg]
    Dish.objects.create(name="soto")
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            assert scoped.get("k") is None


@committing
@pytest.mark.parametrize("answer", [None, ["dishes"], "dishes", ("sppg-a", ["dishes"])])
def test_a_function_that_returns_something_else_is_told_so(answer: Any) -> None:
    @invalidates(Dish)
    def dish_touched(dish: Dish) -> Touched:
        return answer  # type: ignore[no-any-return]

    with pytest.raises(TypeError, match=r"expected Touched\(tenant"), transaction.atomic():
        Dish.objects.create(name="soto")
    assert not Dish.objects.exists()


def test_what_cannot_be_touched_is_refused() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        Touched(tenant=None, tags="dishes")
    with pytest.raises(TenantError):
        Touched(tenant="a}b", tags=["dishes"])
    assert Touched(tenant=7, tags={"b", "a"}) == Touched(tenant="7", tags=["a", "b"])  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [(), ("tests.Dish",), (object,), (Dish(),)])
def test_models_are_named_by_their_classes(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="name the models"):
        invalidates(*wrong)


@committing
@override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}})
@pytest.mark.usefixtures("touched")
def test_a_cache_that_cannot_hold_tags_is_told_before_the_commit() -> None:
    with pytest.raises(ConfigurationError, match="LocMemCache"), transaction.atomic():
        Dish.objects.create(name="soto")
    assert not Dish.objects.exists()


@committing
@pytest.mark.usefixtures("touched")
def test_proxies_children_and_classes_that_come_later_count_as_the_model(sent: Sent) -> None:
    Special.objects.create(name="soto").delete()
    packed = Packed.objects.create(name="nasi", weight=300)
    assert [tags[0] for _, tags in sent] == ["dish:soto", "dish:soto", "dish:nasi"]
    sent.clear()
    packed.delete()
    assert {tags[0] for _, tags in sent} == {"dish:nasi"}

    class Late(Dish):
        class Meta:
            app_label = "tests_late"
            proxy = True

    sent.clear()
    Late.objects.create(name="late")
    assert [tags[0] for _, tags in sent] == ["dish:late"]


@committing
def test_a_function_connected_twice_is_called_once(sent: Sent) -> None:
    def dish_touched(dish: Dish) -> Touched:
        return Touched(tenant=dish.tenant, tags=["dishes"])

    invalidates(Dish)(dish_touched)
    invalidates(Dish)(dish_touched)
    Dish.objects.create(name="soto")
    assert len(sent) == 1


def test_an_abstract_model_stands_for_its_children() -> None:
    class Named(models.Model):
        class Meta:
            abstract = True
            app_label = "tests_abstract"

        def __str__(self) -> str:
            return "named"

    @invalidates(Named)
    def named_touched(row: models.Model) -> Touched:
        return Touched(tenant=None, tags=[type(row).__name__])

    class Spoon(Named):
        class Meta:
            app_label = "tests_abstract"

    assert post_save.has_listeners(Spoon)


@committing
@pytest.mark.usefixtures("touched")
def test_asynchronous_saves_count_too(cache: TaggedRedisCache) -> None:
    async def cook() -> None:
        dish = Dish(name="soto")
        await dish.asave()
        assert await cache.aget("k") is None
        await cache.aset("k", 1, tags=["dishes"])
        await dish.adelete()
        assert await cache.aget("k") is None

    cache.set("k", 1, tags=["dishes"])
    asyncio.run(cook())


@committing
def test_touch_may_be_called_by_hand_where_django_sends_no_signal(cache: TaggedRedisCache) -> None:
    cache.set("k", 1, tags=["dishes"])
    with transaction.atomic():
        Dish.objects.update(name="soto")
        touch(Touched(tenant="sppg-a", tags=["dishes"]))
        assert cache.get("k") == 1
    assert cache.get("k") is None


@committing
@pytest.mark.usefixtures("touched")
def test_a_reader_that_was_computing_through_the_commit_does_not_serve_it_later(cache: TaggedRedisCache) -> None:
    with cache.lookup("k", tags=["dishes"]) as entry:
        names = list(Dish.objects.values_list("name", flat=True))
        with transaction.atomic():
            Dish.objects.create(name="soto")
        entry.store(names)
    assert cache.get("k") is None


@committing
@pytest.mark.usefixtures("touched")
def test_nothing_is_owed_for_transactions_that_have_ended() -> None:
    def is_owed() -> bool:
        return any(each.version_keys for each in pending_of(connections["default"]))

    for end in (transaction.atomic, rolled_back):
        with end():
            Dish.objects.create(name="soto")
            assert is_owed()
        assert not is_owed()


class InATestCaseOfDjango(TestCase):
    """Nothing is committed there; ``captureOnCommitCallbacks`` stands for it, and takes the end of Django's list."""

    def setUp(self) -> None:
        self.before = list(post_save.receivers), list(post_delete.receivers), list(class_prepared.receivers)

        @invalidates(Dish)
        def dish_touched(dish: Dish) -> Touched:
            return Touched(tenant=dish.tenant, tags=["dishes"])

    def tearDown(self) -> None:
        post_save.receivers, post_delete.receivers, class_prepared.receivers = self.before
        for signal in (post_save, post_delete, class_prepared):
            signal.sender_receivers_cache.clear()

    def test_captured_callbacks_void_the_cache(self) -> None:
        cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
        Dish.objects.create(name="before the capture")
        for name in ("soto", "rawon"):
            cache.set("k", 1, tags=["dishes"])
            with self.captureOnCommitCallbacks(execute=True) as callbacks:
                Dish.objects.create(name=name)
                Dish.objects.create(name=name)
            assert callbacks
            assert cache.get("k") is None
