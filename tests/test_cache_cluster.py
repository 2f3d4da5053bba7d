"""The cache on a cluster of three primaries: entries and the versions of their tags lie in several slots."""

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches

from bergizi_redis import connections
from bergizi_redis.cache import writes
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.buffers import buffers
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.flushing import Visited
from bergizi_redis.cache.workers import Worker
from bergizi_redis.cache.writes import WriteBehind, WriteThrough
from tests.servers import Cluster, server_directory
from tests.spoken import WAYS, Spoken

TENANTS = [f"sppg-{number}" for number in range(12)]  # spread over all three


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with server_directory() as directory:
        running = Cluster(directory)
        try:
            yield running.start()
        finally:
            connections.disconnect_all()
            running.kill()


@pytest.fixture
def cache(cluster: Cluster, settings: Any) -> TaggedRedisCache:
    aliases = copy.deepcopy(settings.CACHES)
    aliases["default"]["LOCATION"] = cluster.url
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 60.0, "COMMAND_TIMEOUT": 60.0}  # 20 a node
    settings.CACHES = aliases
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(params=WAYS)
def spoken(cache: TaggedRedisCache, request: pytest.FixtureRequest) -> Spoken:
    return Spoken(cache, request.param)


def test_entries_with_and_without_tags(spoken: Spoken, cache: TaggedRedisCache) -> None:
    plain = {f"k{number}": number for number in range(30)}
    tagged = {f"t{number}": number for number in range(30)}
    spoken.set_many(plain, 60)
    spoken.set_many(tagged, 60, tags=["menus", "recipes"])
    assert spoken.get_many([*plain, *tagged, "missing"]) == plain | tagged
    cache.state.hints.clear()
    assert spoken.get_many([*plain, *tagged]) == plain | tagged
    assert [spoken.get("k1"), spoken.get("t1")] == [1, 1]
    spoken.invalidate_tags(["recipes", "other"])
    assert spoken.get_many([*plain, *tagged]) == plain
    assert spoken.delete_many(plain) == 30
    assert spoken.get_many(plain) == {}


def test_each_method(spoken: Spoken, cache: TaggedRedisCache) -> None:
    for tags in (None, ["menus"]):
        assert spoken.set("k", 1, 60, tags=tags)
        assert not spoken.add("k", 2, tags=tags)
        assert spoken.incr("k", 4) == 5
        assert spoken.touch("k", 500)
        assert spoken.touch("k", None)
        assert spoken.incr_version("k") == 2
        assert spoken.get("k", version=2) == 5
        assert spoken.decr_version("k", version=2) == 1
        assert spoken.has_key("k")
        assert spoken.get_or_set("k", 7, tags=tags) == 5
        assert spoken.delete("k")
        assert spoken.get_or_set("k", 7, tags=tags) == 7
    cache.invalidate_tags(["menus"])
    assert spoken.add("k", 8, tags=["menus"])
    assert spoken.get("k") == 8


def test_races_are_lost_by_the_reader(spoken: Spoken, cache: TaggedRedisCache) -> None:
    @cached(timeout=60, tags=["menus"])
    def answer() -> str:
        spoken.invalidate_tags(["menus"]) if not answers else None
        answers.append(1)
        return f"answer {len(answers)}"

    answers: list[int] = []
    assert answer() == "answer 1"
    assert answer() == answer() == "answer 2"
    with cache.lookup("k", tags=["a", "b", "c"]) as entry:
        spoken.invalidate_tags(["b"])
        entry.store("old")
    assert spoken.get("k") is None


def test_domains_of_many_tenants(spoken: Spoken) -> None:
    menus = Spoken(menu, spoken._way)
    for tenant in TENANTS:
        assert menus.set(tenant, 1, tenant)
        assert menus.get_or_compute(tenant, 2, lambda tenant=tenant: tenant) == tenant
    menus.invalidate(TENANTS[0])
    menus.invalidate(TENANTS[1], 1)
    spoken.invalidate_all(tenant=TENANTS[2])
    assert [menus.get(tenant, 1) for tenant in TENANTS] == [None] * 3 + TENANTS[3:]
    spoken.invalidate_tags(["menu"])
    assert [menus.get(tenant, 2) for tenant in TENANTS] == [None] * 12


def test_clear_reaches_every_node_and_only_its_own_keys(spoken: Spoken, cache: TaggedRedisCache) -> None:
    raw = cache.client.get_client()
    raw.set("session:{ab}cdef", "1")
    spoken.set_many({f"k{number}": number for number in range(300)})
    spoken.clear()
    assert spoken.get_many([f"k{number}" for number in range(300)]) == {}
    assert list(cache.iter_keys("*")) == []
    assert raw.exists("session:{ab}cdef")


def test_numbers_and_reasons(cache: TaggedRedisCache) -> None:
    """The logs of bumps lie beside the versions that they tell of, in every slot."""
    for tenant in TENANTS:
        menu.set(tenant, 1, "x")
        menu.get(tenant, 1)
        menu.invalidate(tenant)
    for tenant in TENANTS:
        (cause,) = menu.explain(tenant, 1).causes
        assert (cause.tag, cause.tenant) == ("v:menu", tenant)
        assert str(cause.who).endswith("test_numbers_and_reasons")
    told = cache.stats(fleet=True)
    assert {told["by_tenant"][tenant]["hits"] for tenant in TENANTS} == {1}
    assert asyncio.run(cache.astats(fleet=True))["by_tenant"] == told["by_tenant"]
    cache.set("k", 1, tags=["menus"])
    asyncio.run(cache.ainvalidate_tags(["menus"]))
    assert asyncio.run(cache.aexplain("k")).state == "dead"


@pytest.mark.django_db(transaction=True)
def test_writes_through_and_behind(cache: TaggedRedisCache) -> None:
    """Each shard's keys share a slot, another than the tenant's: the workers reach all nodes."""
    saved: dict[str, Any] = {}
    through = WriteThrough(menu, save=lambda tenant, ident, data: saved.update({tenant: data}))
    behind = WriteBehind(menu, flush=lambda tenant, ident, data, token: saved.update({tenant: data}))
    try:
        for tenant in TENANTS:
            through.write(tenant, 1, "through")
            assert menu.get(tenant, 1) == "through"
            behind.write(tenant, 1, "behind")
            assert menu.get(tenant, 1) == "behind"
        assert asyncio.run(behind.aread(TENANTS[0], 1, lambda: "unflushed")) == "behind"
        assert Worker([behind]).drain() == Visited(flushed=len(TENANTS))
        assert saved == dict.fromkeys(TENANTS, "behind")
        assert [menu.get(tenant, 1) for tenant in TENANTS] == [None] * len(TENANTS)
    finally:
        writes._declared.clear()
        buffers.clear()
