"""Refreshing before an entry is gone: by chance near its end, and beyond its life where ``stale`` allows it.

The clock and the chance are given, so nothing depends on either. Which guards were taken away once to see these tests
go red is told in ``test_herd_processes.py``.
"""

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import caches
from redis import Redis

from bergizi_redis import keys
from bergizi_redis.cache import leases, refresh, writing
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import Domain, menu
from bergizi_redis.cache.envelope import unpack
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.refresh import is_due, lease_life, patience, soft_life
from bergizi_redis.exceptions import ConfigurationError
from tests.herds import Threads, Waiters
from tests.spoken import WAYS, Spoken

TENANT = "sppg-a"
NOW = 1_800_000_000.0
COST = 0.01  # seconds
Clock = Callable[[float], None]

orders = Domain("order", ttl=60, tags=["orders"], stale=600)


@pytest.fixture(autouse=True)
def stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is always the same time, and no computing counts as longer than on an idle machine."""
    measured = vars(Lookup)["_cost"].fget
    monkeypatch.setattr(Lookup, "_cost", property(lambda entry: min(measured(entry), COST)))
    monkeypatch.setattr(refresh, "clock", lambda: NOW)
    monkeypatch.setattr(writing, "time", SimpleNamespace(time=lambda: NOW))


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> Waiters:
    return Waiters(monkeypatch)


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(params=WAYS)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    return Spoken(orders, request.param)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """``later(61)``: to readers it is so many seconds later."""
    return lambda seconds: monkeypatch.setattr(refresh, "clock", lambda: NOW + seconds)


@pytest.fixture
def chance(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return lambda drawn: monkeypatch.setattr(refresh, "draw", lambda: drawn)


def test_an_entry_is_due_by_chance_the_sooner_the_longer_computing_took(
    monkeypatch: pytest.MonkeyPatch, chance: Clock
) -> None:
    """Due where what is left is no more than cost x -ln(1 - chance)."""
    for drawn, cost, reach in ((0.5, 1000, 0.693), (0.9, 1000, 2.303), (0.9, 100, 0.2303), (0.99, 60_000, 276.3)):
        chance(drawn)
        for left, due in ((reach * 0.99, True), (reach * 1.01, False)):
            monkeypatch.setattr(refresh, "clock", lambda left=left: 1_000 - left)
            assert is_due(400, 600, cost) is due


def test_at_its_end_an_entry_is_due_whatever_chance_says(monkeypatch: pytest.MonkeyPatch, chance: Clock) -> None:
    monkeypatch.setattr(refresh, "clock", lambda: 1000.0)
    chance(0.0)
    assert is_due(900, 100, 0)
    assert not is_due(900, 101, 5000)
    assert not is_due(0, 0, 5000)


def test_chance_reaches_no_further_than_it_is_said_to(monkeypatch: pytest.MonkeyPatch, chance: Clock) -> None:
    monkeypatch.setattr(refresh, "clock", lambda: 1000.0)
    chance(1 - 2**-53)
    assert is_due(900, 119, 1000)
    assert not is_due(900, 121, 1000)


def test_of_readers_near_the_end_about_as_many_refresh_as_the_formula_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one cost left, 1/e of the draws are due."""
    draws = iter([number / 1000 for number in range(1000)])
    monkeypatch.setattr(refresh, "clock", lambda: 999.0)
    monkeypatch.setattr(refresh, "draw", lambda: next(draws))
    assert sum(is_due(900, 100, 1000) for _ in range(1000)) == pytest.approx(368, abs=2)


def test_which_entries_are_refreshed_at_all() -> None:
    assert soft_life(60, 0, 0.5) == 60
    assert soft_life(60, 0, 0.0) == 0  # computed in no time, or put there by hand
    assert soft_life(9, 0, 0.5) == 0
    assert soft_life(0.5, 5, 0) == 1
    assert soft_life(60.9, 5, 0) == 60


def test_how_long_a_lease_lives_and_is_waited_for() -> None:
    assert [lease_life(cost) for cost in (0, 0.01, 1, 100)] == [5, 1, 3, 30]
    assert patience(1) == (4.5, 6)


def computing(cost: float) -> Callable[[], int]:
    """Computes for so many seconds, and returns how often it was called."""
    calls = []

    def compute() -> int:
        calls.append(1)
        until = time.perf_counter() + cost
        while time.perf_counter() < until:
            pass
        return len(calls)

    return compute


@pytest.mark.parametrize("way", WAYS)
def test_near_its_end_one_computes_while_the_others_are_served(
    way: str, later: Clock, chance: Clock, waiters: Waiters
) -> None:
    menus, compute = Spoken(menu, way), computing(COST)
    assert menus.get_or_compute(TENANT, 1, compute, 60) == 1
    chance(1 - 2**-53)
    later(50)
    assert menus.get_or_compute(TENANT, 1, compute, 60) == 1
    later(60 - 10 * COST)
    with menu.lookup(TENANT, 1) as entry:
        assert entry.missed  # this one is to refresh it
        others = Threads(5, lambda: menus.get_or_compute(TENANT, 1, compute, 60)).join()
        assert others.results == [1] * 5
        entry.store("new", 60)
    waiters.expect_nobody()
    later(0)
    assert menus.get(TENANT, 1) == "new"


def test_who_is_not_the_first_to_refresh_serves_what_is_there(raw: "Redis", later: Clock, waiters: Waiters) -> None:
    """The other one is in another process: it holds the lease."""
    orders.set(TENANT, 1, "old")
    found = orders.lookup(TENANT, 1)
    token = caches["default"].look(found.address).token  # type: ignore[attr-defined]
    later(61)
    for lease in (token + b"another!", bytes(16) + b"another!"):
        raw.set(keys.lease(found.address.key), lease, px=60_000)
        assert orders.get_or_compute(TENANT, 1, lambda: pytest.fail("computed")) == "old"
    waiters.expect_nobody()


def test_a_fresh_entry_is_computed_by_nobody(spoken: Spoken, later: Clock) -> None:
    spoken.get_or_compute(TENANT, 1, lambda: "old")
    later(57)
    assert spoken.get_or_compute(TENANT, 1, lambda: pytest.fail("computed")) == "old"


def test_beyond_its_life_an_entry_is_served_while_one_computes_it(
    spoken: Spoken, later: Clock, raw: "Redis", waiters: Waiters
) -> None:
    spoken.get_or_compute(TENANT, 1, lambda: "old")
    key = orders.lookup(TENANT, 1).address.key
    assert 600 < raw.ttl(key) <= 660
    later(61)
    with orders.lookup(TENANT, 1) as entry:
        assert entry.missed
        served = Threads(5, lambda: spoken.get_or_compute(TENANT, 1, lambda: pytest.fail("computed"))).join().results
        assert served == ["old"] * 5
        assert spoken.get(TENANT, 1) == "old"
        entry.store("new", 60)
    waiters.expect_nobody()
    later(0)
    assert spoken.get_or_compute(TENANT, 1, lambda: pytest.fail("computed")) == "new"


def test_what_is_stale_is_not_served_across_an_invalidation(spoken: Spoken, later: Clock) -> None:
    spoken.get_or_compute(TENANT, 1, lambda: "old")
    later(61)
    orders.invalidate(TENANT)
    assert spoken.get(TENANT, 1) is None
    assert spoken.get_or_compute(TENANT, 1, lambda: "new") == "new"


def test_a_refresh_that_is_overtaken_by_an_invalidation_is_lost(spoken: Spoken, later: Clock) -> None:
    spoken.get_or_compute(TENANT, 1, lambda: "old")
    later(61)
    with orders.lookup(TENANT, 1) as entry:
        assert entry.missed
        orders.invalidate(TENANT)
        new = Threads(1, lambda: spoken.get_or_compute(TENANT, 1, lambda: "new")).join()
        assert new.results == ["new"]
        assert not entry.store("of before", 60)
    later(0)
    assert spoken.get(TENANT, 1) == "new"


def test_who_comes_to_refresh_what_was_just_refreshed_gets_that(later: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.set(TENANT, 1, "old")
    later(61)
    take = leases.take

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(leases, "take", take)
        with caches["default"].lookup("other", tags=["x"]):  # type: ignore[attr-defined]
            pass
        address = orders.lookup(TENANT, 1).address
        cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
        cache.put(address, "refreshed", 61, cache.look(address).token, cost=0.1)
        return take(*arguments)

    monkeypatch.setattr(leases, "take", overtaken)
    assert orders.get_or_compute(TENANT, 1, lambda: pytest.fail("computed")) == "refreshed"


def test_a_refresh_that_fails_is_not_tried_again_at_once(
    spoken: Spoken, later: Clock, raw: "Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(leases, "AFTER_FAILURE", 100.0)
    spoken.get_or_compute(TENANT, 1, lambda: "old")
    later(61)
    with pytest.raises(ZeroDivisionError):
        spoken.get_or_compute(TENANT, 1, fail)
    assert spoken.get_or_compute(TENANT, 1, fail) == "old"
    lease = keys.lease(orders.lookup(TENANT, 1).address.key)
    assert 30_000 < raw.pttl(lease) <= 100_000  # no longer the lease of who computes
    raw.pexpire(lease, 0)
    assert spoken.get_or_compute(TENANT, 1, lambda: "new") == "new"


def test_functions_and_lookups_may_be_stale_too(
    cache: TaggedRedisCache, later: Clock, raw: "Redis", waiters: Waiters
) -> None:
    @cached(timeout=60, stale=600)
    def function() -> str:
        return "computed"

    @cached(timeout=60, stale=600)
    async def afunction() -> str:
        return "computed"

    function()
    asyncio.run(afunction())
    with cache.lookup("k", tags=["menus"], stale=600) as entry:
        entry.store("computed", 60)
    for key in (function.address().key, afunction.address().key, cache.made("k")):
        assert 600 < raw.ttl(key) <= 660
        data = raw.get(key)
        assert isinstance(data, bytes)
        envelope = unpack(data)
        assert envelope is not None
        assert envelope.soft == 60
    later(61)
    with function.lookup() as one, afunction.lookup() as two, cache.lookup("k", tags=["menus"], stale=600) as three:
        assert [one.missed, two.missed, three.missed] == [True] * 3
        assert Threads(2, function).join().results == ["computed"] * 2
        assert Threads(2, lambda: asyncio.run(afunction())).join().results == ["computed"] * 2
    waiters.expect_nobody()


def test_no_entry_lives_longer_than_its_versions(raw: "Redis") -> None:
    forever = Domain("forever", ttl=10 * 24 * 3600, stale=10 * 24 * 3600)
    forever.set(TENANT, 1, "x")
    assert raw.ttl(forever.lookup(TENANT, 1).address.key) <= 15 * 24 * 3600


@pytest.mark.parametrize("wrong", [-1, "5", True, float("nan"), float("inf"), None])
def test_a_stale_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="Domain 'x': stale="):
        Domain("x", stale=wrong)
    with pytest.raises(ConfigurationError, match="@cached: stale="):
        cached(timeout=5, stale=wrong)
