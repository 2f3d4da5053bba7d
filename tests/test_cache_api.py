"""Django's and django-redis's methods, on untagged and tagged entries, blocking and awaiting.

Guards taken away once to see these tests go red: encoding before anything is sent (the old value), the swap that
compares (two adders, threads that count), KEEPTTL in the swap, and asking whether an entry lives before ``xx``
and ``touch`` report it.
"""

import asyncio
import math
import pickle
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.cache import CacheKeyWarning, caches
from django_redis import get_redis_connection
from django_redis.cache import RedisCache
from redis import Redis

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.tags import LONGEST_ENTRY
from bergizi_redis.exceptions import ConfigurationError
from tests.models import Dish
from tests.spoken import WAYS, Spoken

TAGS: list[list[str] | None] = [None, ["menus"], []]


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(params=WAYS)
def spoken(cache: TaggedRedisCache, request: pytest.FixtureRequest) -> Spoken:
    return Spoken(cache, request.param)


@pytest.fixture(params=TAGS, ids=["untagged", "tagged", "no tags"])
def tags(request: pytest.FixtureRequest) -> Any:
    return request.param


def stale(cache: TaggedRedisCache, key: str, value: Any = "old") -> None:
    """An entry that stands in Redis and is dead."""
    cache.set(key, value, 600, tags=["gone"])
    cache.invalidate_tags(["gone"])


# Values


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, "x" * 1_000_000, 10**40])
def test_every_value_is_a_hit_none_too(spoken: Spoken, cache: TaggedRedisCache, tags: Any, value: Any) -> None:
    spoken.set("k", value, tags=tags)
    assert spoken.get("k", "default") == value
    assert spoken.get_many(["k", "missing"]) == {"k": value}
    assert spoken.has_key("k")
    assert spoken.add("k", "other", tags=tags) is False
    assert spoken.get_or_set("k", lambda: pytest.fail("computed"), tags=tags) == value


def test_nan_is_a_hit(spoken: Spoken, tags: Any) -> None:
    spoken.set("k", math.nan, tags=tags)
    assert math.isnan(spoken.get("k"))


def test_a_lookup_takes_a_cached_none_for_a_hit(cache: TaggedRedisCache) -> None:
    with cache.lookup("k", tags=["menus"]) as entry:
        assert entry.missed
        assert entry.store(None)
    with cache.lookup("k", tags=["menus"]) as entry:
        assert not entry.missed
        assert entry.value is None


def test_what_cannot_be_pickled_leaves_the_old_value(spoken: Spoken, cache: TaggedRedisCache, tags: Any) -> None:
    spoken.set("k", "old", tags=tags)
    acts: tuple[Callable[[], Any], ...] = (
        lambda: spoken.set("k", lambda: None, tags=tags),
        lambda: spoken.set_many({"fine": 1, "k": lambda: None}, tags=tags),
        lambda: spoken.set("k", lambda: None, 0, tags=tags),
    )
    for store in acts:
        with pytest.raises((pickle.PicklingError, AttributeError)):
            store()
        assert spoken.get("k") == "old"
        assert spoken.get("fine") is None


@pytest.mark.django_db(transaction=True)
def test_a_lazy_queryset_is_fetched_outside_of_the_event_loop(cache: TaggedRedisCache) -> None:
    Dish.objects.create(name="Soto")
    asyncio.run(cache.aset("k", Dish.objects.all()))
    assert [dish.name for dish in cache.get("k")] == ["Soto"]


# Timeouts


@pytest.mark.parametrize("timeout", [0, -1, -0.5, 0.0])
def test_a_timeout_that_is_over_removes(spoken: Spoken, tags: Any, timeout: float) -> None:
    spoken.set("k", 1, tags=tags)
    assert spoken.set("k", 2, timeout, tags=tags)
    assert spoken.get("k") is None
    assert spoken.add("k", 2, timeout, tags=tags)
    assert spoken.get("k") is None
    spoken.set("k", 1, tags=tags)
    spoken.set_many({"k": 2}, timeout, tags=tags)
    assert spoken.get("k") is None
    spoken.set("k", 1, tags=tags)
    assert spoken.touch("k", timeout)
    assert spoken.get("k") is None


def test_a_timeout_of_none_is_without_end_but_for_tagged_entries(spoken: Spoken, cache: TaggedRedisCache) -> None:
    spoken.set("k", 1, None)
    assert cache.ttl("k") is None
    spoken.set("t", 1, None, tags=["menus"])
    assert 0 < cache.ttl("t") <= LONGEST_ENTRY
    spoken.set("t", 1, 10**9, tags=["menus"])
    assert 0 < cache.ttl("t") <= LONGEST_ENTRY


@pytest.mark.parametrize("timeout", [10**12, 1e300, float("inf"), 10**30])
def test_a_huge_timeout_is_no_error(spoken: Spoken, tags: Any, timeout: float) -> None:
    spoken.set("k", 1, timeout, tags=tags)
    assert spoken.get("k") == 1
    assert spoken.touch("k", timeout)
    assert spoken.get("k") == 1


def test_a_timeout_may_be_a_fraction_of_a_second(spoken: Spoken, tags: Any, commands: Any) -> None:
    with commands() as log:
        spoken.set("k", 1, 70.5, tags=tags)
    assert [line.split()[-2:] for line in log if line.startswith("SET ")] == [["PX", "70500"]]


def test_touch_gives_a_new_life_and_says_whether_there_was_one(
    spoken: Spoken, cache: TaggedRedisCache, tags: Any
) -> None:
    spoken.set("k", 1, 100, tags=tags)
    assert spoken.touch("k", 500)
    assert 100 < cache.ttl("k") <= 500
    assert spoken.touch("k", None)
    assert (cache.ttl("k") or LONGEST_ENTRY) <= LONGEST_ENTRY
    assert (cache.ttl("k") is None) is (tags is None)
    assert spoken.touch("missing", 5) is False
    stale(cache, "dead")
    assert spoken.touch("dead", 5) is False


def test_touch_bounds_the_life_of_an_entry_that_another_process_tagged(cache: TaggedRedisCache) -> None:
    cache.set("k", 1, 60, tags=["menus"])
    cache.state.hints.clear()
    cache.touch("k", None)
    assert 0 < cache.ttl("k") <= LONGEST_ENTRY


# Conditions


def test_add_replaces_the_dead_and_nothing_else(spoken: Spoken, cache: TaggedRedisCache, tags: Any) -> None:
    stale(cache, "k")
    assert spoken.add("k", 1, 60, tags=tags) is True
    assert spoken.get("k") == 1
    assert 0 < cache.ttl("k") <= 60
    assert spoken.add("k", 2, tags=tags) is False
    assert spoken.add("k", 2, 0, tags=tags) is False
    assert spoken.get("k") == 1


def test_of_many_adders_over_a_dead_entry_one_wins(cache: TaggedRedisCache) -> None:
    for round_number in range(20):
        stale(cache, f"k{round_number}")
        together = threading.Barrier(8)

        def add(number: int, key: str = f"k{round_number}", together: threading.Barrier = together) -> bool:
            together.wait(60)
            return cache.add(key, number, tags=["menus"])

        with ThreadPoolExecutor(8) as pool:
            won = [number for number, added in enumerate(pool.map(add, range(8))) if added]
        assert won == [cache.get(f"k{round_number}")]


def test_set_heeds_nx_and_xx_and_takes_the_dead_for_missing(spoken: Spoken, cache: TaggedRedisCache, tags: Any) -> None:
    assert not spoken.set("k", 1, xx=True, tags=tags)
    assert spoken.set("k", 1, nx=True, tags=tags)
    assert not spoken.set("k", 2, nx=True, tags=tags)
    assert spoken.set("k", 3, xx=True, tags=tags)
    assert spoken.get("k") == 3
    stale(cache, "k")
    assert not spoken.set("k", 4, xx=True, tags=tags)
    assert spoken.get("k") is None
    assert spoken.set("k", 5, nx=True, tags=tags)
    assert spoken.get("k") == 5


def test_get_or_set_computes_once_and_takes_callables_values_and_coroutines(spoken: Spoken, tags: Any) -> None:
    async def coroutine() -> int:
        return 3

    assert spoken.get_or_set("a", lambda: 1, tags=tags) == 1
    assert spoken.get_or_set("a", lambda: pytest.fail("computed twice"), tags=tags) == 1
    assert spoken.get_or_set("b", 2, tags=tags) == 2
    if spoken._way == "awaiting":
        assert spoken.get_or_set("c", coroutine, tags=tags) == 3
        assert spoken.get_or_set("d", lambda: coroutine(), tags=tags) == 3
        assert spoken.get("d") == 3


def test_get_or_set_caches_no_exception(spoken: Spoken, tags: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        spoken.get_or_set("k", lambda: 1 / 0, tags=tags)
    assert spoken.get("k", MISSING) is MISSING


# Numbers


def test_counting_keeps_life_and_tags(spoken: Spoken, cache: TaggedRedisCache, tags: Any) -> None:
    spoken.set("n", 5, 60, tags=tags)
    assert spoken.incr("n") == 6
    assert spoken.incr("n", 10) == 16
    assert spoken.decr("n", 20) == -4
    assert spoken.get("n") == -4
    assert 0 < cache.pttl("n") <= 60_000
    cache.invalidate_tags(["menus"])
    assert (spoken.get("n") is None) is (tags == ["menus"])


@pytest.mark.parametrize("start", [2**63 - 1, 10**40, 1.5, True])
def test_numbers_that_redis_cannot_add_to_are_added_to_all_the_same(spoken: Spoken, start: Any, tags: Any) -> None:
    spoken.set("n", start, tags=tags)
    assert spoken.incr("n") == start + 1
    assert spoken.get("n") == start + 1


def test_counting_what_is_missing_or_dead_is_an_error(spoken: Spoken, cache: TaggedRedisCache) -> None:
    stale(cache, "dead", 5)
    for key in ("missing", "dead"):
        with pytest.raises(ValueError, match="not found"):
            spoken.incr(key)
    cache.set("text", "abc")
    with pytest.raises(TypeError):
        spoken.incr("text")


def test_counting_from_nothing_is_possible_where_asked_for(cache: TaggedRedisCache) -> None:
    assert cache.incr("n", 3, ignore_key_check=True) == 3


def test_threads_lose_no_count(cache: TaggedRedisCache, tags: Any) -> None:
    cache.set("n", 0, tags=tags)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cache.incr("n"), range(200)))
    assert cache.get("n") == 200


# Versions and keys


def test_versions_are_apart_and_an_entry_moves_with_its_life_and_tags(
    spoken: Spoken, cache: TaggedRedisCache, tags: Any
) -> None:
    spoken.set("k", 1, 60, tags=tags)
    spoken.set("k", 2, 60, version=2, tags=tags)
    assert (spoken.get("k"), spoken.get("k", version=2), spoken.get("k", version=3)) == (1, 2, None)
    assert spoken.incr_version("k", 2) == 3
    assert (spoken.get("k"), spoken.get("k", version=3)) == (None, 1)
    assert 0 < cache.ttl("k", version=3) <= 60
    assert spoken.decr_version("k", 2, version=3) == 1
    assert spoken.get("k") == 1
    cache.invalidate_tags(["menus"])
    assert (spoken.get("k") is None) is (tags == ["menus"])
    stale(cache, "dead")
    for missing in ("missing", "dead"):
        with pytest.raises(ValueError, match="not found"):
            spoken.incr_version(missing)


def reversed_key(key: str, prefix: str, version: int) -> str:
    return f"{prefix}/{version}/{key[::-1]}"


def test_a_key_function_of_the_project_names_the_keys(settings: Any, raw: "Redis", prefix: str) -> None:
    settings.CACHES["default"]["KEY_FUNCTION"] = "tests.test_cache_api.reversed_key"
    settings.CACHES = dict(settings.CACHES)
    cache = caches["default"]
    cache.set("abc", 1, tags=["menus"])  # type: ignore[call-arg]
    cache.set("plain", 2)
    assert raw.exists(f"{prefix}/1/cba")
    assert cache.get_many(["abc", "plain"]) == {"abc": 1, "plain": 2}
    cache.clear()
    assert not raw.exists(f"{prefix}/1/nialp")


@pytest.mark.parametrize(
    "function", [lambda key, prefix, version: key, lambda key, prefix, version: f"{key}:{prefix}", lambda *_: "digest"]
)
def test_clear_refuses_keys_that_it_cannot_tell_from_others(
    spoken: Spoken, cache: TaggedRedisCache, function: Callable[..., str], monkeypatch: pytest.MonkeyPatch, raw: "Redis"
) -> None:
    monkeypatch.setattr(cache, "key_func", function)
    with pytest.raises(ConfigurationError, match="KEY_FUNCTION"):
        spoken.clear()


def test_odd_keys_work_and_are_warned_about_as_django_does(spoken: Spoken) -> None:
    for key in ("with space", "k" * 300, "tab\t", "\x7f"):
        with pytest.warns(CacheKeyWarning):
            spoken.set(key, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheKeyWarning)
        for key in ("k{}*?[a]", "ß🍛", "a:b", "k" * 200):
            spoken.set(key, key)
            assert spoken.get(key) == key


# Many


def test_many_of_all_kinds_are_fetched_at_once(spoken: Spoken, cache: TaggedRedisCache) -> None:
    stale(cache, "dead")
    spoken.set_many({"a": 1, "b": None})
    spoken.set_many({"c": 3, "d": 4}, 60, tags=["menus"])
    spoken.set("e", 5, tags=["recipes"])
    keys = ["a", "b", "c", "d", "e", "dead", "missing", "a"]
    assert spoken.get_many(keys) == {"a": 1, "b": None, "c": 3, "d": 4, "e": 5}
    cache.state.hints.clear()
    assert spoken.get_many(iter(keys)) == {"a": 1, "b": None, "c": 3, "d": 4, "e": 5}
    cache.invalidate_tags(["menus"])
    assert spoken.get_many(keys) == {"a": 1, "b": None, "e": 5}
    assert spoken.delete_many(["a", "b", "missing"]) == 2
    assert spoken.get_many(keys) == {"e": 5}
    assert spoken.get_many([]) == {}
    assert spoken.set_many({}) == []
    assert spoken.delete_many([]) is None


# Tags


@pytest.mark.parametrize("wrong", ["abc", b"abc", [1], ["a", None], 5])
def test_tags_are_a_list_of_strings(spoken: Spoken, cache: TaggedRedisCache, wrong: Any) -> None:
    acts: tuple[Callable[[], Any], ...] = (
        lambda: spoken.set("k", 1, tags=wrong),
        lambda: spoken.add("k", 1, tags=wrong),
        lambda: spoken.set_many({"k": 1}, tags=wrong),
        lambda: spoken.get_or_set("k", 1, tags=wrong),
        lambda: spoken.invalidate_tags(wrong),
        lambda: cache.lookup("k", tags=wrong),
    )
    for call in acts:
        with pytest.raises(TypeError, match="expected a list of strings"):
            call()
    assert spoken.get("k") is None


@pytest.mark.parametrize("wrong", [[""], ["a\x1fb"], ["x" * 40_000, "y" * 40_000]])
def test_tags_that_an_entry_cannot_carry_are_refused(spoken: Spoken, wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="tag"):
        spoken.set("k", 1, tags=wrong)


@pytest.mark.parametrize("tag", ["a:b", "{x}", "*", "ß🍛", "x" * 10_000, " ", "\n", "\ud800"])
def test_odd_tags_are_tags(spoken: Spoken, cache: TaggedRedisCache, tag: str) -> None:
    spoken.set("k", 1, tags=[tag, "other"])
    spoken.set("kept", 1, tags=["another"])
    cache.state.hints.clear()
    assert spoken.get("k") == 1
    spoken.invalidate_tags([tag])
    assert spoken.get("k") is None
    assert spoken.get("kept") == 1


def test_tags_may_be_any_iterable_and_their_order_says_nothing(spoken: Spoken, cache: TaggedRedisCache) -> None:
    spoken.set("k", 1, tags={"a", "b"})
    with cache.lookup("k", tags=["b", "a", "b"]) as entry:
        assert not entry.missed
    spoken.invalidate_tags(tag for tag in ["b"])  # a generator that is used up by a check would invalidate nothing
    assert spoken.get("k") is None


def test_an_entry_may_carry_hundreds_of_tags(spoken: Spoken, cache: TaggedRedisCache) -> None:
    tags = [f"menu:{number}" for number in range(500)]
    spoken.set("k", 1, tags=tags)
    cache.state.hints.clear()
    assert spoken.get("k") == 1
    spoken.invalidate_tags(tags[250:251])
    assert spoken.get("k") is None


# What django-redis has


def test_a_key_is_there_whatever_stands_under_it(spoken: Spoken, cache: TaggedRedisCache) -> None:
    """A lock's token is no pickle, a set no string, and what a renamed class left cannot be read: all are there."""
    cache.sadd("set", 1)
    with cache.lock("lock", timeout=60):
        assert spoken.has_key("lock")
    assert not spoken.has_key("lock")
    assert spoken.has_key("set")
    assert "set" in cache
    stale(cache, "dead")
    assert not spoken.has_key("dead")


@pytest.mark.filterwarnings("ignore:get on sharded client")  # its own words for a plain get()
def test_client_side_shards_are_served_by_django_redis_itself(redis_url: str, prefix: str) -> None:
    """A tag is void at one moment for all: that takes one primary, or a cluster of Redis's own."""
    options = {"CLIENT_CLASS": "django_redis.client.ShardClient"}
    cache: Any = TaggedRedisCache([redis_url, redis_url], {"KEY_PREFIX": prefix, "OPTIONS": options})
    assert type(cache) is RedisCache
    cache.set("k", 1)
    assert cache.get("k") == 1
    with pytest.raises(TypeError):
        cache.set("k", 1, tags=["menus"])


def test_the_methods_of_django_redis_work(cache: TaggedRedisCache, raw: "Redis", prefix: str) -> None:
    cache.set_many({"a1": 1, "a2": 2, "b": 3}, 60)
    assert 0 < cache.ttl("a1") <= 60
    assert 0 < cache.pttl("a1") <= 60_000
    assert sorted(cache.iter_keys("a*")) == sorted(cache.keys("a*")) == ["a1", "a2"]
    assert cache.expire("a1", 50)
    assert cache.persist("a1")
    assert cache.ttl("a1") is None
    assert cache.delete_pattern("a*") == 2
    assert cache.get_many(["a1", "b"]) == {"b": 3}
    cache.sadd("set", "x", "y")
    assert cache.smembers("set") == {"x", "y"}
    cache.hset("hash", "field", {"v": 1})
    assert cache.hkeys("hash") == ["field"]
    assert cache.hexists("hash", "field")
    cache.zadd("sorted", {"x": 1.0})
    assert cache.zrange("sorted", 0, -1) == ["x"]
    assert cache.touch("sorted", 60)
    with cache.lock("lock", timeout=60, blocking_timeout=1):
        assert raw.exists(f"{prefix}:1:lock")
    assert get_redis_connection("default").ping()
    pipeline = get_redis_connection("default").pipeline()
    cache.set("piped", 1, client=pipeline)
    pipeline.execute()
    assert cache.get("piped") == 1


# Clearing


def test_clear_removes_what_the_alias_stored_and_nothing_else(
    spoken: Spoken, cache: TaggedRedisCache, raw: "Redis", prefix: str, settings: Any
) -> None:
    foreign = [f"{prefix}-other:1:k", f"{prefix}:session:{{ab}}cdef", f"{prefix}:celery", f"{prefix}:user:1:k"]
    for key in foreign:
        raw.set(key, "1", px=600_000)
    spoken.set_many({f"k{number}": number for number in range(2_500)})
    spoken.set("v2", 1, version=2)
    spoken.set("t", 1, tags=["menus"])
    spoken.clear()
    assert spoken.get_many(["k0", "k2499", "t"]) == {}
    assert spoken.get("v2", version=2) is None
    assert raw.exists(*foreign) == len(foreign)


def test_clear_without_a_prefix_leaves_sessions_locks_and_what_others_store(server: Any, settings: Any) -> None:
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": ""}}
    cache = caches["default"]
    with server.client() as raw:
        foreign = [
            "session:{ab}cdef",
            "security:lockout:{x}",
            "lock:nightly",
            "celery",
            "other:1:k",
            "user:{1}:sessions",
        ]
        for key in foreign:
            raw.set(key, "1")
        cache.set("k", 1)
        cache.clear()
        assert cache.get("k") is None
        assert raw.exists(*foreign) == len(foreign)


# Statistics


def test_stats_count_what_happened(cache: TaggedRedisCache, spoken: Spoken) -> None:
    before = cache.stats()
    spoken.set("k", 1)
    spoken.set("t", 1, tags=["menus"])
    spoken.get("k")
    spoken.get("t")
    spoken.get("missing")
    cache.invalidate_tags(["menus"])
    spoken.get("t")
    spoken.get_many(["k", "t", "missing"])
    after = cache.stats()
    assert {event: after[event] - before[event] for event in ("hits", "misses", "stale", "stores")} == {
        "hits": 3, "misses": 4, "stale": 2, "stores": 2,
    }  # fmt: skip
