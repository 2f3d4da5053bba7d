"""Threads read and write all the while: a failover behind Sentinels, and slots of a cluster that move.

Nothing raises, nothing old is served, and values are stored again without a restart. What a reader must see is noted
when the invalidation has returned: sent, or owed by this process and sent before it reads. Taken away, the comparison
of digests in ``look`` turned both red.
"""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from redis.crc import key_slot

from bergizi_redis import connections
from bergizi_redis.cache import process
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.connections import client
from tests.cluster.conftest import Watched
from tests.servers import Cluster, PrivateServer

TAGS = [f"tag{number}" for number in range(12)]


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(process, "_states", {})
    yield
    connections.disconnect_all()


def cache_at(settings: Any, url: str) -> TaggedRedisCache:
    aliases = copy.deepcopy(settings.CACHES)
    aliases["default"]["LOCATION"] = url
    settings.CACHES = aliases
    return caches["default"]  # type: ignore[return-value]


class Load:
    """Two threads that read and one that writes, on rows that only grow."""

    def __init__(self, cache: TaggedRedisCache) -> None:
        self.cache = cache
        self.rows = dict.fromkeys(TAGS, 0)
        self.settled = dict.fromkeys(TAGS, 0)
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self.done = {"reads": 0, "hits": 0, "writes": 0}
        self.changed = threading.Condition()

    def read(self, tag: str) -> None:
        at_least = self.settled[tag]
        with self.cache.lookup(f"k-{tag}", tags=[tag]) as entry:
            if entry.missed:
                entry.store(self.rows[tag], 60)
        assert entry.value >= at_least, f"served {entry.value}, written was {at_least}"
        plain = self.cache.get(f"k-{tag}")
        assert plain is None or plain >= at_least
        self.count("reads")
        self.count("hits", 0 if entry.missed else 1)

    def write(self, tag: str) -> None:
        self.rows[tag] += 1
        row = self.rows[tag]
        self.cache.invalidate_tags([tag])
        self.settled[tag] = row
        self.count("writes")

    def count(self, what: str, times: int = 1) -> None:
        with self.changed:
            self.done[what] += times
            self.changed.notify_all()

    def wait_for_more(self, reads: int) -> None:
        """So many more reads, hits among them, and writes."""
        aims = {what: self.done[what] + more for what, more in (("reads", reads), ("hits", reads // 10), ("writes", 5))}
        with self.changed:
            served = self.changed.wait_for(
                lambda: bool(self.failures) or all(self.done[what] >= aim for what, aim in aims.items()), 120
            )
        assert served, f"{self.done}, wanted {aims}"

    def loop(self, act: Callable[[str], None], pause: float) -> None:
        while not self.over.is_set():
            for tag in TAGS:
                try:
                    act(tag)
                except BaseException as error:
                    self.failures.append(error)
                    self.over.set()
                    return
                self.over.wait(pause)  # the writer leaves the readers some hits


@contextmanager
def under_load(cache: TaggedRedisCache) -> Iterator[Load]:
    load = Load(cache)
    acts = ((load.read, 0.0), (load.read, 0.0), (load.write, 0.005))
    threads = [threading.Thread(target=load.loop, args=act) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join(60)
    if load.failures:
        raise load.failures[0]


def test_a_failover_under_load_is_an_outage_and_no_lie(settings: Any, watched: Watched) -> None:
    """The primary dies; the Sentinels name another, which knows nothing of what the first one had."""
    with under_load(cache_at(settings, watched.url)) as load:
        load.wait_for_more(100)
        watched.primary.kill()
        for sentinel in watched.sentinels:
            sentinel.name_primary(watched.other.port)
        load.wait_for_more(100)
    with watched.other.client() as raw:
        assert raw.dbsize() > 0


def move(cluster: Cluster, slot: int, source: PrivateServer, target: PrivateServer) -> None:
    """As ``redis-cli --cluster reshard`` does it."""
    with source.client() as old, target.client() as new:
        source_id, target_id = old.execute_command("CLUSTER MYID"), new.execute_command("CLUSTER MYID")
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
            old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 60_000, "REPLACE", "KEYS", *keys)
        new.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        old.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)


def test_slots_that_move_under_load_hide_no_write(settings: Any, cluster: Cluster) -> None:
    """Those of the entries and those of the versions, to the next node, and on."""
    cache = cache_at(settings, cluster.url)
    versions = cache.scope.bumped_by(TAGS) | {cache.scope.everything()}
    names = {cache.made(f"k-{tag}") for tag in TAGS} | versions
    with under_load(cache) as load:
        load.wait_for_more(50)
        for _ in range(2):
            for slot in sorted({key_slot(name.encode()) for name in names}):
                source = next(node for node in cluster.nodes if owns(node, slot))
                move(cluster, slot, source, cluster.nodes[(cluster.nodes.index(source) + 1) % 3])
            load.wait_for_more(50)
    assert client().ping()


def owns(node: PrivateServer, slot: int) -> bool:
    with node.client() as raw:
        for first, last, owner, *_ in raw.execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return bool(owner[1] == node.port)
    return False
