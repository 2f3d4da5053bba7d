"""One reader, one writer, every order of their steps, and something going wrong at each of them.

The reader looks, computes and stores; the writer fences, commits and releases: 20 orders. Before the first, between any
two and after the last of them a fault happens: a version or the entry is deleted, the server is flushed, its scripts
are, the process forgets, the writer dies, the server is killed and comes back, or hangs. After every step others come
and read, by ``get``, by a lookup, and by one that stores what it computes. What was committed under a standing fence
must never be hidden from them by an older value.

Where the fence itself is deleted before COMMIT, or could not be put up, a reader may store the old row, and others are
served it until the release; that is the one window left, and the release must close it. Taken away, each of these
guards turned the tests red: digests compared in ``get`` and in ``look``, storing under the token from before computing,
the fence, random versions, and settling what is owed before a read.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.cache import caches
from redis.exceptions import BusyLoadingError

from bergizi_redis import connections
from bergizi_redis.budget import within
from bergizi_redis.cache import fences, process
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.commits import Fence
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.process import ProcessState
from tests.nearness import until
from tests.servers import PrivateServer, server_directory

READER = ("look", "compute", "store")
WRITER = ("fence", "commit", "release")


def order(places: tuple[int, ...]) -> tuple[str, ...]:
    """The reader's steps at these places, the writer's at the others."""
    reader, writer = iter(READER), iter(WRITER)
    return tuple(next(reader if place in places else writer) for place in range(6))


ORDERS = [order(places) for places in itertools.combinations(range(6), 3)]
PROBES = ("get", "look", "store")
TIMES = range(7)  # before the first step … after the last


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test owes to its server is not owed to another's that gets the same port."""
    monkeypatch.setattr(process, "_states", {})
    yield
    connections.disconnect_all()


@pytest.fixture
def cache(server: PrivateServer) -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@dataclass
class Scene:
    """Entries of one tag: ``cold``, which the reader fills, and ``warm``, which stood before."""

    cache: TaggedRedisCache
    number: int
    tenant: str | None
    probe: str
    row: int = 0
    seen_at_least: int = 0

    def __post_init__(self) -> None:
        self.tag = f"tag{self.number}"
        self.scope = self.cache.scope_of(self.tenant)
        self.version_keys = self.scope.read_by((self.tag,))
        self.fenced = self.scope.bumped_by([self.tag])
        self.is_shut = False  # the fence stands, as far as the writer knows
        self.fence: Fence | None = None
        self.reader = self.lookup("cold")
        self.read_through("warm")

    def address(self, key: str) -> Address:
        return Address(f"{self.cache.key_prefix}:1:{key}{self.number}", self.version_keys)

    def lookup(self, key: str) -> Lookup:
        return Lookup(self.cache, self.address(key), (self.tag,) if self.tenant is None else None)

    # The reader's steps, and the writer's

    def look(self) -> None:
        self.reader.__enter__()
        if not self.reader.missed:
            self.check(self.reader.value)

    def compute(self) -> None:
        self.computed = self.row

    def store(self) -> None:
        if self.reader.missed:
            self.reader.store(self.computed, 60)

    def fence_up(self) -> None:
        self.fence = Fence(self.cache, self.fenced)
        self.is_shut = self.fence.stands

    def commit(self) -> None:
        self.row += 1
        if self.is_shut:
            self.seen_at_least = self.row

    def release(self) -> None:
        assert self.fence is not None
        self.fence.take_down()
        self.is_shut = False
        self.seen_at_least = self.row

    def step(self, name: str) -> None:
        getattr(self, "fence_up" if name == "fence" else name)()

    # Others

    def check(self, value: int) -> None:
        assert value >= self.seen_at_least, f"served {value}, committed is {self.row}"

    def read_through(self, key: str) -> None:
        with self.lookup(key) as entry:
            if entry.missed:
                entry.store(self.row, 60)
            else:
                self.check(entry.value)

    def others_read(self) -> None:
        for key in ("cold", "warm"):
            if self.probe == "store":
                self.read_through(key)
            elif self.probe == "look" or self.tenant is not None:
                with self.lookup(key) as entry:
                    if not entry.missed:
                        self.check(entry.value)
            elif (found := self.cache.get(f"{key}{self.number}")) is not None:
                self.check(found)

    def stands_again(self) -> None:
        """Nothing is left that keeps values from being stored."""
        self.read_through("warm")
        with self.lookup("warm") as entry:
            assert not entry.missed
            assert entry.value == self.row

    def forget(self) -> None:
        self.cache.__dict__.pop("entries", None)
        self.cache.__dict__["state"] = ProcessState()


Fault = Callable[[Scene, Any], Any]


def deleting(which: int) -> Fault:
    def delete(scene: Scene, raw: Any) -> None:
        key = sorted(scene.version_keys)[which % len(scene.version_keys)]
        raw.delete(key)
        if key in scene.fenced:
            scene.is_shut = False

    return delete


def flushing(scene: Scene, raw: Any) -> None:
    raw.flushdb()
    scene.is_shut = False


FAULTS: dict[str, Fault] = {
    "nothing": lambda scene, raw: None,
    "the first version is deleted": deleting(0),
    "the second version is deleted": deleting(1),
    "the third version is deleted": deleting(2),
    "the fourth version is deleted": deleting(3),
    "the entries are deleted": lambda scene, raw: raw.delete(scene.address("cold").key, scene.address("warm").key),
    "flushed": flushing,
    "scripts flushed": lambda scene, raw: raw.script_flush(),
    "the process forgets": lambda scene, raw: scene.forget(),
}


@pytest.mark.parametrize("tenant", [None, "sppg-a"])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_happens_between_two_steps_nothing_old_is_served(
    server: PrivateServer, cache: TaggedRedisCache, fault: str, tenant: str | None
) -> None:
    with server.client() as raw:
        for number, (steps, at) in enumerate(itertools.product(ORDERS, TIMES)):
            scene = Scene(cache, number, tenant, PROBES[(number + number // 7) % 3])
            for position, name in enumerate([*steps, "end"]):
                if position == at:
                    FAULTS[fault](scene, raw)
                    scene.others_read()
                if name != "end":
                    scene.step(name)
                    scene.others_read()
            scene.stands_again()


@pytest.mark.parametrize("last", ["fence", "commit"])
def test_a_writer_that_dies_after_a_step_leaves_nothing_old(
    server: PrivateServer, cache: TaggedRedisCache, last: str
) -> None:
    """Its fence runs out at any later time, and values can be stored again."""
    with server.client() as raw:
        for number, (whole, at) in enumerate(itertools.product(ORDERS, TIMES)):
            died = whole.index(last)
            steps = [name for position, name in enumerate(whole) if position <= died or name in READER]
            scene = Scene(cache, number, None, PROBES[(number + number // 7) % 3])
            for position, name in enumerate([*steps, "end"]):
                if position == max(at, died + 1):
                    raw.delete(*scene.fenced)  # what its deadline does
                    scene.others_read()
                if name != "end":
                    scene.step(name)
                    scene.others_read()
            raw.delete(*scene.fenced)
            scene.stands_again()


# The server goes away, for one step


@pytest.fixture
def lasting(settings: Any) -> Iterator[PrivateServer]:
    """A server that comes back with what it had."""
    with server_directory() as directory:
        running = PrivateServer("--appendonly", "yes", "--appendfsync", "always", directory=directory).start()
        aliases = copy.deepcopy(settings.CACHES)
        aliases["default"]["LOCATION"] = running.url
        settings.CACHES = aliases
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 20.0}  # of a server that is well
        try:
            yield running
        finally:
            running.kill()


def restart(server: PrivateServer) -> None:
    """Until it has loaded what it had."""

    def is_there() -> bool:
        try:
            return bool(raw.ping())
        except BusyLoadingError:
            return False

    server.start()
    with server.client() as raw:
        until(is_there)


TYPICAL = [
    ("look", "fence", "compute", "commit", "store", "release"),
    ("look", "compute", "fence", "store", "commit", "release"),
    ("fence", "look", "compute", "commit", "release", "store"),
    ("look", "compute", "fence", "commit", "release", "store"),
]


@pytest.mark.parametrize("steps", TYPICAL, ids=" ".join)
@pytest.mark.parametrize("outage", ["killed", "hung", "restarted empty"])
def test_a_server_that_is_away_for_a_step_hides_no_commit_and_is_used_again(
    lasting: PrivateServer, steps: tuple[str, ...], outage: str
) -> None:
    """No step and no read raises meanwhile."""
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    for number, at in enumerate(TIMES):
        scene = Scene(cache, number, None, "store")
        for position, name in enumerate([*steps, "end"]):
            if position == at:
                if outage == "restarted empty":
                    with lasting.client() as raw:
                        raw.flushall()
                    scene.is_shut = False
                lasting.pause() if outage == "hung" else lasting.kill()
                if outage == "restarted empty":
                    restart(lasting)
            with within(0.2) if position == at and outage == "hung" else nullcontext():
                if name != "end":
                    scene.step(name)
                scene.others_read()
            if position == at:
                lasting.resume() if outage == "hung" else None
                restart(lasting) if outage == "killed" else None
                scene.others_read()
        with lasting.client() as raw:
            raw.delete(*scene.fenced)  # a fence that could not be taken down runs out
        cache.client.get_client(write=True).connection_pool.circuit.answered()  # as when its second has passed
        scene.stands_again()


def test_fences_run_out_by_themselves(server: PrivateServer, cache: TaggedRedisCache) -> None:
    """The key goes with its last deadline: what the other tests do by hand."""
    keys = cache.scope.bumped_by(["menus"])
    cache.ask(fences.put_up(keys, fences.new_writer(), 60))
    with server.client() as raw:
        assert all(0 < raw.pttl(key) <= 60_000 for key in keys)
