"""The near cache behind Sentinels and on a cluster: a link for each primary, and nothing kept across a change of them.

Taken away once to see these tests go red: the role in the answer to a probe, forgetting on MOVED, and asking for the
slots anew.
"""

import copy
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches
from redis.crc import key_slot

from bergizi_redis import connections
from bergizi_redis.cache import process
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.near.mirror import Mirror
from tests.cluster.conftest import Watched
from tests.nearness import at_rest, brought_near, gone, held, until
from tests.servers import Cluster, PrivateServer
from tests.spoken import WAYS, Spoken

TENANTS = [f"sppg-{number}" for number in range(12)]  # spread over all three


def caches_at(settings: Any, url: str, max_staleness: float = 60.0) -> tuple[TaggedRedisCache, TaggedRedisCache]:
    """The cache with a near one, and the same as another process sees it."""
    aliases = copy.deepcopy(settings.CACHES)
    aliases["default"] |= {"LOCATION": url, "OPTIONS": {"NEAR_CACHE": {"max_staleness": max_staleness}}}
    aliases["other"] = aliases["default"] | {"LOCATION": f"{url}?client_name=other", "OPTIONS": {}}
    settings.CACHES = aliases
    return caches["default"], caches["other"]  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(process, "_states", {})
    yield
    connections.disconnect_all()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "near cache"])


def near_entries(cache: TaggedRedisCache) -> list[str]:
    """The keys of one entry for each tenant, all of them near at once: with a link that breaks, all are forgotten."""
    names = [menu.lookup(tenant, 1).address.key for tenant in TENANTS]

    def all_are_near() -> bool:
        for tenant in TENANTS:
            menu.get_or_compute(tenant, 1, lambda tenant=tenant: tenant)  # type: ignore[misc]
        return all(held(cache, name) for name in names) and at_rest(cache)

    until(all_are_near)
    return names


@pytest.mark.parametrize("way", WAYS)
def test_entries_of_all_nodes_are_near_and_hear_of_changes(settings: Any, cluster: Cluster, way: str) -> None:
    cache, other = caches_at(settings, cluster.url)
    names = near_entries(cache)
    before = cache.stats()["near_hits"]
    spoken = Spoken(menu, way)
    assert [spoken.get(tenant, 1) for tenant in TENANTS] == TENANTS
    assert cache.stats()["near_hits"] == before + len(TENANTS)
    other.invalidate_tags(["menu"], tenant=TENANTS[0])
    gone(cache, names[0])
    assert all(held(cache, name) for name in names[1:])
    other.invalidate_tags(["menu"])
    for name in names:
        gone(cache, name)
    assert [spoken.get(tenant, 1) for tenant in TENANTS] == [None] * len(TENANTS)


def test_what_this_process_invalidates_on_any_node_is_gone_at_once(settings: Any, cluster: Cluster) -> None:
    cache, _ = caches_at(settings, cluster.url)
    near_entries(cache)
    for tenant in TENANTS:
        menu.invalidate(tenant)
        assert menu.get(tenant, 1) is None


def move(slot: int, source: PrivateServer, target: PrivateServer, every: list[PrivateServer]) -> None:
    """The slot with its keys, as ``redis-cli --cluster reshard`` does it."""
    with source.client() as here, target.client() as there:
        ours, theirs = (client.execute_command("CLUSTER", "MYID").decode() for client in (here, there))
        there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ours)
        here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", theirs)
        while keys := here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 60_000, "KEYS", *keys)
        for node in (target, source, *every):
            with node.client() as client:
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", theirs)


def test_a_slot_that_moves_takes_nothing_stale_along(settings: Any, cluster: Cluster) -> None:
    cache, other = caches_at(settings, cluster.url)
    names = near_entries(cache)
    awaited = Spoken(menu, "awaiting")  # so that the blocking client does not hear of the move by itself
    slot = key_slot(names[0].encode())
    source = cluster.node_of(names[0])
    target = next(node for node in cluster.nodes if node is not source)
    try:
        move(slot, source, target, cluster.nodes)
        gone(cache, names[0])
        assert brought_near(cache, names[0], lambda: awaited.get(TENANTS[0], 1)) == TENANTS[0]
        other.invalidate_tags(["menu"], tenant=TENANTS[0])
        gone(cache, names[0])
        assert awaited.get(TENANTS[0], 1) is None
    finally:
        move(slot, target, source, cluster.nodes)


def test_when_slots_move_all_is_forgotten_though_no_key_is_told_of(
    settings: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mirror, "changed", lambda self, names: None)
    cache, _ = caches_at(settings, cluster.url, 0.4)
    names = near_entries(cache)
    source, target = cluster.nodes[:2]
    slot = 0
    marks = [mark for name in names for mark in cache.near._records[name].marks]  # type: ignore[union-attr]
    try:
        move(slot, source, target, cluster.nodes)
        until(lambda: not any(mark.alive for mark in marks))
    finally:
        move(slot, target, source, cluster.nodes)


def test_a_primary_that_is_replaced_is_not_believed_any_more(settings: Any, watched: Watched) -> None:
    """It is made a replica and goes on answering; the Sentinels name another one."""
    cache, other = caches_at(settings, watched.url, 0.4)
    cache.set("k", "old", 60, tags=["menus"])
    name = cache.made("k")
    brought_near(cache, name, lambda: cache.get("k"))
    for server in (watched.primary, watched.other):
        with server.client() as client:
            client.config_set("repl-diskless-sync-delay", 0)
    with watched.other.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", watched.primary.port)
    with watched.other.client() as client:
        until(lambda: client.info("replication")["master_link_status"] == "up")
        client.execute_command("REPLICAOF", "NO", "ONE")
    for sentinel in watched.sentinels:
        sentinel.name_primary(watched.other.port)
    with watched.primary.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", watched.other.port)
    connections.client("other").connection_pool.disconnect()
    other.invalidate_tags(["menus"])
    gone(cache, name)
    cache.client.get_client(write=True).connection_pool.disconnect()
    assert cache.get("k") is None
    assert brought_near(cache, name, lambda: cache.get_or_set("k", "new", 60, tags=["menus"])) == "new"
    other.invalidate_tags(["menus"])
    gone(cache, name)
