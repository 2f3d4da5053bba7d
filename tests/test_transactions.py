"""What an open transaction forbids, also where a coroutine asks or a tag is voided by hand.

Taken away, the guards turn these red: the question to the thread that queries run in (``_a_coroutine_``), and the
fence for what is voided by hand (``voided_by_hand``).
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.cache import caches
from django.db import connections, transaction

from bergizi_redis.cache import transactions
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu, tagged_cache
from bergizi_redis.cache.transactions import amay_store
from bergizi_redis.conf import config
from bergizi_redis.testing import redis_is_down
from tests.herds import Threads
from tests.models import Kitchen

committing = pytest.mark.django_db(transaction=True)
TAGS = [Kitchen._meta.db_table]


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


async def names() -> list[str]:
    return await sync_to_async(lambda: list(Kitchen.objects.values_list("name", flat=True)))()


async def remembered() -> Any:
    return await tagged_cache().aget_or_set("names", names, tags=TAGS)


def rolled_back(act: Callable[[], Any]) -> Any:
    with transaction.atomic():
        Kitchen.objects.create(name="never committed")
        found = act()
        transaction.set_rollback(True)
    return found


@committing
@pytest.mark.parametrize("mode", [None, "IMMEDIATE"])
def test_a_coroutine_that_a_transaction_has_called_stores_nothing_of_it(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch, mode: str | None
) -> None:
    """``async_to_sync`` runs it in another thread, and its queries in this one."""
    monkeypatch.setattr(connections["default"], "transaction_mode", mode)
    assert rolled_back(async_to_sync(remembered)) == ["never committed"]
    assert cache.get("names") is None
    assert async_to_sync(remembered)() == cache.get("names") == []


@committing
def test_a_coroutine_that_a_transaction_has_called_sets_nothing_that_is_served(cache: TaggedRedisCache) -> None:
    async def plainly() -> None:
        await cache.aset("names", await names(), tags=TAGS)

    rolled_back(async_to_sync(plainly))
    assert cache.get("names") is None


@committing
def test_a_coroutine_that_a_transaction_has_called_shares_nothing_in_an_outage(cache: TaggedRedisCache) -> None:
    """Without Redis its readers would be given what it computes."""
    landed = []
    end = cache.state.flights.end

    def ended(flight: Any, payload: bytes | None) -> None:
        landed.append(payload)
        end(flight, payload)

    cache.state.flights.end = ended  # type: ignore[method-assign]
    try:
        with redis_is_down():
            assert rolled_back(async_to_sync(remembered)) == ["never committed"]
            assert not any(landed)
            assert async_to_sync(remembered)() == []
            assert any(landed)
    finally:
        del cache.state.flights.end


@committing
def test_a_coroutine_asks_no_thread_while_no_transaction_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have left connections of other threads; here there is this thread's alone."""
    own = connections["default"]
    monkeypatch.setattr(transactions, "_met", WeakValueDictionary({id(own): own}))
    monkeypatch.setattr(transactions, "sync_to_async", lambda _: pytest.fail("asked"))
    Kitchen.objects.count()
    assert async_to_sync(amay_store)(["anything"])
    with transaction.atomic(), pytest.raises(pytest.fail.Exception, match="asked"):
        async_to_sync(amay_store)(["anything"])


@cached(timeout=60)
def fingers() -> int:
    return 5


def by_hand(cache: TaggedRedisCache) -> dict[str, tuple[Any, Callable[[], None]]]:
    """Name → (what is void then, by what)."""
    return {
        "a tag": (cache.lookup("k", tags=["menus"]), lambda: cache.invalidate_tags(["menus"])),
        "everything": (cache.lookup("k", tags=["menus"]), cache.invalidate_all),
        "a domain": (menu.lookup("sppg-1", 1), lambda: menu.invalidate("sppg-1")),
        "an entry": (menu.lookup("sppg-1", 1), lambda: menu.invalidate("sppg-1", 1)),
        "a call": (fingers.lookup(), fingers.invalidate),
        "a tag, awaiting": (
            cache.lookup("k", tags=["menus"]),
            lambda: async_to_sync(cache.ainvalidate_tags)(["menus"]),
        ),
    }


@committing
@pytest.mark.parametrize("what", by_hand(caches["default"]))  # type: ignore[arg-type]
def test_what_is_voided_by_hand_in_a_transaction_is_void_after_its_commit(cache: TaggedRedisCache, what: str) -> None:
    """Until then another reader may compute, and store, what the transaction is about to replace."""
    lookup, void = by_hand(cache)[what]

    def read() -> None:
        with lookup as entry:
            assert entry.missed
            assert entry.store("of before")

    with transaction.atomic():
        void()
        assert not Threads(1, read).join().errors
    with lookup as entry:
        assert entry.missed


@committing
def test_what_is_voided_by_hand_in_a_transaction_is_void_at_once(cache: TaggedRedisCache) -> None:
    cache.set("k", "of before", tags=["menus"])
    with transaction.atomic():
        cache.invalidate_tags(["menus"])
        assert cache.get("k") is None
        transaction.set_rollback(True)


@committing
def test_another_alias_is_voided_by_hand_without_a_fence(cache: TaggedRedisCache, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "CACHE_ALIAS": "nowhere"}
    assert config.CACHE_ALIAS == "nowhere"
    cache.set("k", "of before", tags=["menus"])
    with transaction.atomic():
        cache.invalidate_tags(["menus"])
    assert cache.get("k") is None
