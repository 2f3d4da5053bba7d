"""How many round trips each step takes, on one server and on a cluster of three primaries, sync and async.

A round trip is one request of an exchange: a command, or a pipeline that is sent to all its nodes before any is read.
That it is no more on the wire, each node's own count of reads says. Seen red: where the driver's pipelines ask the
server which keys a script has, and where a log-in writes its lists apart from ending those that make room.
"""

import asyncio
import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.sessions.backends.base import SessionBase

from bergizi_redis import connections, exchange
from bergizi_redis.aconnections import aclient
from bergizi_redis.exchange import Exchange
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import asking
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from tests.servers import Cluster, PrivateServer, server_directory
from tests.sessionsite import PATIENCE_WITH_NODES
from tests.spoken import WAYS

TENANT, USER = "sppg-1", "user1"
SCRIPTS = Path(exchange.__file__).parent / "scripts"


@pytest.fixture(scope="module", params=["standalone", "cluster"])
def nodes(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[PrivateServer]]]:
    with server_directory() as directory:
        if request.param == "cluster":
            cluster = Cluster(directory)
            try:
                yield cluster.start().url, cluster.nodes
            finally:
                connections.disconnect_all()
                cluster.kill()
        else:
            server = PrivateServer(directory=directory)
            try:
                yield server.start().url, [server]
            finally:
                connections.disconnect_all()
                server.kill()


class Trips:
    """Of one block: ``taken``, and ``reads`` of each node."""

    def __init__(self) -> None:
        self.taken = 0
        self.reads: list[int] = []


class Watch:
    def __init__(self, nodes: list[PrivateServer]) -> None:
        self._watchers = [node.client() for node in nodes]
        self._current: Trips | None = None

    def counted(self, step: Exchange[Any]) -> Exchange[Any]:
        try:
            request = next(step)
            while True:
                if self._current is not None:
                    self._current.taken += 1
                try:
                    reply = yield request
                except Exception as error:
                    request = step.throw(error)
                else:
                    request = step.send(reply)
        except StopIteration as stop:
            return stop.value

    def _reads(self) -> list[int]:
        return [int(watcher.info("stats")["total_reads_processed"]) for watcher in self._watchers]

    @contextmanager
    def counting(self) -> Iterator[Trips]:
        trips = Trips()
        before = self._reads()
        self._current = trips
        yield trips
        self._current = None
        trips.reads = [after - first - 1 for after, first in zip(self._reads(), before, strict=True)]

    def close(self) -> None:
        for watcher in self._watchers:
            watcher.close()


@pytest.fixture
def watch(nodes: tuple[str, list[PrivateServer]], settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    url, servers = nodes
    caches = copy.deepcopy(settings.CACHES)
    caches["default"]["LOCATION"] = url
    settings.CACHES = caches
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **PATIENCE_WITH_NODES}
    for server in servers:
        with server.client() as client:
            for path in SCRIPTS.glob("session_*.lua"):
                client.script_load(script(path.stem).text)
    watching = Watch(servers)
    readdressed = asking.readdressed
    monkeypatch.setattr(asking, "readdressed", lambda step: watching.counted(readdressed(step)))
    yield watching
    watching.close()


def to_all() -> dict[str, Any]:
    """A PING with this opens a connection to each node."""
    return {"target_nodes": "all"} if connections.alias_settings("default")[0].startswith("redis+cluster") else {}


def create() -> Any:
    return sessions.create_session(USER, TENANT, "COOK", "SPPG_USER", "a@sppg.id", "Cook", ["MENU_MANAGE"])


Prepare = Callable[[], Any]
# Name, what is made before, what is counted, round trips.
STEPS: list[tuple[str, Prepare, Callable[[Any], Any], Callable[[Any], Any], int]] = [
    ("load", create, lambda made: SessionStore(made.key).load(), lambda made: SessionStore(made.key).aload(), 1),
    ("validate", create, lambda made: sessions.validate_session(made.key, "MENU_MANAGE"),
     lambda made: sessions.avalidate_session(made.key, "MENU_MANAGE"), 1),
    ("save", lambda: changed(create()), lambda store: store.save(), lambda store: store.asave(), 1),
    ("log in", lambda: None, lambda _: create(),
     lambda _: sessions.acreate_session(USER, TENANT, "COOK", "SPPG_USER", "a@sppg.id", "Cook", ["MENU_MANAGE"]), 3),
    ("log out", lambda: changed(create()), lambda store: store.flush(), lambda store: store.aflush(), 2),
    ("revoke one", create, lambda made: sessions.revoke(made.sid), lambda made: sessions.arevoke(made.sid), 2),
    ("my sessions", create, lambda _: sessions.sessions_for_user(USER), lambda _: sessions.asessions_for_user(USER), 2),
    ("a page", create, lambda _: sessions.page_for_tenant(TENANT), lambda _: sessions.apage_for_tenant(TENANT), 2),
    ("statistics", create, lambda _: sessions.stats(TENANT), lambda _: sessions.astats(TENANT), 1),
]  # fmt: skip


def changed(made: Any) -> SessionBase:
    """Loaded, and about to be saved."""
    store = SessionStore(made.key)
    store["cart"] = [1]
    return store


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", STEPS, ids=[name for name, *_ in STEPS])
def test_a_step_takes_as_many_round_trips_as_promised(watch: Watch, step: Any, way: str) -> None:
    _, prepare, act, aact, expected = step
    if way == "blocking":
        connections.client("default").ping(**to_all())
        made = prepare()
        with watch.counting() as trips:
            act(made)
    else:
        made = prepare()

        async def counted() -> Trips:
            await aclient("default").ping(**to_all())
            with watch.counting() as trips:
                await aact(made)
            return trips

        trips = asyncio.run(counted())
    assert trips.taken == expected
    assert max(trips.reads) <= expected
    assert sum(trips.reads) >= 1


def test_a_log_in_that_is_held_to_a_limit_takes_four(watch: Watch, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_LIMIT": 3}
    connections.client("default").ping(**to_all())
    with watch.counting() as trips:
        create()
    assert trips.taken == 4
    assert max(trips.reads) <= 4


def test_a_revocation_holds_after_its_first_round_trip(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster the barriers of the shards go out in one pipeline, and once more for keys that were changing."""
    made, seen, speak = create(), list[Any](), exchange.speak

    def one_trip(revocation: Exchange[Any], client: redis.Redis) -> Any:
        seen.append(next(revocation)(client))
        raise InterruptedError

    monkeypatch.setattr(asking, "speak", one_trip)
    with pytest.raises(InterruptedError):
        sessions.revoke_user(USER)
    monkeypatch.setattr(asking, "speak", speak)
    assert len(seen) == 1
    assert sessions.validate_session(made.key) is None
