"""The short way of a command – pool, connection, client – keeps what the long one of redis-py promised.

Each guard was taken away once to see its test go red: that who waits gets in line before looking once more, that who
gives back looks at the line, that who comes later does not pass it, that who is interrupted leaves it, the place that
is kept where a connection cannot be made, the question to the kernel and to the parser before a connection is used
again, the closing of an interrupted one, the failed try that counts as the first, the grain of the time-outs, the
exceptions from the short way, and the depth of the copies that settings are compared with.
"""

import asyncio
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, Full
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import redis.asyncio
from redis._parsers import Encoder
from redis.connection import PythonRespSerializer
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import ConnectionError, DataError, MaxConnectionsError, TimeoutError

from bergizi_redis import connections
from bergizi_redis.aclients import AsyncPool
from bergizi_redis.aconnecting import ours
from bergizi_redis.aconnections import QUIET, aclient
from bergizi_redis.budget import GRAIN, BudgetedSocket, budgeted, seconds_left, within
from bergizi_redis.clients import BudgetedRedis
from bergizi_redis.connections import Role, client
from bergizi_redis.pools import Places, Pool
from bergizi_redis.retries import RETRIES
from tests.proxies import holding, proxy, relay
from tests.servers import PrivateServer


@pytest.fixture
def at(settings: Any) -> Iterator[Callable[..., Any]]:
    """``at(url, **options)`` – the client of an alias with that LOCATION."""

    def make(url: str, role: Role = Role.MAIN, **options: Any) -> Any:
        settings.CACHES = {
            "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url,
                        "OPTIONS": {"CONNECTION_FACTORY": connections.FACTORY, **options}}
        }  # fmt: skip
        return client("default", role)

    yield make
    connections.disconnect_all()


class Interrupted(BaseException):
    """As a signal's."""


# Places


def test_the_place_given_back_last_is_taken_first() -> None:
    places = Places(3)
    for item in (None, "a", "b"):
        places.put_nowait(item)
    with pytest.raises(Full):
        places.put_nowait("c")
    assert [places.get(), places.get(), places.get()] == ["b", "a", None]
    with pytest.raises(Empty):
        places.get(timeout=0.01)


def test_what_is_given_back_between_looking_and_waiting_is_not_missed() -> None:
    """The other thread gives back after the last look has found nothing, and before the wait has begun."""
    places = Places(1)
    looks: list[int] = []
    giver = threading.Thread(target=places.put_nowait, args=("given back",))

    class Interleaved(list[Any]):
        def pop(self, *args: Any) -> Any:
            looks.append(1)
            if len(looks) == 2:
                giver.start()
                giver.join(0.2)  # it ends, or waits for the lock that this thread holds
                raise IndexError
            return super().pop(*args)

    places.queue = Interleaved()
    got: list[str] = []
    taker = threading.Thread(target=lambda: got.append(places.get(timeout=600)), daemon=True)
    taker.start()
    taker.join(60)  # woken, rather than after its ten minutes
    assert got == ["given back"]
    giver.join(60)


def test_who_waits_is_served_before_who_comes_later() -> None:
    """A thread that asks all the time would take each place again before those who wait have woken."""
    places = Places(1)
    got: list[str] = []
    waiting = threading.Thread(target=lambda: got.append(places.get(timeout=600)), daemon=True)
    waiting.start()
    deadline = time.monotonic() + 60
    while not places._line and time.monotonic() < deadline:
        time.sleep(0.001)
    places.queue.append("place")  # as by one who gives it back, and is just about to serve the line
    with pytest.raises(Empty):
        places.get(timeout=0.01)
    waiting.join(60)
    assert got == ["place"]


def test_who_is_interrupted_while_waiting_leaves_the_place_and_the_line() -> None:
    class Signalled(Places):
        def _serve(self) -> None:
            super()._serve()
            if threading.current_thread() is threading.main_thread():
                raise Interrupted

    places = Signalled(1)
    with pytest.raises(Interrupted):
        places.get(timeout=5)
    assert not places._line
    threading.Thread(target=places.put_nowait, args=("place",)).run()
    with pytest.raises(Interrupted):
        places._wait(5)  # as if it had come back between looking and waiting
    assert places.queue == ["place"]
    assert places.get() == "place"


def test_each_of_many_that_wait_gets_one() -> None:
    places = Places(20)
    with ThreadPoolExecutor(20) as pool:
        taken = [pool.submit(places.get, timeout=60) for _ in range(20)]
        for item in range(20):
            places.put_nowait(item)
        assert sorted(future.result() for future in taken) == list(range(20))


# Lending


def test_a_connection_that_cannot_be_made_leaves_its_place_free(at: Any, redis_url: str) -> None:
    pool = at(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 1}).connection_pool
    sound, pool.connection_class = pool.connection_class, lambda **arguments: 1 / 0
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.get_connection()
    pool.connection_class = sound
    assert client().ping()


def test_a_connection_with_an_answer_that_nobody_read_is_not_lent(at: Any, redis_url: str) -> None:
    ours = at(redis_url)
    connection = ours.connection_pool.get_connection()
    connection.send_command("ECHO", "another's")
    assert select.select([connection._sock], [], [], 60)[0]
    ours.connection_pool.release(connection)
    assert ours.echo("mine") == b"mine"


def test_a_connection_whose_parser_holds_an_answer_is_not_lent(at: Any, redis_url: str) -> None:
    """Two answers came in one piece, and one of them was read: the socket is silent then."""
    ours = at(redis_url)
    connection = ours.connection_pool.get_connection()
    connection.send_command("EVAL", "return 1", 0)
    connection.read_response()
    connection._parser._reader.feed(b"$9\r\nanother's\r\n")
    ours.connection_pool.release(connection)
    assert ours.echo("mine") == b"mine"


def test_a_connection_of_another_process_is_not_taken_back(at: Any, redis_url: str) -> None:
    pool = at(redis_url).connection_pool
    connection = pool.get_connection()
    connection.pid -= 1
    pool.release(connection)
    assert connection not in pool.pool.queue
    assert len(pool.pool.queue) == pool.max_connections


def test_a_command_that_was_interrupted_leaves_no_answer_to_the_next(at: Any, server: PrivateServer) -> None:
    with holding(server.port) as (held, release):

        class Interruptible(BudgetedRedis):
            interrupted = False

            def parse_response(self, *args: Any, **options: Any) -> Any:
                if not self.interrupted:
                    self.interrupted = True
                    raise Interrupted
                return super().parse_response(*args, **options)  # type: ignore[no-untyped-call]

        at(held.url).ping()
        ours = Interruptible(connection_pool=client().connection_pool)
        release.clear()
        with pytest.raises(Interrupted):
            ours.echo("late")
        threading.Timer(0.2, release.set).start()  # the answer comes while the next command waits for its own
        assert ours.echo("next") == b"next"


# Retries


@pytest.mark.parametrize("way", ["blocking", "awaiting"])
def test_a_link_that_always_breaks_is_tried_as_often_as_promised(at: Any, server: PrivateServer, way: str) -> None:
    asked: list[bytes] = []

    def breaks(link: socket.socket) -> None:
        def reply(data: bytes) -> None:
            link.sendall(data)

        class Listening:
            def recv(self, size: int) -> bytes:
                data = link.recv(size)
                if b"ECHO" in data:
                    asked.append(data)
                    return b""
                return data

        relay(Listening(), server.port, reply)  # type: ignore[arg-type]

    async def echo() -> None:
        await aclient().echo("x")

    with proxy(breaks) as fragile:
        ours = at(fragile.url)
        with pytest.raises(ConnectionError):
            ours.echo("x") if way == "blocking" else asyncio.run(echo())
    assert len(asked) == 1 + RETRIES


# Packing


@pytest.mark.parametrize(
    "command",
    [("GET", "k"), ("SET", "k", "Sate – 鸡"), ("SET", b"k", b"\xff\r\n"), ("SET", "k", 2**80), ("SET", "k", -1.5e-9),
     ("SET", "k", float("inf")), ("CONFIG GET", "maxmemory"), (b"GET", "k"), ("SET", "k", memoryview(b"view")),
     ("MGET", *map(str, range(100)))],
)  # fmt: skip
def test_a_command_is_packed_as_the_driver_packs_it(command: tuple[Any, ...]) -> None:
    theirs = b"".join(PythonRespSerializer(6000, Encoder("utf-8", "strict", False).encode).pack(*command))
    assert b"".join(budgeted(redis.Connection)().pack_command(*command)) == theirs
    assert b"".join(ours(redis.asyncio.Connection)().pack_command(*command)) == theirs


@pytest.mark.parametrize("value", [None, True, object()])
def test_what_cannot_be_packed_is_refused_before_it_is_sent(value: object) -> None:
    with pytest.raises(DataError):
        ours(redis.asyncio.Connection)().pack_command("SET", "k", value)
    if value is not True:  # which redis-py's own packer for sync connections takes for a number
        with pytest.raises(DataError):
            budgeted(redis.Connection)().pack_command("SET", "k", value)


# Time-outs of sockets


class Counted(socket.socket):
    """Counts how often its time-out was set."""

    count = 0

    def settimeout(self, value: float | None) -> None:
        self.count += 1
        super().settimeout(value)


def test_few_waits_set_a_time_out_and_none_lasts_longer_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("bergizi_redis.budget.time", SimpleNamespace(monotonic=lambda: now))
    ours, theirs = socket.socketpair()
    with Counted(fileno=ours.detach()) as counted, theirs:
        counted.settimeout(60)
        guarded = BudgetedSocket(counted)
        with within(10):
            for _ in range(100):
                theirs.sendall(b"x")
                guarded.recv(1)
                now += GRAIN / 200
        assert 10 - 2 * GRAIN <= (counted.gettimeout() or 0) <= 10
        assert counted.count <= 1 + 2, "60 s once, then at most two grains"
        for budget in (5.0, 0.5, 0.1, 0.01):
            with within(budget):
                now += budget / 10
                left = seconds_left()
                guarded.sendall(b"x")
            assert left is not None
            assert 0 < (counted.gettimeout() or 0) <= left + 1e-8  # which a time-out is rounded up to
        guarded.sendall(b"x")
        assert counted.gettimeout() == 60, "its own again, without a budget"


# The long way


def test_where_the_driver_is_to_count_or_to_renew_tokens_commands_go_its_own_way(
    at: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert at(redis_url).connection_pool.is_lean
    monkeypatch.setattr("bergizi_redis.pools.is_observed", lambda: True)
    monkeypatch.setattr("bergizi_redis.aclients.is_observed", lambda: True)
    ours: Any = client()
    assert not ours.connection_pool.is_lean
    tokens = {**QUIET, "credential_provider": UsernamePasswordCredentialProvider("default", "")}
    assert Pool.from_url(redis_url, **QUIET)._is_ordinary
    assert not Pool.from_url(redis_url, **tokens)._is_ordinary
    assert not AsyncPool.from_url(redis_url, **tokens)._is_ordinary
    assert ours.echo("long") == b"long"

    async def echo() -> Any:
        return await aclient().echo("long")

    assert asyncio.run(echo()) == b"long"


@pytest.mark.parametrize("way", ["short", "long"])
def test_a_full_pool_says_so_either_way(at: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr("bergizi_redis.pools.is_observed", lambda: way == "long")
    ours = at(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 1, "timeout": 0.01})
    pool = ours.connection_pool
    held = pool.get_connection()
    with pytest.raises(MaxConnectionsError, match="MAX_CONNECTIONS"), within(0.05):
        ours.ping()
    pool.release(held)
    assert ours.ping()


# Loops


@pytest.mark.parametrize("waiting", [1, 5])
def test_a_task_that_waits_is_woken_by_what_is_given_back(at: Any, redis_url: str, waiting: int) -> None:
    at(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 1, "timeout": 600})

    async def main() -> list[Any]:
        patient: Any = aclient(role=Role.BLOCKING)
        pool = patient.connection_pool
        held = await pool.get_connection()
        asking: list[Any] = [asyncio.create_task(patient.echo(str(number))) for number in range(waiting)]
        await asyncio.sleep(0)  # each runs until it waits
        assert pool._waiting == waiting
        await pool.release(held)
        async with asyncio.timeout(60):
            return await asyncio.gather(*asking)

    assert asyncio.run(main()) == [str(number).encode() for number in range(waiting)]


def test_a_time_out_shorter_than_the_budget_ends_the_wait(at: Any, server: PrivateServer) -> None:
    with holding(server.port) as (held, release):
        at(held.url)

        async def main() -> None:
            pool = aclient().connection_pool
            connection = await pool.get_connection()
            connection.socket_timeout = 0.05  # as SOCKET_TIMEOUT does; a busy machine may need longer to connect
            await pool.release(connection)
            release.clear()
            await aclient().ping()

        with pytest.raises(TimeoutError, match="Timeout reading from"):
            asyncio.run(main())


# Recalled clients


def test_settings_altered_in_place_are_seen(at: Any, redis_url: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 0.7}
    pools = [at(redis_url, CONNECTION_POOL_KWARGS={"max_connections": 7}).connection_pool]
    settings.CACHES["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]["max_connections"] = 8
    pools.append(client().connection_pool)
    settings.BERGIZI_REDIS["REQUEST_BUDGET"] = 0.6
    pools.append(client().connection_pool)
    assert [(pool.max_connections, pool.timeout) for pool in pools] == [(7, 0.7), (8, 0.7), (8, 0.6)]

    async def main() -> list[Any]:
        found = [aclient()]
        settings.CACHES["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]["max_connections"] = 9
        found.append(aclient())
        settings.BERGIZI_REDIS["REQUEST_BUDGET"] = 0.5
        return [*found, aclient()]

    assert [(one.connection_pool.max_connections, one.budget) for one in asyncio.run(main())] == [
        (8, 0.6), (9, 0.6), (9, 0.5)
    ]  # fmt: skip


def test_a_client_is_made_anew_after_all_were_closed(at: Any, redis_url: str) -> None:
    before = at(redis_url)
    connections.disconnect_all()
    assert client() is not before
    assert isinstance(client(), redis.Redis)
