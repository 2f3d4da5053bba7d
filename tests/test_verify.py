"""Shadow verification: hits are computed again, and what differs without an invalidation is told as a lie.

Taken away, these guards turn tests red: the versions compared again after the computing (``invalidated_while``), the
refusal in a transaction (``a_transaction_that_may_not_store``), fields instead of primary keys (``models``).
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.cache import caches
from django.db import transaction

from bergizi_redis.cache import verify
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu
from bergizi_redis.signals import cache_lied
from tests.servers import PrivateServer

TENANT = "sppg-a"
Read = Callable[[], Any]


class Kitchen:
    """What is cached, and how it is read; ``meanwhile`` happens while it is computed again."""

    def __init__(self) -> None:
        self.stock: Any = 1
        self.computed = 0
        self.meanwhile: Callable[[], None] | None = None

    def compute(self) -> Any:
        self.computed += 1
        if self.computed > 1 and self.meanwhile is not None:
            self.meanwhile()
        return self.stock

    async def acompute(self) -> Any:
        return self.compute()


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


@pytest.fixture
def sampled(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "VERIFY_SAMPLE": 1.0}


@pytest.fixture
def lies() -> Iterator[list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []

    def note(sender: Any, **facts: Any) -> None:
        told.append({name: facts[name] for name in ("key", "domain", "tenant")})

    cache_lied.connect(note)
    yield told
    cache_lied.disconnect(note)


def by_domain(kitchen: Kitchen) -> Read:
    return lambda: menu.get_or_compute(TENANT, 1, kitchen.compute)


def by_domain_awaiting(kitchen: Kitchen) -> Read:
    return lambda: asyncio.run(menu.aget_or_compute(TENANT, 1, kitchen.acompute))


def by_function(kitchen: Kitchen) -> Read:
    return cached(timeout=300)(kitchen_function(kitchen.compute))


def by_function_awaiting(kitchen: Kitchen) -> Read:
    async def function() -> Any:
        return kitchen.compute()

    wrapped: Any = cached(timeout=300)(function)
    return lambda: asyncio.run(wrapped())


def by_key(kitchen: Kitchen) -> Read:
    return lambda: caches["default"].get_or_set("k", kitchen.compute, 300, tags=["menus"])  # type: ignore[call-arg]


def by_key_awaiting(kitchen: Kitchen) -> Read:
    return lambda: asyncio.run(
        caches["default"].aget_or_set("k", kitchen.acompute, 300, tags=["menus"])  # type: ignore[call-arg]
    )


def kitchen_function(compute: Callable[[], Any]) -> Callable[[], Any]:
    def function() -> Any:
        return compute()

    return function


WAYS = (by_domain, by_domain_awaiting, by_function, by_function_awaiting, by_key, by_key_awaiting)


@pytest.mark.parametrize("way", WAYS)
def test_a_value_that_is_right_is_verified(
    cache: TaggedRedisCache, kitchen: Kitchen, sampled: None, lies: list[Any], way: Callable[[Kitchen], Read]
) -> None:
    read = way(kitchen)
    assert [read(), read(), read()] == [1, 1, 1]
    assert kitchen.computed == 3
    assert (cache.stats()["verified"], cache.stats()["lies"], lies) == (2, 0, [])


@pytest.mark.parametrize("way", WAYS)
def test_a_lie_is_counted_logged_and_sent(
    cache: TaggedRedisCache, kitchen: Kitchen, sampled: None, lies: list[Any], way: Callable[[Kitchen], Read],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The write that nobody invalidated for. What is served stays what was cached."""
    read = way(kitchen)
    kitchen.stock = "s3cret 1"
    read()
    kitchen.stock = "s3cret 2"
    with caplog.at_level(logging.ERROR, "bergizi_redis.cache"):
        assert read() == "s3cret 1"
    assert (cache.stats()["verified"], cache.stats()["lies"]) == (1, 1)
    (record,) = [record for record in caplog.records if record.name.startswith("bergizi_redis")]
    assert record.__dict__["action"] == "cache_lied"
    assert lies[0]["key"] in record.getMessage()
    assert "s3cret" not in f"{record.getMessage()} {vars(record)}"


def test_it_says_whose_it_is(cache: TaggedRedisCache, kitchen: Kitchen, sampled: None, lies: list[Any]) -> None:
    read = by_domain(kitchen)
    read()
    kitchen.stock = 2
    read()
    assert [(lie["domain"], lie["tenant"]) for lie in lies] == [("menu", TENANT)]
    assert cache.stats()["by_tenant"][TENANT]["lies"] == 1


@pytest.mark.parametrize("way", WAYS[:2])
def test_what_was_invalidated_while_it_was_computed_again_is_no_lie(
    cache: TaggedRedisCache, kitchen: Kitchen, sampled: None, lies: list[Any], way: Callable[[Kitchen], Read]
) -> None:
    def write() -> None:
        kitchen.stock += 1
        menu.invalidate(TENANT)

    kitchen.meanwhile = write
    read = way(kitchen)
    read()
    assert read() == 1
    assert (cache.stats()["verified"], cache.stats()["lies"], lies) == (0, 0, [])
    assert read() == 3  # the invalidation holds


def test_nothing_is_sampled_by_default(cache: TaggedRedisCache, kitchen: Kitchen) -> None:
    read = by_domain(kitchen)
    for _ in range(50):
        read()
    assert kitchen.computed == 1
    assert cache.stats()["verified"] == 0


def test_the_share_is_that_of_the_setting(
    cache: TaggedRedisCache, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "VERIFY_SAMPLE": 0.25}
    dice = iter([0.24, 0.25, 0.9, 0.0])
    monkeypatch.setattr(verify, "random", SimpleNamespace(random=lambda: next(dice)))
    assert [verify.is_sampled() for _ in range(4)] == [True, False, False, True]


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_second_computing_is_nobodys(
    cache: TaggedRedisCache, kitchen: Kitchen, sampled: None, lies: list[Any], way: Callable[[Kitchen], Read]
) -> None:
    def fail() -> None:
        raise RuntimeError("the database is away")

    kitchen.meanwhile = fail
    read = way(kitchen)
    assert [read(), read()] == [1, 1]
    assert kitchen.computed == 2
    assert (cache.stats()["verified"], lies) == (0, [])


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_may_not_store_verifies_nothing(
    cache: TaggedRedisCache, kitchen: Kitchen, sampled: None, lies: list[Any]
) -> None:
    """It sees its own rows, or old ones: that they differ from the cached value proves nothing."""
    read = by_domain(kitchen)
    read()
    kitchen.stock = 2
    with transaction.atomic():
        read()
    assert (kitchen.computed, lies) == (1, [])


def test_an_outage_between_proves_nothing(
    kitchen: Kitchen, sampled: None, server: PrivateServer, lies: list[Any]
) -> None:
    read = by_domain(kitchen)
    read()
    kitchen.stock = 2
    kitchen.meanwhile = server.kill
    assert read() == 1
    assert lies == []


def test_what_has_several_encodings_is_compared_by_value(kitchen: Kitchen, sampled: None, lies: list[Any]) -> None:
    read = by_domain(kitchen)
    kitchen.stock = {"a": 1, "b": {3, 1, 2}}
    read()
    kitchen.stock = {"b": {2, 3, 1}, "a": 1}
    read()
    assert lies == []
    kitchen.stock = {"b": {2, 3}, "a": 1}
    read()
    assert len(lies) == 1


@pytest.mark.django_db
def test_models_are_compared_by_their_fields(kitchen: Kitchen, sampled: None, lies: list[Any]) -> None:
    """To Django two instances with one primary key are equal, whatever is in them."""
    read = by_domain(kitchen)
    group = Group.objects.create(name="cooks")
    kitchen.stock = [Group.objects.get(pk=group.pk)]
    read()
    kitchen.stock = list(Group.objects.filter(pk=group.pk))
    read()
    assert lies == []
    Group.objects.filter(pk=group.pk).update(name="chefs")
    kitchen.stock = Group.objects.filter(pk=group.pk)
    read()
    assert len(lies) == 1
    assert verify.are_equal([1], (1,)) is False
    assert verify.are_equal(Group.objects.all(), list(Group.objects.all()))
