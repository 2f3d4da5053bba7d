"""Why did this miss: the tag, who, when – as far as it can be known, and not further.

Taken away, asking whether a log reaches back far enough turns ``a_log_that_was_trimmed`` red.
"""

import time
from typing import Any

import pytest
import redis
from django.core.cache import caches

from bergizi_redis import connections
from bergizi_redis.cache import fences, process
from bergizi_redis.cache.actors import acting
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.bumplog import LENGTH, log_of
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import Domain, menu
from bergizi_redis.cache.envelope import FORMAT
from bergizi_redis.cache.tags import Scope
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import speak
from tests.moments import left_of
from tests.nearness import brought_near
from tests.servers import PrivateServer
from tests.spoken import WAYS, Spoken

TENANT = "sppg-a"
orders = Domain("explained", tags=["stock"])


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(params=WAYS)
def told(request: pytest.FixtureRequest) -> Any:
    return Spoken(orders, request.param)


def test_a_hit_says_how_long_it_lives(told: Spoken) -> None:
    orders.set(TENANT, 1, "x")
    found = told.explain(TENANT, 1)
    assert (found.state, found.causes) == ("hit", ())
    assert found.left == left_of(300)
    assert found.size > 29
    assert abs(found.created - time.time()) < 60
    assert f"kept for {found.left:.0f} s more" in str(found)


def test_a_missing_entry_is_told_with_the_last_bump(told: Spoken) -> None:
    assert told.explain(TENANT, 1).state == "missing"
    assert told.explain(TENANT, 1).causes == ()
    with acting("a test"):
        orders.invalidate(TENANT)
    found = told.explain(TENANT, 1)
    assert found.state == "missing"
    assert [(cause.tag, cause.who) for cause in found.causes] == [("v:explained", "a test")]


def test_a_dead_entry_names_the_tag_who_and_when(told: Spoken, cache: TaggedRedisCache, raw: "redis.Redis") -> None:
    orders.set(TENANT, 1, "x")
    with acting("the night shift"):
        cache.invalidate_tags(["stock", "something else"], tenant=TENANT)
    found = told.explain(TENANT, 1)
    (cause,) = found.causes
    assert (found.state, cause.tag, cause.tenant, cause.who) == ("dead", "v:stock", TENANT, "the night shift")
    assert abs(cause.at - raw.time()[0]) < 60
    assert "one of" not in found.reason
    assert "tag 'stock' of sppg-a was voided at " in str(found)
    assert str(found).count(" by the night shift") == 1


def test_of_several_it_says_one_of_these(told: Spoken, cache: TaggedRedisCache) -> None:
    """The entry holds one digest of all its versions: which of them moved first it does not know."""
    orders.set(TENANT, 1, "x")
    cache.invalidate_tags(["stock"])
    orders.invalidate(TENANT, 1)
    cache.invalidate_all(tenant=TENANT)
    found = told.explain(TENANT, 1)
    assert "one of these" in found.reason
    assert {cause.tag.partition("#")[0] for cause in found.causes} == {"e:stock", "v:explained", "tenant"}
    assert "tag 'stock' of every tenant" in str(found)
    assert "everything of sppg-a" in str(found)


def test_another_tenants_bumps_are_no_cause(told: Spoken, cache: TaggedRedisCache) -> None:
    orders.set(TENANT, 1, "x")
    cache.invalidate_tags(["stock"], tenant="sppg-b")
    assert told.explain(TENANT, 1).state == "hit"
    cache.invalidate_tags(["stock"], tenant=TENANT)
    assert len(told.explain(TENANT, 1).causes) == 1


def test_a_version_that_is_gone_is_told_so(told: Spoken, cache: TaggedRedisCache, raw: "redis.Redis") -> None:
    orders.set(TENANT, 1, "x")
    raw.delete(next(iter(Scope(TENANT, cache.key_prefix).bumped_by((), own=["stock"]))))
    found = told.explain(TENANT, 1)
    assert found.state == "dead"
    assert "gone (evicted, expired, flushed" in str(found)
    orders.get(TENANT, 1)  # makes a new one, which nobody has noted
    assert "no log tells why" in told.explain(TENANT, 1).reason


def test_a_log_that_was_trimmed_is_not_taken_for_the_whole(cache: TaggedRedisCache, raw: "redis.Redis") -> None:
    orders.set(TENANT, 1, "x")
    scope = Scope(TENANT, cache.key_prefix)
    cache.invalidate_tags(["stock"], tenant=TENANT)
    for _ in range(LENGTH + 150):
        speak(cache.entries.bump([scope.everything()]), raw)
    found = orders.explain(TENANT, 1)
    assert [cause.tag for cause in found.causes] == ["tenant"]
    assert "the log holds no more" in found.reason


def test_a_fence_tells_until_when_it_stands(told: Spoken, cache: TaggedRedisCache, raw: "redis.Redis") -> None:
    orders.set(TENANT, 1, "x")
    keys = Scope(TENANT, cache.key_prefix).bumped_by((), own=["stock"])
    earliest = time.time() + 600
    speak(fences.put_up(keys, b"writer--", 600), raw)
    found = told.explain(TENANT, 1)
    assert found.state == "fenced"
    assert "tag 'stock' of sppg-a" in found.reason
    days = {time.strftime("%Y-%m-%d", time.gmtime(at)) for at in (earliest, time.time() + 600)}
    assert any(day in found.reason for day in days)
    with_token = cache.put(orders._entry(cache, TENANT, 1), "y", 300)
    assert with_token
    speak(fences.take_down(keys, b"writer--"), raw)
    assert told.explain(TENANT, 1).state == "born dead"


def test_what_was_voided_while_it_was_computed(cache: TaggedRedisCache, raw: "redis.Redis") -> None:
    """Born dead: its time is after the bump's. The log's time is moved a minute back instead of waiting."""
    alone = Domain("explained_alone", herd=False)  # with a herd, the voided lease stores nothing at all
    with alone.lookup(TENANT, 1) as entry:
        entry._began -= 120  # it took two minutes; the cost that an entry can hold ends at 65 s
        alone.invalidate(TENANT)
        entry.store("old")
    log = log_of(Scope(TENANT, cache.key_prefix).everything())
    assert log
    noted: Any = raw.xrange(log)
    raw.delete(log)
    raw.xadd(log, noted[0][1], id=f"{int((time.time() - 60) * 1000)}-0")
    found = alone.explain(TENANT, 1)
    assert (found.state, [cause.tag for cause in found.causes]) == ("born dead", ["v:explained_alone"])
    assert "while it was computed" in found.reason


def test_an_entry_of_another_format_is_unreadable(told: Spoken, cache: TaggedRedisCache, raw: "redis.Redis") -> None:
    orders.set(TENANT, 1, "x")
    key = orders._entry(cache, TENANT, 1).key
    data = bytearray(raw.get(key))  # type: ignore[arg-type]
    data[1] = FORMAT + 1
    raw.set(key, bytes(data))
    assert told.explain(TENANT, 1).state == "unreadable"


@pytest.mark.parametrize("way", WAYS)
def test_a_plain_key_explains_itself(cache: TaggedRedisCache, way: str) -> None:
    spoken = Spoken(cache, way)
    assert spoken.explain("k").state == "missing"
    cache.set("k", 1)
    assert spoken.explain("k").state == "hit"
    cache.set("k", "tagged", tags=["menus"])
    assert spoken.explain("k").state == "hit"
    cache.invalidate_tags(["menus"])
    found = spoken.explain("k")
    assert found.state == "dead"
    assert [cause.tag for cause in found.causes] == ["v:menus"]
    assert "tag 'menus' of shared entries" in str(found)


def test_an_entry_whose_key_implies_its_tags_refers_to_its_owner(cache: TaggedRedisCache) -> None:
    menu.set(TENANT, 1, "x")
    key = menu._entry(cache, TENANT, 1).key
    cache.key_func = lambda key, prefix, version: key
    assert cache.explain(key).state == "unknown"


def test_a_cached_function_explains_a_call() -> None:
    @cached(timeout=300, tags=["menus"])
    def count(status: str) -> int:
        return len(status)

    count("active")
    assert count.explain("active").state == "hit"
    count.invalidate("active")
    assert count.explain("active").state == "dead"
    assert count.explain("other").state == "missing"


def test_an_outage_is_told(server: PrivateServer) -> None:
    server.kill()
    with pytest.raises(RedisUnavailable):
        menu.explain(TENANT, 1)


def test_the_near_cache_is_told(cache: TaggedRedisCache, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_states", {})
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": {"NEAR_CACHE": {"max_staleness": 60.0}}}}
    near: Any = caches["default"]
    try:
        orders.set(TENANT, 1, "x")
        brought_near(near, orders.lookup(TENANT, 1).address.key, lambda: orders.get(TENANT, 1))
        assert orders.get(TENANT, 1) == "x"
        found = orders.explain(TENANT, 1)
        assert (found.state, found.near) == ("hit", True)
        assert "near cache of this process holds it" in str(found)
        assert near.stats()["near_hits"] > 0
    finally:
        connections.disconnect_all()
