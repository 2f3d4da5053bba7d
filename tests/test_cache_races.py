"""The promise of tags: what was computed before an invalidation is never served after it.

The interleaving "reader misses – writer invalidates – reader stores" is forced: the writer runs inside the function
that computes. Guards that were taken away once to see these tests go red: storing under the token that was read before
computing (``Lookup.store``: all races), comparing digests in ``look`` and in ``get`` (races and version keys), random
versions (a constant one: the deleted version keys), and the bump of ``e:<tag>`` (the table of ``tags.py``).
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.core.cache import caches
from redis import Redis

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.tenancy import use_tenant
from tests.spoken import WAYS, Spoken

TENANT = "sppg-a"
Compute = Callable[[], Any]
Read = Callable[[Compute], Any]


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def in_tenant() -> Iterator[None]:
    with use_tenant(TENANT):
        yield


computing: list[Compute] = []


@cached(timeout=300, tags=["menus"])
def shared_function() -> Any:
    return computing[-1]()


@cached(timeout=300, tags=["menus"], per_tenant=True)
def tenant_function() -> Any:
    return computing[-1]()


@cached(timeout=300, tags=["menus"])
async def async_function() -> Any:
    return computing[-1]()


def by_lookup(compute: Compute) -> Any:
    with caches["default"].lookup("k", tags=["menus"]) as entry:  # type: ignore[attr-defined]
        if entry.missed:
            entry.store(compute(), timeout=300)
    return entry.value


def by_async_lookup(compute: Compute) -> Any:
    async def run() -> Any:
        async with caches["default"].lookup("k", tags=["menus"]) as entry:  # type: ignore[attr-defined]
            if entry.missed:
                await entry.astore(compute(), timeout=300)
        return entry.value

    return asyncio.run(run())


def by_calling(function: Callable[[], Any]) -> Read:
    def read(compute: Compute) -> Any:
        computing.append(compute)
        try:
            found = function()
            return asyncio.run(found) if asyncio.iscoroutine(found) else found
        finally:
            computing.pop()

    return read


async def acompute(compute: Compute) -> Any:
    return compute()


READERS: dict[str, Read] = {
    "lookup": by_lookup,
    "async lookup": by_async_lookup,
    "get_or_set": lambda compute: caches["default"].get_or_set("k", compute, 300, tags=["menus"]),  # type: ignore[call-arg]
    "aget_or_set": lambda compute: Spoken(caches["default"], "awaiting").get_or_set("k", compute, 300, tags=["menus"]),
    "aget_or_set, awaiting": lambda compute: Spoken(caches["default"], "awaiting").get_or_set(
        "k", lambda: acompute(compute), 300, tags=["menus"]
    ),
    "@cached": by_calling(shared_function),
    "@cached per tenant": by_calling(tenant_function),
    "@cached async": by_calling(async_function),
    "domain": lambda compute: menu.get_or_compute(TENANT, 42, compute),
    "async domain": lambda compute: Spoken(menu, "awaiting").get_or_compute(TENANT, 42, compute),
}
WRITERS: dict[str, Callable[[str], None]] = {
    "the tag": lambda reader: caches["default"].invalidate_tags(["menu" if "domain" in reader else "menus"]),  # type: ignore[attr-defined]
    "the tag of the tenant": lambda reader: caches["default"].invalidate_tags(  # type: ignore[attr-defined]
        ["menu" if "domain" in reader else "menus"], tenant=TENANT
    ),
    "everything": lambda _: caches["default"].invalidate_all(),  # type: ignore[attr-defined]
    "clear": lambda _: caches["default"].clear(),
}


def own_invalidation(reader: str) -> None:
    """The call that each way of reading has for its own entry alone."""
    if "domain" in reader:
        menu.invalidate(TENANT, 42)
    elif reader == "@cached":
        shared_function.invalidate()
    elif reader == "@cached per tenant":
        tenant_function.invalidate()
    elif reader == "@cached async":
        async_function.invalidate()
    else:
        caches["default"].invalidate_tags(["menus"])  # type: ignore[attr-defined]


WRITERS["its own invalidation"] = own_invalidation


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.usefixtures("in_tenant")
def test_what_was_computed_before_an_invalidation_is_not_served_after_it(reader: str, writer: str) -> None:
    def computed_while_the_writer_writes() -> str:
        WRITERS[writer](reader)
        return "old"

    read = READERS[reader]
    assert read(computed_while_the_writer_writes) == "old"
    assert read(lambda: "new") == "new"
    assert read(lambda: pytest.fail("the new value was not stored")) == "new"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.usefixtures("in_tenant")
def test_a_value_that_stands_is_void_after_the_invalidation(reader: str) -> None:
    for writer in WRITERS.values():
        READERS[reader](lambda: "old")
        writer(reader)
        assert READERS[reader](lambda: "new") == "new"
        WRITERS["everything"](reader)


def test_a_plain_get_does_not_serve_what_a_lookup_stored_too_late(cache: TaggedRedisCache) -> None:
    with cache.lookup("k", tags=["menus", "recipes"]) as entry:
        cache.invalidate_tags(["recipes"])
        entry.store("old")
    assert cache.get("k") is None
    assert cache.get_many(["k"]) == {}
    assert not cache.has_key("k")
    assert asyncio.run(cache.aget("k")) is None


@pytest.mark.parametrize("herd", [True, False])
def test_two_readers_store_in_either_order_and_the_late_one_does_not_win(cache: TaggedRedisCache, herd: bool) -> None:
    with cache.lookup("k", tags=["menus"], herd=herd) as slow:
        cache.invalidate_tags(["menus"])
        with cache.lookup("k", tags=["menus"], herd=herd) as quick:
            quick.store("new")
        slow.store("old")
    # without the herd's leases the slow one has overwritten it, and is dead
    assert cache.get("k") == ("new" if herd else None)


def test_an_entry_born_dead_stays_dead_through_later_invalidations(cache: TaggedRedisCache) -> None:
    with cache.lookup("k", tags=["menus"]) as entry:
        cache.invalidate_tags(["menus"])
        entry.store("old")
    for _ in range(50):
        cache.invalidate_tags(["menus"])
        assert cache.get("k") is None


def test_an_invalidation_by_the_function_that_computes_voids_its_own_result(cache: TaggedRedisCache) -> None:
    cache.get_or_set("outer", lambda: cache.get_or_set("inner", lambda: cache.invalidate_tags(["a"]), 60, tags=["b"]),
                     60, tags=["a"])  # fmt: skip
    assert cache.get("outer", MISSING) is MISSING
    assert cache.get("inner", MISSING) is None


# Version keys that are evicted, deleted or flushed


def version_keys(raw: "Redis", prefix: str) -> list[bytes]:
    return [key for key in raw.scan_iter(match=f"{prefix}*") if key.split(b"}:")[-1].split(b":")[0] in
            (b"v", b"e", b"epoch", b"tenant")]  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.usefixtures("in_tenant")
def test_no_entry_comes_back_when_any_one_of_its_version_keys_was_evicted(
    reader: str, raw: "Redis", prefix: str
) -> None:
    read = READERS[reader]
    assert read(lambda: "first") == "first"
    for step, key in enumerate(version_keys(raw, prefix)):
        raw.delete(key)
        assert read(partial(int, step)) == step
        assert read(lambda: pytest.fail("not stored")) == step


@pytest.mark.usefixtures("in_tenant")
@pytest.mark.parametrize("reader", READERS)
def test_no_entry_comes_back_when_a_version_is_evicted_between_the_read_and_the_store(
    reader: str, raw: "Redis", prefix: str
) -> None:
    def evicting() -> str:
        raw.delete(*version_keys(raw, prefix))
        return "old"

    read = READERS[reader]
    assert read(evicting) == "old"
    assert read(lambda: "new") == "new"


def test_an_old_entry_does_not_come_back_after_its_version_was_evicted_and_made_anew(
    cache: TaggedRedisCache, raw: "Redis", prefix: str
) -> None:
    """With counters it would: a counter that was evicted starts again at the number the entry was stored with."""
    cache.set("k", "old", tags=["menus"])
    dump = raw.dump(f"{prefix}:1:k") or b""
    for _ in range(20):
        raw.delete(*version_keys(raw, prefix))
        cache.set("other", 1, tags=["menus"])  # makes the versions anew
        raw.restore(f"{prefix}:1:k", 60_000, dump, replace=True)
        assert cache.get("k") is None
        cache.invalidate_tags(["menus"])
        assert cache.get("k") is None


def test_a_flushed_server_is_an_empty_cache(server: Any) -> None:
    cache = caches["default"]
    cache.set("k", "old", tags=["menus"])  # type: ignore[call-arg]
    with cache.lookup("late", tags=["menus"]) as entry, server.client() as raw:  # type: ignore[attr-defined]
        raw.flushall()
        entry.store("old")
    assert cache.get("k") is None
    assert cache.get("late") is None


@pytest.mark.parametrize("way", WAYS)
def test_tags_are_found_by_a_process_that_did_not_store_the_entry(cache: TaggedRedisCache, way: str) -> None:
    cache.set("k", "value", tags=["menus"])
    cache.state.hints.clear()
    assert Spoken(cache, way).get("k") == "value"
    cache.state.hints.clear()
    cache.invalidate_tags(["menus"])
    assert Spoken(cache, way).get("k") is None


@pytest.mark.parametrize("way", WAYS)
def test_tags_that_changed_since_this_process_met_the_entry_are_heeded(cache: TaggedRedisCache, way: str) -> None:
    cache.set("k", 1, tags=["menus"])
    known = dict(cache.state.hints)
    cache.set("k", 2, tags=["recipes"])
    cache.state.hints.update(known)
    assert Spoken(cache, way).get("k") == 2
    cache.state.hints.update(known)
    cache.invalidate_tags(["recipes"])
    assert Spoken(cache, way).get("k") is None


# The table of tags.py


@pytest.mark.parametrize("way", WAYS)
def test_a_write_of_one_tenant_leaves_the_others_warm(cache: TaggedRedisCache, way: str) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        menu.set(tenant, 1, tenant)
    cache.set("shared", 1, tags=["menu"])
    Spoken(cache, way).invalidate_tags(["menu"], tenant="sppg-a")
    assert menu.get("sppg-a", 1) is None
    assert menu.get("sppg-b", 1) == "sppg-b"
    assert cache.get("shared") is None  # it may hold rows of sppg-a


@pytest.mark.parametrize("way", WAYS)
def test_a_write_of_an_unknown_tenant_voids_all(cache: TaggedRedisCache, way: str) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        menu.set(tenant, 1, tenant)
    cache.set("shared", 1, tags=["menu"])
    Spoken(cache, way).invalidate_tags(["menu"])
    assert [menu.get("sppg-a", 1), menu.get("sppg-b", 1), cache.get("shared")] == [None] * 3


@pytest.mark.parametrize("way", WAYS)
def test_a_tenant_is_forgotten_with_one_bump_and_everything_with_one(cache: TaggedRedisCache, way: str) -> None:
    for tenant in ("sppg-a", "sppg-b"):
        menu.set(tenant, 1, tenant)
    cache.set("shared", 1, tags=["x"])
    Spoken(cache, way).invalidate_all(tenant="sppg-a")
    assert [menu.get("sppg-a", 1), menu.get("sppg-b", 1), cache.get("shared")] == [None, "sppg-b", 1]
    Spoken(cache, way).invalidate_all()
    assert [menu.get("sppg-b", 1), cache.get("shared")] == [None, None]


def test_aliases_with_other_prefixes_do_not_void_one_another(settings: Any, prefix: str) -> None:
    alias = settings.CACHES["default"]
    settings.CACHES = {"default": alias, "site": {**alias, "KEY_PREFIX": f"{prefix}-site"}}
    ours, theirs = caches["default"], caches["site"]
    for cache in (ours, theirs):
        cache.set("k", 1, tags=["menus"])  # type: ignore[call-arg]
    ours.invalidate_tags(["menus"])  # type: ignore[attr-defined]
    ours.invalidate_all()  # type: ignore[attr-defined]
    assert ours.get("k") is None
    assert theirs.get("k") == 1


def test_an_untagged_entry_outlives_every_invalidation(cache: TaggedRedisCache) -> None:
    cache.set("k", 1)
    cache.invalidate_tags(["k", "menus"])
    cache.invalidate_all()
    assert cache.get("k") == 1
