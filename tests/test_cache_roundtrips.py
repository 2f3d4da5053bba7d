"""What a hit, a store and an invalidation cost, told by the server: its log of commands and its count of reads."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.core.cache import caches

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.envelope import unpack
from tests.commandlog import command_log
from tests.roundtrips import round_trips
from tests.servers import PrivateServer
from tests.spoken import WAYS, Spoken

Commands = Callable[[], AbstractContextManager[list[str]]]


@cached(timeout=60, tags=["menus"])
def answer(number: int) -> int:
    return number


@cached(timeout=60, tags=["menus"])
async def async_answer(number: int) -> int:
    return number


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(params=WAYS)
def spoken(cache: TaggedRedisCache, request: pytest.FixtureRequest) -> Spoken:
    return Spoken(cache, request.param)


@pytest.fixture
def alone(server: PrivateServer) -> TaggedRedisCache:
    """The cache on a server that nobody else asks, connected, its scripts loaded."""
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set("warm", 1, tags=["warm"])
    return cache


def names(log: list[str]) -> list[str]:
    return [command.split(" ", 1)[0] for command in log]


def test_an_untagged_get_and_set_are_one_command_each(spoken: Spoken, commands: Commands) -> None:
    with commands() as log:
        spoken.set("k", 1)
        spoken.get("k")
        spoken.get("missing")
    assert names(log) == ["SET", "GET", "GET"]


def test_a_tagged_get_is_one_command_once_the_tags_are_known(
    spoken: Spoken, cache: TaggedRedisCache, commands: Commands
) -> None:
    cache.set("k", 1, tags=["a", "b", "c"])
    with commands() as stored_here:
        assert spoken.get("k") == 1
    assert names(stored_here) == ["MGET"]
    cache.state.hints.clear()
    with commands() as met_first:
        assert spoken.get("k") == 1
    assert names(met_first) == ["GET", "MGET"]
    with commands() as met_again:
        assert spoken.get("k") == 1
    assert names(met_again) == ["MGET"]


def test_a_hit_of_a_domain_is_one_command(cache: TaggedRedisCache, commands: Commands) -> None:
    for way in WAYS:
        spoken = Spoken(menu, way)
        spoken.set("sppg-a", 1, "soto")
        with commands() as log:
            assert spoken.get("sppg-a", 1) == "soto"
            assert spoken.get_or_compute("sppg-a", 1, lambda: pytest.fail("computed")) == "soto"
        assert names(log) == ["MGET", "MGET"]


def test_a_hit_of_a_cached_function_is_one_command(commands: Commands) -> None:
    assert answer(1) == asyncio.run(async_answer(1)) == 1
    with commands() as log:
        assert answer(1) == asyncio.run(async_answer(1)) == 1
    assert names(log) == ["MGET", "MGET"]


def test_a_miss_is_a_look_a_lease_and_a_store(alone: TaggedRedisCache, server: PrivateServer) -> None:
    answer(1)  # loads the scripts
    answer.invalidate(1)
    answer(1)
    answer.invalidate(1)
    with round_trips(server) as counted:
        answer(1)
    assert counted == [3]
    alone.invalidate_tags(["menus"])
    with alone.lookup("k", tags=["menus"], herd=False) as entry:
        entry.store(1)
    alone.invalidate_tags(["menus"])
    with command_log(server.url) as log:
        for herd in (False, True):
            with alone.lookup("k", tags=["menus"], herd=herd) as entry:
                if herd:
                    assert entry.value == 1
                else:
                    entry.store(1)
    assert names(log) == ["MGET", "SET", "MGET"]


def test_many_are_one_command_tagged_or_not(spoken: Spoken, cache: TaggedRedisCache, commands: Commands) -> None:
    cache.set_many({"a": 1, "b": 2})
    cache.set_many({"c": 3, "d": 4}, tags=["menus"])
    with commands() as log:
        assert len(spoken.get_many(["a", "b", "c", "d", "missing"])) == 4
    assert names(log) == ["MGET"]
    cache.state.hints.clear()
    with commands() as log:
        assert len(spoken.get_many(["a", "b", "c", "d", "missing"])) == 4
    assert names(log) == ["MGET", "MGET"]


def test_other_methods_are_one_round_trip(alone: TaggedRedisCache, server: PrivateServer) -> None:
    alone.set("n", 1)
    alone.incr("n")
    alone.touch("n", 5)  # loads the scripts
    for act in (
        lambda: alone.set_many({f"k{number}": number for number in range(50)}),
        lambda: alone.delete_many([f"k{number}" for number in range(50)]),
        lambda: alone.delete("k"),
        lambda: alone.add("added", 1),
        lambda: alone.incr("n"),
        lambda: alone.touch("n", 60),
        lambda: alone.touch("n", None),
        lambda: alone.has_key("n"),
    ):
        with round_trips(server) as counted:
            act()
        assert counted == [1]
    with round_trips(server) as counted:
        alone.set_many({f"k{number}": number for number in range(50)}, tags=["a", "b"])
    assert counted == [2]  # the versions of now, then the entries


@pytest.mark.parametrize("number", [1, 2, 10])  # what is longer than 6 KB redis-py writes in parts
def test_any_number_of_tags_is_invalidated_in_one_round_trip(
    alone: TaggedRedisCache, server: PrivateServer, number: int
) -> None:
    with round_trips(server) as counted:
        alone.invalidate_tags([f"menu:{pk}" for pk in range(number)], tenant="sppg-a")
    assert counted == [1]


def test_tags_are_invalidated_in_one_script(alone: TaggedRedisCache, server: PrivateServer) -> None:
    with command_log(server.url) as log:
        alone.invalidate_tags(["menus", "recipes"])
    assert names(log) == ["EVAL"]
    with command_log(server.url) as log:
        alone.invalidate_tags([f"menu:{pk}" for pk in range(1_000)])
    assert names(log) == ["EVAL"]
    with command_log(server.url) as log:
        alone.invalidate_all()
    assert names(log) == ["EVAL"]


def test_an_invalidation_says_the_same_however_many_entries_carry_the_tag(
    alone: TaggedRedisCache, server: PrivateServer
) -> None:
    said = []
    for entries in (1, 5_000):
        alone.set_many({f"k{number}": number for number in range(entries)}, tags=["menus"])
        with command_log(server.url) as log, round_trips(server) as counted:
            alone.invalidate_tags(["menus"])
        said.append((names([line for line in log if not line.startswith("INFO")]), counted))
        assert alone.get_many([f"k{number}" for number in range(0, entries, 7)]) == {}
    assert said[0] == said[1]


def test_what_is_remembered_of_hits_is_bounded(alone: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bergizi_redis.cache.process.HINTS", 100)
    for number in range(250):
        alone.set(f"k{number}", number, tags=["menus"])
    assert len(alone.state.hints) <= 100
    assert alone.get_many([f"k{number}" for number in range(250)]) == {f"k{number}": number for number in range(250)}


def test_a_forgotten_script_costs_one_round_trip_more_and_no_error(
    alone: TaggedRedisCache, server: PrivateServer
) -> None:
    with server.client() as raw:
        raw.script_flush()
    alone.set("k", 1, tags=["menus"])
    assert alone.get("k") == 1


def test_the_cost_of_computing_and_the_time_are_kept_with_the_entry(cache: TaggedRedisCache, raw: Any) -> None:
    began, start = time.time(), time.perf_counter()
    with cache.lookup("k", tags=["menus"]) as entry:
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass
        entry.store(1)
    envelope = unpack(raw.get(cache.made("k")))
    assert envelope is not None
    assert 20 <= envelope.cost <= 1000 * (time.perf_counter() - start)
    assert int(began) <= envelope.created <= time.time()
