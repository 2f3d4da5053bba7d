"""Fence – COMMIT – release: no reader is served what was there before a commit.

The protocol is tried in every order on a model (``fencemodel.py``), the model is held against the scripts on a real
server, and the orders that matter are forced on real transactions. Taken away, the guards turn these red: the fence
before the commit (``a_reader_between``), a fence for each writer (``two_writers``), the fence that a bump leaves up,
the deadline (``a_writer_that_dies``), the refusal to store (``a_transaction_that_wrote``, ``a_snapshot``).
"""

import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.cache import caches
from django.db import connection, connections, transaction

from bergizi_redis.cache import commits, fences, tags
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.envelope import NO_DIGEST
from bergizi_redis.cache.invalidation import Touched, touch
from bergizi_redis.cache.transactions import is_snapshot, may_store
from bergizi_redis.exchange import speak
from tests.fencemodel import StaleServed, Version, explore
from tests.servers import PrivateServer
from tests.settings import BERGIZI_REDIS as PATIENCE

committing = pytest.mark.django_db(transaction=True)
MENUS = Touched(tenant=None, tags=["menus"])


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


def test_no_order_of_two_readers_and_two_writers_serves_a_stale_row() -> None:
    """With a crash of each writer after each step, and the version evicted at any time."""
    assert explore() > 10_000


def test_the_model_finds_the_hole_where_there_is_no_fence() -> None:
    with pytest.raises(StaleServed):
        explore(fenced=False)


def test_the_model_finds_the_hole_where_one_release_opens_for_all() -> None:
    with pytest.raises(StaleServed):
        explore(shared_mark=True)


def test_the_scripts_do_to_a_version_what_the_model_does(raw: "redis.Redis", prefix: str) -> None:
    """Random steps on a real server: missing, fenced by the same writers, or a version, new when the model's is."""
    dice = random.Random(20261122)
    key = f"{prefix}:v"
    writers = {number: os.urandom(8) for number in range(3)}
    model, seen = Version(), dict[int, bytes]()
    for fresh in range(2_000):
        writer = dice.choice(list(writers))
        match dice.randrange(5):
            case 0:
                speak(tags.read((key,)), raw)
                model = model.read(fresh)
            case 1:
                speak(fences.put_up([key], writers[writer], 3600), raw)
                model = model.put_up(writer)
            case 2:
                speak(fences.take_down([key], writers[writer]), raw)
                model = model.take_down(writer, fresh)
            case 3:
                speak(tags.bump([key]), raw)
                model = model.bump(fresh)
            case _:
                raw.delete(key)
                model = Version()
        stands: bytes | None = raw.get(key)  # type: ignore[assignment]
        if model.fences:
            assert stands is not None
            assert {stands[at : at + 8] for at in range(1, len(stands), 16)} == {writers[who] for who in model.fences}
        elif model.stamp is None:
            assert stands is None
        else:
            assert stands is not None
            assert len(stands) == 8
            assert seen.setdefault(model.stamp, stands) == stands
            assert len(set(seen.values())) == len(seen)


def test_a_fence_that_ran_out_holds_nothing_shut(raw: "redis.Redis", prefix: str) -> None:
    """As ``FENCE_SECONDS`` after its writer died: the release of the last living writer opens the way."""
    key = f"{prefix}:v"
    raw.set(key, b"Fdead----" + struct.pack(">Q", 1))  # a deadline of 1970
    speak(fences.put_up([key], b"alive---", 600), raw)
    speak(fences.take_down([key], b"alive---"), raw)
    assert len(raw.get(key)) == 8  # type: ignore[arg-type]


def test_a_bump_leaves_a_fence_up(raw: "redis.Redis", prefix: str) -> None:
    key = f"{prefix}:v"
    speak(fences.put_up([key], b"writer--", 600), raw)
    speak(tags.bump([key]), raw)
    assert speak(tags.read((key,)), raw) == NO_DIGEST


def at_commit(monkeypatch: pytest.MonkeyPatch, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Call ``before`` between fence and COMMIT, ``after`` between COMMIT and release."""
    real = type(connections["default"])._commit  # type: ignore[attr-defined]

    def commit(self: Any) -> None:
        before()
        real(self)
        after()

    monkeypatch.setattr(type(connections["default"]), "_commit", commit)


def nothing() -> None:
    pass


@committing
def test_a_reader_between_fence_and_commit_leaves_nothing_behind(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("k", "old", tags=["menus"])
    read: list[Any] = []

    def look() -> None:
        with cache.lookup("k", tags=["menus"]) as entry:
            read.append((entry.missed, entry.store("old")))

    at_commit(monkeypatch, look, nothing)
    with transaction.atomic():
        touch(MENUS)
    assert read == [(True, False)]
    assert cache.get("k") is None


@committing
def test_a_reader_between_commit_and_release_is_not_served_the_old_value(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.set("k", "old", tags=["menus"])
    served: list[Any] = []
    at_commit(monkeypatch, nothing, lambda: served.append(cache.get("k")))
    with transaction.atomic():
        touch(MENUS)
    assert served == [None]


@committing
def test_a_reader_from_before_the_fence_stores_what_is_dead(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = cache.lookup("k", tags=["menus"])
    slow.__enter__()
    stored: list[bool] = []
    at_commit(monkeypatch, lambda: stored.append(slow.store("old")), nothing)
    with transaction.atomic():
        touch(MENUS)
    assert cache.get("k") is None


@committing
def test_two_writers_hold_the_way_shut_until_both_have_released(cache: TaggedRedisCache) -> None:
    keys = cache.scope.bumped_by(["menus"])
    first, second = commits.Fence(cache, keys), commits.Fence(cache, keys)
    first.take_down()
    assert cache.set("k", "old", tags=["menus"])
    assert cache.get("k") is None  # dead from birth: the second has yet to commit
    second.take_down()
    cache.set("k", "new", tags=["menus"])
    assert cache.get("k") == "new"


@committing
def test_a_transaction_is_two_round_trips_whatever_it_saves(
    commands: Callable[[], Any], cache: TaggedRedisCache
) -> None:
    cache.get("warm")
    with commands() as log, transaction.atomic():
        for number in range(1_000):
            touch(Touched(tenant="sppg-a", tags=["menus", f"menu:{number}"]))
    assert [line.split(" ", 1)[0].upper() for line in log] == ["EVAL", "EVAL"]


@committing
def test_a_rollback_and_an_untouched_commit_say_nothing(commands: Callable[[], Any]) -> None:
    with commands() as log:
        with transaction.atomic():
            touch(MENUS)
            transaction.set_rollback(True)
        with transaction.atomic():
            pass
    assert log == []


@committing
def test_a_commit_that_fails_takes_the_fence_down(cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Any) -> None:
        raise ConnectionResetError("the database went away at COMMIT")

    cache.set("k", "old", tags=["menus"])
    with monkeypatch.context() as patched:
        patched.setattr(type(connections["default"]), "_commit", lost)
        with pytest.raises(ConnectionResetError), transaction.atomic():
            touch(MENUS)
    assert cache.get("k") is None  # nobody knows whether it was committed
    cache.set("k", "new", tags=["menus"])
    assert cache.get("k") == "new"


@committing
def test_a_transaction_that_wrote_a_tag_stores_nothing_under_it(
    cache: TaggedRedisCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it computes is not committed, and may never be. Other tags it may store under: it is no snapshot."""
    monkeypatch.setattr(connections["default"], "transaction_mode", "IMMEDIATE")
    with transaction.atomic():
        with cache.lookup("other", tags=["staff"]) as entry:
            assert entry.store("committed long ago")
        touch(MENUS)
        for store in (cache.set, cache.add):
            store("k", "uncommitted", tags=["menus"])
        with cache.lookup("l", tags=["menus"]) as entry:
            assert not entry.store("uncommitted")
        transaction.set_rollback(True)
    assert cache.get("k") is None
    assert cache.get("l") is None


@committing
def test_a_snapshot_stores_nothing(cache: TaggedRedisCache) -> None:
    """A deferred transaction of SQLite shows the rows of its first query, however old they have become."""
    with transaction.atomic():
        assert is_snapshot(connection)
        with cache.lookup("k", tags=["menus"]) as entry:
            assert not entry.store("old")
        assert not may_store(["anything"])
    assert may_store(["anything"])
    with cache.lookup("k", tags=["menus"]) as entry:
        assert entry.missed


@pytest.mark.django_db
def test_a_test_case_may_store(cache: TaggedRedisCache) -> None:
    """Its transaction is the test's own, and nobody else writes."""
    with cache.lookup("k", tags=["menus"]) as entry:
        assert entry.store("value")
    assert cache.get("k") == "value"


class Connection:
    """As much of a connection as decides whether its transaction is a snapshot."""

    atomic_blocks: tuple[Any, ...] = ()

    def __init__(self, vendor: str, **attributes: Any) -> None:
        self.vendor = vendor
        vars(self).update(attributes)


class Level:
    def __init__(self, name: str) -> None:
        self.name = name


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (Connection("sqlite", transaction_mode=None), True),
        (Connection("sqlite", transaction_mode="IMMEDIATE"), False),
        (Connection("postgresql", isolation_level=None), False),
        (Connection("postgresql", isolation_level=Level("READ_COMMITTED")), False),
        (Connection("postgresql", isolation_level=Level("REPEATABLE_READ")), True),
        (Connection("postgresql", isolation_level=Level("SERIALIZABLE")), True),
        (Connection("mysql", isolation_level="read committed"), False),
        (Connection("mysql", isolation_level="repeatable read"), True),
        (Connection("mysql", isolation_level=None), True),
        (Connection("oracle"), False),
        (Connection("unknown"), True),
    ],
    ids=lambda value: value.vendor if isinstance(value, Connection) else str(value),
)
def test_what_counts_as_a_snapshot(told: Connection, expected: bool) -> None:
    assert is_snapshot(told) is expected


DIES_AFTER_COMMIT = """
import os, signal, django
django.setup()
from django.conf import settings
from django.core.cache import cache
from django.db import connections, transaction
from bergizi_redis.cache.invalidation import Touched, touch

commit = type(connections["default"])._commit

def last(self):
    commit(self)
    os.kill(os.getpid(), signal.SIGKILL)

type(connections["default"])._commit = last
with transaction.atomic():
    touch(Touched(tenant=None, tags=["menus"]))
"""


def test_a_writer_that_dies_after_its_commit_leaves_nothing_stale(server: PrivateServer, settings: Any) -> None:
    """kill -9: the old entry is dead at once, nothing can be stored while the fence stands, and then it runs out."""
    settings.CACHES = {"default": {**settings.CACHES["default"], "KEY_PREFIX": ""}}  # as the writer's own settings
    settings.BERGIZI_REDIS = PATIENCE
    cache: Any = caches["default"]
    cache.set("k", "old", tags=["menus"])
    died = subprocess.run(
        [sys.executable, "-c", DIES_AFTER_COMMIT],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": server.url},
        check=False,
        timeout=240,
    )
    assert died.returncode == -signal.SIGKILL
    assert cache.get("k") is None
    cache.set("k", "old again", tags=["menus"])  # a reader of a lagging replica, say
    assert cache.get("k") is None
    fenced = list(cache.scope.bumped_by(["menus"]))
    with server.client() as look:
        assert all(0 < look.pttl(key) <= 30_000 for key in fenced)
        for key in fenced:
            look.delete(key)  # what its deadline does
    assert cache.get("k") is None
    cache.set("k", "new", tags=["menus"])
    assert cache.get("k") == "new"


@committing
def test_redis_down_at_the_commit_lets_it_pass_and_owes_the_bump(
    server: PrivateServer, cache: TaggedRedisCache
) -> None:
    with cache.lookup("k", tags=["menus"]) as entry:
        entry.store("old")
    server.kill()
    with transaction.atomic():
        touch(MENUS)
    assert cache.state.unsent
    server.start()
    cache.set("other", 1)
    assert not cache.state.unsent
