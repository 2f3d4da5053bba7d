"""Async clients: one per loop, closed with it, within the budget, and never poisoned by a cancelled task.

Each guard was taken away once to see its test go red: the closer (leaked sockets), the pool's wait below the budget
(a full pool looked like a time-out), forgetting closed loops, and one dictionary per loop (two loops in two threads).
"""

import asyncio
import builtins
import gc
import os
import socket
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, MaxConnectionsError, RedisError, TimeoutError

from bergizi_redis import aconnections, connections
from bergizi_redis.aconnections import aclient, aclient_at
from bergizi_redis.budget import within
from bergizi_redis.circuit import circuit_of
from bergizi_redis.conf import config
from bergizi_redis.connections import Role
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.scripts.script import Script
from tests.deadlines import ends_within
from tests.proxies import behind_tls, closing, holding, proxy, silent, slow
from tests.servers import PrivateServer, free_port, private_server

Act = Callable[[Any], Awaitable[Any]]


@pytest.fixture
def at(settings: Any) -> Iterator[Callable[[str], None]]:
    """``at(url)`` – makes it the LOCATION of the alias."""

    def set_location(url: str, **options: Any) -> None:
        settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "OPTIONS": options}}

    yield set_location
    connections.disconnect_all()


async def pipelined(client: Any) -> Any:
    pipeline = client.pipeline()
    pipeline.set("a", 1)
    pipeline.get("a")
    return await pipeline.execute()


async def watched(client: Any) -> Any:
    async with client.pipeline() as pipeline:
        await pipeline.watch("a")
        pipeline.multi()
        pipeline.get("a")
        return await pipeline.execute()


ACTS = [
    pytest.param(lambda client: client.get("a"), id="command"),
    pytest.param(pipelined, id="pipeline"),
    pytest.param(watched, id="watch"),
    pytest.param(lambda client: client.eval("return 1", 0), id="script"),
]


def run(act: Act, role: Role = Role.MAIN) -> Any:
    async def main() -> Any:
        return await act(aclient("default", role))

    return asyncio.run(main())


@pytest.mark.parametrize("act", ACTS)
def test_a_refused_port_is_an_error_within_the_budget(at: Any, act: Act) -> None:
    at(f"redis://127.0.0.1:{free_port()}/0")
    with ends_within(), pytest.raises(ConnectionError):
        run(act)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("role", [Role.MAIN, Role.PUBLISHER])
def test_a_hung_server_is_a_time_out_within_the_budget(at: Any, act: Act, role: Role) -> None:
    with proxy(silent) as mute:
        at(mute.url)
        with ends_within(at_least=0.5), pytest.raises(TimeoutError):
            run(act, role)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.usefixtures("usual_time")
def test_a_handshake_of_slow_replies_does_not_add_up_beyond_the_budget(
    at: Any, server: PrivateServer, act: Act
) -> None:
    with slow(server.port, 0.3) as late:
        at(late.url)
        with ends_within(at_least=0.5), pytest.raises(TimeoutError):
            run(act)


@pytest.mark.parametrize("act", ACTS)
def test_a_server_that_accepts_and_closes_is_an_error_within_the_budget(at: Any, act: Act) -> None:
    with proxy(closing) as rude:
        at(rude.url)
        with ends_within(), pytest.raises(ConnectionError):
            run(act)


def test_a_wrong_password_is_not_tried_again_and_never_shown(at: Any) -> None:
    with private_server("--requirepass", "right") as locked:
        at(f"redis://:wr0ng@127.0.0.1:{locked.port}/0")
        with pytest.raises(AuthenticationError) as caught:
            run(lambda client: client.ping())
        assert "wr0ng" not in repr(caught.value)
        at(f"redis://:right@127.0.0.1:{locked.port}/0")
        assert run(lambda client: client.ping())
        assert run(lambda client: client.info("stats"))["total_connections_received"] <= 4


@pytest.mark.parametrize("scheme", ["redis", "unix", "rediss"])
def test_every_plain_scheme_serves_commands_pipelines_and_scripts(at: Any, scheme: str, tmp_path: Path) -> None:
    with (
        private_server("--unixsocket", str(tmp_path / "s")) as server,
        behind_tls(server.port, tmp_path) as (tls, vouches),
    ):
        at({
            "redis": server.url,
            "unix": f"unix://{tmp_path}/s?db=1",
            "rediss": f"rediss://localhost:{tls.port}/2?ssl_ca_certs={vouches}",
        }[scheme])  # fmt: skip

        async def act(client: Any) -> Any:
            return [await pipelined(client), await Script("swap").arun(client, ["a"], ["1", "2", 5000])]

        assert run(act)[0] == [True, b"1"]


def test_one_client_per_loop_alias_role_and_options(at: Any, redis_url: str) -> None:
    at(redis_url)

    async def main() -> None:
        assert aclient() is aclient("default", Role.MAIN)
        assert aclient("default", Role.BLOCKING) is not aclient()
        assert aclient_at(redis_url, {}) is aclient()
        assert aclient_at(redis_url, {"SERIALIZER": "of the cache, not of the link"}) is aclient()
        assert aclient_at(redis_url, {"SOCKET_TIMEOUT": 0.5}) is not aclient()

    asyncio.run(main())


def test_settings_are_read_live(at: Any, redis_url: str, settings: Any) -> None:
    at(redis_url)

    async def main() -> None:
        before = aclient()
        settings.BERGIZI_REDIS = {"REQUEST_BUDGET": 0.25, "MAX_CONNECTIONS": 7}
        after = aclient()
        assert after is not before
        assert (vars(after)["budget"], after.connection_pool.max_connections) == (0.25, 7)

    asyncio.run(main())


def test_outside_a_loop_there_is_no_client() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        aclient()


def test_a_missing_alias_is_named(settings: Any) -> None:
    async def main() -> None:
        aclient("sesions")

    with pytest.raises(ConfigurationError, match=r"no CACHES\['sesions'\]; the aliases are default"):
        asyncio.run(main())


def sockets_to(port: int) -> int:
    """Of this process; other threads' files come and go meanwhile."""
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if file.is_socket():
                with socket.socket(fileno=os.dup(int(file.name))) as link:
                    peer = link.getpeername()
                    found += isinstance(peer, tuple) and peer[1] == port
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts what /proc lists")
@pytest.mark.parametrize("way", ["asyncio.run", "async_to_sync"])
def test_two_hundred_loops_leave_no_socket_behind(at: Any, server: PrivateServer, way: str) -> None:
    at(server.url)

    async def ask() -> bool:
        assert not sockets_to(server.port)
        assert await aclient().ping()
        assert sockets_to(server.port) == 1
        return bool(await aclient("default", Role.PUBLISHER).ping())

    once: Callable[[], bool] = (lambda: asyncio.run(ask())) if way == "asyncio.run" else async_to_sync(ask)
    gc.collect()  # what earlier tests have left is not told of below
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        once()
        gc.collect()
        loops = len(aconnections._loops)
        for _ in range(200):
            assert once()
        gc.collect()
    assert not sockets_to(server.port)
    assert len(aconnections._loops) <= loops


def test_a_loop_closed_without_being_shut_down_is_forgotten(at: Any, redis_url: str) -> None:
    """A client holds its loop, so nothing but this would ever let it go."""
    at(redis_url)

    async def make() -> None:
        aclient()

    loops = [asyncio.new_event_loop() for _ in range(5)]
    for loop in loops:
        loop.run_until_complete(make())
        loop.close()
    assert loops[-1] in aconnections._loops
    asyncio.run(make())
    assert not {*loops} & {*aconnections._loops}


def test_two_loops_in_two_threads_have_clients_of_their_own(at: Any, redis_url: str) -> None:
    at(redis_url)
    both = threading.Barrier(2, timeout=60)
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        number = await aclient().client_id()
        both.wait()
        seen.append((id(aclient()), number))
        both.wait()

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({client for client, _ in seen}) == len({number for _, number in seen}) == 2


def test_a_cancelled_task_does_not_poison_the_pool(at: Any, server: PrivateServer, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 1}

    async def main(release: threading.Event) -> None:
        await aclient().set("mine", "1")
        release.clear()
        for _ in range(5):
            late: Any = aclient().echo("late")
            task = asyncio.create_task(late)
            await asyncio.sleep(0)
            while not aclient().connection_pool._in_use_connections:  # noqa: ASYNC110 – it tells nobody
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        release.set()
        assert await aclient().get("mine") == b"1"
        assert not aclient().connection_pool._in_use_connections

    with holding(server.port) as (held, release):
        at(held.url)
        asyncio.run(main(release))


def test_a_late_reply_never_answers_the_next_command(at: Any, server: PrivateServer) -> None:
    async def main(release: threading.Event) -> None:
        ours: Any = aclient()
        await ours.set("mine", "1")
        release.clear()
        patience, ours.budget = ours.budget, 0.5
        with pytest.raises(TimeoutError):
            await ours.incr("n")
        ours.budget = patience
        circuit_of(ours.connection_pool).answered()  # the whole budget again, so that the late reply meets it
        threading.Timer(0.2, release.set).start()  # the late reply arrives while the next command waits for its own
        assert await aclient().get("mine") == b"1"

    with holding(server.port) as (held, release):
        at(held.url)
        asyncio.run(main(release))
    with server.client() as look:
        assert look.get("n") == b"1", "a time-out is not tried again"


def test_three_hundred_tasks_share_four_connections(at: Any, server: PrivateServer, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 4}
    at(server.url)

    async def main() -> list[int]:
        counted = await asyncio.gather(*(aclient().incr("n") for _ in range(300)))
        assert (await aclient().info("clients"))["connected_clients"] <= 4
        return sorted(counted)

    assert asyncio.run(main()) == list(range(1, 301))


def test_a_full_pool_is_named_within_the_budget_and_is_no_outage(at: Any, redis_url: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 1}
    at(redis_url)

    async def main() -> None:
        pool: Any = aclient().connection_pool
        assert pool.timeout == 0.9 * config.REQUEST_BUDGET, "or else a full pool would look like a silent server"
        pool.timeout = 0.3
        taken = await pool.get_connection()
        with ends_within(at_least=0.2), pytest.raises(MaxConnectionsError, match="MAX_CONNECTIONS") as caught:
            await aclient().ping()
        assert not connections.is_outage(caught.value)
        await pool.release(taken)
        assert await aclient().ping()

    asyncio.run(main())


def test_a_command_on_a_link_that_is_lost_is_an_error_that_is_tried_again(at: Any, redis_url: str) -> None:
    """Python 3.12 and 3.13 raise TypeError where one writes to a transport that is gone."""
    at(redis_url)

    async def main() -> None:
        pool: Any = aclient().connection_pool
        connection = await pool.get_connection()
        gone = connection._writer.transport
        gone.abort()
        while getattr(gone, "_sock", None) is not None:  # noqa: ASYNC110 – the loop tells it alone, a step later
            await asyncio.sleep(0)
        with pytest.raises(ConnectionError):
            await connection.send_command("PING")
        assert not connection.is_connected
        await pool.release(connection)
        assert await aclient().ping()

    asyncio.run(main())


def test_who_has_waited_for_a_connection_says_nothing_of_the_server(at: Any, redis_url: str, settings: Any) -> None:
    """Where less is left of the time than a full pool takes to say so."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 1}
    at(redis_url)

    async def main() -> None:
        pool: Any = aclient().connection_pool
        taken = await pool.get_connection()
        with pytest.raises(TimeoutError), within(0.1):
            await aclient().ping()
        await pool.release(taken)
        assert circuit_of(pool).allowance(60) == 60

    asyncio.run(main())


def test_a_closed_connection_and_a_restarted_server_go_unnoticed(at: Any, server: PrivateServer) -> None:
    at(server.url)

    async def main() -> None:
        number = await aclient().client_id()
        with server.client() as other:
            other.client_kill_filter(_id=number)
        assert await aclient().echo("well") == b"well"
        server.kill()
        with pytest.raises(RedisError):
            await aclient().ping()
        server.start()
        assert await pipelined(aclient()) == [True, b"1"]

    asyncio.run(main())


def test_a_blocking_client_waits_longer_than_the_request_budget(at: Any, redis_url: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 0.1}
    at(redis_url)
    with ends_within(60, at_least=0.4):
        assert run(lambda client: client.blpop("nothing comes here", timeout=0.5), Role.BLOCKING) is None


def test_a_subscriber_stays_through_a_silence_longer_than_the_budget(
    at: Any, redis_url: str, settings: Any, prefix: str, raw: "Redis"
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 0.1}
    at(redis_url)

    async def main() -> Any:
        async with aclient("default", Role.SUBSCRIBER).pubsub() as heard:
            await heard.subscribe(prefix)
            assert (await heard.get_message(timeout=60))["type"] == "subscribe"
            with ends_within(60, at_least=0.4):
                assert await heard.get_message(timeout=0.4) is None
            raw.publish(prefix, "news")
            while (message := await heard.get_message(timeout=60)) is None:
                pass  # after a pause of five seconds it is the answer to a probe
            return message

    assert asyncio.run(main())["data"] == b"news"


def test_a_server_that_keeps_its_certificate_to_itself_is_refused(
    at: Any, server: PrivateServer, tmp_path: Path
) -> None:
    with behind_tls(server.port, tmp_path) as (tls, _):
        at(f"rediss://localhost:{tls.port}/0")
        with ends_within(), pytest.raises(ConnectionError, match="certificate"):
            run(lambda client: client.ping())


def test_making_a_client_opens_no_connection(at: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        at(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")

        async def main() -> None:
            aclient()

        asyncio.run(main())
        with pytest.raises(builtins.TimeoutError):
            listener.accept()
