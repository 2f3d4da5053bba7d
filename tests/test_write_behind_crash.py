"""Nothing that was accepted is lost: kill -9 of the worker at each step, kill -9 of the server under load.

A database file takes the place of the project's; ``flushed`` is its log, in the order of commits. Taken away, the
guards turn these red: claiming what a dead worker was handed (behind_take.lua), acknowledging after the COMMIT alone.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bergizi_redis.cache import writes
from bergizi_redis.cache.buffers import buffers
from bergizi_redis.cache.domains import Domain
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.workers import Worker
from bergizi_redis.cache.writes import WriteBehind
from bergizi_redis.exceptions import RedisUnavailable
from tests.nearness import until
from tests.servers import PrivateServer, plain_client, private_server

committing = pytest.mark.django_db(transaction=True)
GUARD = 60.0  # seconds until a test gives up, on a machine that may stand still for some
counter = Domain("counter")
A = "sppg-a"
SCHEMA = """
CREATE TABLE flushed (ident INTEGER, value INTEGER, token TEXT);
CREATE TABLE latest (ident INTEGER PRIMARY KEY, value INTEGER, token TEXT);
"""


@pytest.fixture(autouse=True)
def declarations() -> Iterator[None]:
    yield
    writes._declared.clear()
    buffers.clear()


class Book:
    """The database file, and a flush that writes to it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with sqlite3.connect(path) as connection:
            connection.executescript(SCHEMA)
        connection.close()

    def ask(self, sql: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(self.path, timeout=GUARD)
        connection.execute("PRAGMA synchronous = OFF")  # it outlives processes, not the machine
        with connection:
            found = connection.execute(sql, values).fetchall()
        connection.close()
        return found

    def flush(self, tenant: str, ident: int, data: int, token: str) -> None:
        self.ask("INSERT INTO flushed VALUES (?, ?, ?)", ident, data, token)

    def order_of(self, ident: int) -> list[int]:
        """The values of an entry in the order in which they came, redeliveries left out."""
        rows = self.ask("SELECT value, token FROM flushed WHERE ident = ? ORDER BY rowid", ident)
        return list({token: value for value, token in rows}.values())


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "book.sqlite3")


DYING_WORKER = """
import os, signal, sys
from tests import settings
path, prefix, point = sys.argv[1:]
settings.DATABASES["default"]["NAME"] = path
settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "KEY_PREFIX": prefix}
settings.CACHES["default"]["KEY_PREFIX"] = prefix
import django
django.setup()
from django.db import connection
from bergizi_redis.cache.behind import Shard
from bergizi_redis.cache.domains import Domain
from bergizi_redis.cache.workers import Worker
from bergizi_redis.cache.writes import WriteBehind

flushed = []

def reached(name):
    if name == point and len(flushed) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

def flush(tenant, ident, data, token):
    flushed.append(token)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO flushed VALUES (%s, %s, %s)", (ident, data, token))
    reached("in the flush")

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
kind = type(connections["default"])
commit, acknowledge = kind._commit, Shard.acknowledge

def dying_commit(self):
    reached("before the COMMIT")
    commit(self)
    reached("after the COMMIT")

def dying_acknowledge(self, *arguments):
    reached("before the acknowledgement")
    result = yield from acknowledge(self, *arguments)
    reached("after the acknowledgement")
    return result

kind._commit, Shard.acknowledge = dying_commit, dying_acknowledge
Worker([WriteBehind(Domain("counter"), flush=flush, shards=1)], lease=600).drain()
"""
POINTS = {
    "in the flush": 2,
    "before the COMMIT": 2,
    "after the COMMIT": 3,
    "before the acknowledgement": 3,
    "after the acknowledgement": 3,
}


@committing
@pytest.mark.parametrize(("point", "committed"), POINTS.items())
def test_a_killed_worker_loses_nothing_and_the_next_one_goes_on_in_order(
    point: str, committed: int, book: Book, prefix: str, redis_url: str, raw: "redis.Redis"
) -> None:
    behind = WriteBehind(counter, flush=book.flush, shards=1)
    for value in range(3):
        for ident in (1, 2):
            behind.write(A, ident, value)
    died = subprocess.run(
        [sys.executable, "-c", DYING_WORKER, str(book.path), prefix, point],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": redis_url},
        check=False,
        timeout=240,
    )
    assert died.returncode == -signal.SIGKILL
    assert len(book.ask("SELECT * FROM flushed")) == committed
    shown = [behind.read(A, ident, partial(lambda ident: book.order_of(ident)[-1], ident)) for ident in (1, 2)]
    assert shown == [2, 2]
    assert Worker([behind]).round().flushed == 0  # the lease stands
    raw.delete(behind.all_shards()[0].key("lease"))  # what its deadline does
    Worker([behind]).drain()
    assert [book.order_of(ident) for ident in (1, 2)] == [[0, 1, 2]] * 2
    redelivered = len(book.ask("SELECT * FROM flushed")) - 6
    assert redelivered == (point in ("after the COMMIT", "before the acknowledgement"))
    assert behind.peek(A, 1) is behind.peek(A, 2) is MISSING


@committing
@pytest.mark.parametrize("durable", [False, True], ids=["always", "waitaof"])
def test_a_killed_server_keeps_what_it_accepted(durable: bool, book: Book, settings: Any) -> None:
    """AOF on disk before the answer: by ``appendfsync always``, or by WAITAOF."""
    policy = "everysec" if durable else "always"
    with private_server("--appendonly", "yes", "--appendfsync", policy) as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        behind = WriteBehind(counter, flush=book.flush, shards=2, durable=durable)
        accepted: list[int] = []
        enough = threading.Event()

        def write() -> None:
            try:
                for value in range(500):  # few enough to be flushed, should this machine kill the server late
                    behind.write(A, 1, value)
                    accepted.append(value)
                    if value == (4 if durable else 50):
                        enough.set()
            except RedisUnavailable:
                pass

        with ThreadPoolExecutor(1) as writer:
            writing = writer.submit(write)
            assert enough.wait(GUARD)
            server.kill()
            writing.result(GUARD)
        start_again(server)
        assert behind.read(A, 1, lambda: -1) >= accepted[-1]
        Worker([behind]).drain()
        found = book.order_of(1)
        assert found[: len(accepted)] == accepted
        assert len(found) - len(accepted) in (0, 1)  # the one whose answer did not arrive


def start_again(server: PrivateServer) -> None:
    server.start()
    with plain_client(server.url) as waiting:
        while True:
            try:
                waiting.ping()
            except redis.exceptions.BusyLoadingError:
                continue
            return


@committing
def test_a_worker_outlives_the_server(book: Book, settings: Any) -> None:
    with private_server("--appendonly", "yes", "--appendfsync", "always") as server:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        behind = WriteBehind(counter, flush=book.flush, shards=1, backoff=(0, 0))
        for value in range(3):
            behind.write(A, 1, value)
        worker = Worker([behind])
        killed = threading.Event()
        flush = book.flush

        def kill_once(tenant: str, ident: int, data: int, token: str) -> None:
            flush(tenant, ident, data, token)
            if not killed.is_set():
                server.kill()
                killed.set()

        dying = WriteBehind(counter, flush=kill_once, shards=1, backoff=(0, 0))
        worker.behinds = [dying]
        with ThreadPoolExecutor(1) as other:
            running = other.submit(run_and_close, worker)
            assert killed.wait(GUARD)
            start_again(server)
            with plain_client(server.url) as look:
                shard = behind.all_shards()[0]
                look.delete(shard.key("lease"))  # what its deadline does; the worker may take it up again itself
                until(lambda: running.done() or not look.xlen(shard.key("stream")), "all is flushed")
            worker.stopping.set()
            running.result(GUARD)
        assert book.order_of(1) == [0, 1, 2]


def run_and_close(worker: Worker) -> None:
    try:
        worker.run()
    finally:
        close_all()


def close_all() -> None:
    """Those of this thread; Django's own ``close()`` leaves a database in memory open."""
    for connection in connections.all(initialized_only=True):
        BaseDatabaseWrapper.close(connection)


def drain_and_close(behind: WriteBehind) -> None:
    try:
        Worker([behind]).drain()
    finally:
        close_all()


@committing
@given(
    idents=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    failing=st.sets(st.integers(0, 39), max_size=8),
    coalesce=st.booleans(),
)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_three_workers_keep_the_order_of_each_entry(idents: list[int], failing: set[int], coalesce: bool) -> None:
    """Some writes fail the first time. Red where two workers may have a shard, or a retry lets later writes pass."""
    guard = threading.Lock()
    flushed: list[tuple[int, int, str]] = []
    failed: set[int] = set()

    def flush(tenant: str, ident: int, data: int, token: str) -> None:
        with guard:
            if data in failing - failed:
                failed.add(data)
                raise ValueError("not yet")
            flushed.append((ident, data, token))

    behind = WriteBehind(counter, flush=flush, shards=3, backoff=(0, 0.01), coalesce=coalesce)
    first, second = idents[: len(idents) // 2], idents[len(idents) // 2 :]
    for value, ident in enumerate(first):
        behind.write(A, ident, value)
    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(drain_and_close, behind) for _ in range(3)]
        for value, ident in enumerate(second, len(first)):
            behind.write(A, ident, value)
        for each in working:
            each.result(GUARD)
    Worker([behind]).drain()
    for ident in set(idents):
        written = [value for value, each in enumerate(idents) if each == ident]
        values = [value for each, value, _ in flushed if each == ident]
        tokens = [token for each, _, token in flushed if each == ident]
        assert values[-1] == written[-1]
        assert values == (sorted(set(values) & set(written)) if coalesce else written)
        assert tokens == sorted(tokens)
        assert behind.peek(A, ident) is MISSING
