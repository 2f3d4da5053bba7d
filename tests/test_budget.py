"""One command ends within the budget, whatever the server does: sync, in pipelines and scripts, from many threads.

Each guard was taken away once to see its test go red: the socket's clip (slow, dribbling), the earliest deadline
(nested), the retry's refusal of time-outs and passwords (counted on the server), the pool's own wait (full pool), and
the connect time-out's clip (a host that drops packets).
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis
from redis.exceptions import AuthenticationError, ConnectionError, MaxConnectionsError, TimeoutError

from bergizi_redis import connections
from bergizi_redis.budget import BudgetedConnection, awithin, budgeted, clipped, seconds_left, within
from bergizi_redis.circuit import circuit_of
from bergizi_redis.conf import Config
from bergizi_redis.connections import Role, client
from bergizi_redis.retries import BudgetedRetry, FullJitter, worth_retrying
from tests.deadlines import ends_within
from tests.proxies import babbling, closing, dribbling, holding, proxy, silent, slow
from tests.servers import PrivateServer, free_port, private_server

Act = Callable[[Any], Any]


def pipelined(client: Any) -> Any:
    pipeline = client.pipeline()
    pipeline.set("a", 1)
    pipeline.get("a")
    return pipeline.execute()


def watched(client: Any) -> Any:
    with client.pipeline() as pipeline:
        pipeline.watch("a")
        pipeline.multi()
        pipeline.get("a")
        return pipeline.execute()


ACTS = [
    pytest.param(lambda client: client.get("a"), id="command"),
    pytest.param(pipelined, id="pipeline"),
    pytest.param(watched, id="watch"),
    pytest.param(lambda client: client.eval("return 1", 0), id="script"),
]


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


@pytest.fixture(autouse=True)
def patience(settings: Any) -> None:
    """A server that is well may need as long as a busy machine lets it wait, in the tests of hung ones too."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0}


@contextmanager
def paused(warm: Any, server: PrivateServer) -> Iterator[None]:
    """Hung once it is connected to; from then on the time is the users'."""
    warm.ping()
    warm.budget = Config.REQUEST_BUDGET.default
    server.pause()
    try:
        yield
    finally:
        server.resume()


@pytest.mark.parametrize("act", ACTS)
def test_a_refused_port_is_an_error_within_the_budget(at: Any, act: Act) -> None:
    with ends_within(), pytest.raises(ConnectionError):
        act(at(f"redis://127.0.0.1:{free_port()}/0"))


@pytest.mark.parametrize("act", ACTS)
def test_a_hung_server_is_a_time_out_within_the_budget(at: Any, server: PrivateServer, act: Act) -> None:
    warm = at(server.url)
    with paused(warm, server), ends_within(at_least=0.5), pytest.raises(TimeoutError):
        act(warm)


@pytest.mark.usefixtures("usual_time")
@pytest.mark.parametrize("act", ACTS)
def test_a_port_that_accepts_and_says_nothing_is_a_time_out_within_the_budget(at: Any, act: Act) -> None:
    with proxy(silent) as mute, ends_within(at_least=0.5), pytest.raises(TimeoutError):
        act(at(mute.url))


@pytest.mark.usefixtures("usual_time")
@pytest.mark.parametrize("act", ACTS)
def test_a_handshake_of_slow_replies_does_not_add_up_beyond_the_budget(
    at: Any, server: PrivateServer, act: Act
) -> None:
    with slow(server.port, 0.3) as late, ends_within(at_least=0.5), pytest.raises(TimeoutError):
        act(at(late.url))


@pytest.mark.usefixtures("usual_time")
@pytest.mark.parametrize("act", ACTS)
def test_a_reply_that_dribbles_in_does_not_outlast_the_budget(at: Any, server: PrivateServer, act: Act) -> None:
    with dribbling(server.port, 0.05) as thin, ends_within(at_least=0.5), pytest.raises(TimeoutError):
        act(at(thin.url))


@pytest.mark.parametrize("act", ACTS)
def test_a_server_that_accepts_and_closes_is_an_error_within_the_budget(at: Any, act: Act) -> None:
    with proxy(closing) as rude, ends_within(), pytest.raises(ConnectionError):
        act(at(rude.url))


def test_a_value_that_the_server_does_not_take_in_time_is_a_time_out(at: Any, server: PrivateServer) -> None:
    """Writing has its own wait: 24 MB do not fit into the buffers of a link that nobody reads from."""
    warm, large = at(server.url), b"x" * 24 * 2**20
    with paused(warm, server), ends_within(at_least=0.5), pytest.raises(TimeoutError):
        warm.set("large", large)


def test_another_protocol_is_an_outage_and_named(at: Any) -> None:
    with proxy(babbling) as web, ends_within(), pytest.raises(redis.RedisError) as caught:
        at(web.url).get("a")
    assert connections.is_outage(caught.value)
    assert "protocol" in connections.explain(caught.value)


def test_forty_threads_at_a_hung_server_all_end_within_the_budget(at: Any, server: PrivateServer) -> None:
    warm = at(server.url)

    def ask(_: int) -> bool:
        with ends_within(2.0), pytest.raises(TimeoutError):
            warm.get("a")
        return True

    with paused(warm, server), ThreadPoolExecutor(40) as pool:
        assert all(pool.map(ask, range(40)))


def test_threads_beyond_the_pool_wait_within_the_budget_and_then_learn_that_it_is_full(
    at: Any, settings: Any, server: PrivateServer
) -> None:
    """Each thread waits as long as its own budget says, not as another's."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 2}
    busy = at(server.url, Role.BLOCKING)
    pool = busy.connection_pool
    with ExitStack() as stack:
        for _ in range(2):
            stack.callback(pool.release, pool.get_connection())
        with ends_within(at_least=0.5), pytest.raises(MaxConnectionsError, match="MAX_CONNECTIONS"), within(0.8):
            pool.get_connection()
        with ends_within(0.5, at_least=0.05), pytest.raises(MaxConnectionsError), within(0.1):
            pool.get_connection()
    assert busy.ping()


def test_many_more_threads_than_connections_are_served_in_turn(at: Any, settings: Any, server: PrivateServer) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 3}
    shared = at(server.url)
    with ThreadPoolExecutor(50) as pool:
        assert sorted(pool.map(lambda _: shared.incr("n"), range(500))) == list(range(1, 501))
    with server.client() as look:
        assert look.info("clients")["connected_clients"] <= 4


def test_a_time_out_is_not_tried_again(at: Any, server: PrivateServer) -> None:
    """The command reached the server once: what was slow was not lost."""
    with holding(server.port) as (held, release):
        through = at(held.url)
        through.ping()
        release.clear()
        through.budget = 0.5
        with pytest.raises(TimeoutError):
            through.incr("n")
        release.set()
    with server.client() as look:
        assert look.get("n") == b"1"


def test_a_time_out_shorter_than_the_budget_is_not_tried_again_either(at: Any, server: PrivateServer) -> None:
    with holding(server.port) as (held, release):
        through = at(held.url)
        connection = through.connection_pool.get_connection()
        connection._sock.settimeout(0.1)  # as SOCKET_TIMEOUT does; a busy machine may need longer to connect
        through.connection_pool.release(connection)
        release.clear()
        with pytest.raises(TimeoutError):
            through.eval("return redis.call('INCR', KEYS[1])", 1, "n")
        release.set()
    with server.client() as look:
        assert look.get("n") == b"1"
        assert look.info("stats")["total_connections_received"] == 3, "probe, proxied, look, and no second try"


@pytest.mark.usefixtures("usual_time")
def test_a_host_that_drops_packets_is_a_time_out_within_what_is_left(at: Any) -> None:
    """A listener whose queue is full answers no more SYN: connecting is what hangs."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as stack:
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        lost = at(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        with ends_within(at_least=0.5), pytest.raises(TimeoutError):
            lost.ping()
        with ends_within(0.6, at_least=0.05), pytest.raises(TimeoutError), within(0.2):
            lost.ping()


def test_a_late_reply_never_answers_the_next_command(at: Any, server: PrivateServer) -> None:
    with holding(server.port) as (held, release):
        through = at(held.url)
        through.set("mine", "1")
        release.clear()
        patience, through.budget = through.budget, 0.5
        with pytest.raises(TimeoutError):
            through.echo("late")
        through.budget = patience
        circuit_of(through.connection_pool).answered()  # the whole budget again, so that the late reply meets it
        threading.Timer(0.2, release.set).start()  # the late reply arrives while the next command waits for its own
        assert through.get("mine") == b"1"
        assert through.echo("next") == b"next"


def test_a_restarted_server_is_found_again_by_the_next_command(at: Any, server: PrivateServer) -> None:
    restarted = at(server.url)
    restarted.ping()
    server.kill()
    with pytest.raises(ConnectionError):
        restarted.ping()
    server.start()
    assert restarted.set("a", "1")
    assert pipelined(restarted) == [True, b"1"]


def test_a_connection_that_the_server_closed_is_replaced_unnoticed(at: Any, server: PrivateServer) -> None:
    killed = at(server.url)
    number = killed.client_id()
    with server.client() as other:
        other.client_kill_filter(_id=number)
    assert killed.echo("well") == b"well"
    assert killed.client_id() != number


def test_a_link_that_breaks_during_a_command_is_tried_again(at: Any, server: PrivateServer) -> None:
    """The script closes its own caller's connection, once."""
    broken: list[int] = []

    def breaks_once(link: Any) -> None:
        with private_link(server.port) as upstream:
            while asked := link.recv(65536):
                if b"ECHO" in asked and not broken:
                    broken.append(1)
                    return
                upstream.sendall(asked)
                link.sendall(upstream.recv(65536))

    with proxy(breaks_once) as fragile:
        assert at(fragile.url).echo("again") == b"again"
    assert broken


@contextmanager
def private_link(port: int) -> Iterator[Any]:
    with socket.create_connection(("127.0.0.1", port)) as link:
        yield link


def test_a_wrong_password_is_not_tried_again_and_never_shown(at: Any) -> None:
    with private_server("--requirepass", "right") as locked:
        with pytest.raises(AuthenticationError) as caught:
            at(f"redis://:wr0ng@127.0.0.1:{locked.port}/0").ping()
        assert "wr0ng" not in f"{caught.value!r}{connections.explain(caught.value)}"
        assert "password" in connections.explain(caught.value)
        with redis.Redis(port=locked.port, password="right") as look:
            assert look.info("stats")["total_connections_received"] <= 3
        assert at(f"redis://:right@127.0.0.1:{locked.port}/0").ping()


def test_the_earliest_deadline_holds() -> None:
    with within(5000):
        outer = seconds_left()
        with within(60000):
            inner = seconds_left()
        with within(None):
            still = seconds_left()
    assert outer is not None
    assert inner is not None
    assert still is not None
    assert inner <= outer <= 5000
    assert seconds_left() is None
    with within(None):
        assert seconds_left() is None


def test_several_commands_share_the_budget_of_a_block(at: Any, server: PrivateServer) -> None:
    with slow(server.port, 0.15) as late:
        through = at(late.url)
        with ends_within(), pytest.raises(TimeoutError), within(0.6):
            all(through.echo("again") for _ in range(20))


def test_what_is_left_clips_a_wait() -> None:
    assert clipped(5) == 5
    assert clipped(None) is None
    with within(1000):
        assert clipped(500) == 500
        assert clipped(60000) == pytest.approx(1000, abs=200)
        assert clipped(None) == pytest.approx(1000, abs=200)
    with within(-1):
        assert clipped(60) == 0.001


def test_a_thread_does_not_inherit_the_deadline() -> None:
    seen: list[float | None] = []
    with within(1000):
        thread = threading.Thread(target=lambda: seen.append(seconds_left()))
        thread.start()
        thread.join()
    assert seen == [None]


async def _awithin(seconds: float | None, wait: float) -> None:
    async with awithin(seconds):
        await asyncio.wait_for(asyncio.Event().wait(), wait)


def test_an_async_block_heeds_the_deadline_around_it() -> None:
    with ends_within(), pytest.raises(TimeoutError, match=r"No answer within 0\.\d+ s"), within(0.1):
        asyncio.run(_awithin(60, 60))
    with ends_within(), pytest.raises(TimeoutError):
        asyncio.run(_awithin(None, 0.05))


@pytest.mark.parametrize("failures", [0, 1, 2, 10, 1_000, 10_000])
def test_the_wait_before_a_retry_is_random_and_bounded(failures: int) -> None:
    backoff = FullJitter(base=0.01, cap=0.05)
    waits = [backoff.compute(failures) for _ in range(200)]
    assert min(waits) >= 0
    assert max(waits) <= min(0.05, 0.01 * 2 ** min(failures, 10))
    assert len(set(waits)) > 100


def test_retries_stop_when_the_deadline_is_near() -> None:
    tries: list[int] = []

    def do() -> None:
        tries.append(1)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        BudgetedRetry(5).call_with_retry(do, lambda error: None)
    assert len(tries) == 6
    with pytest.raises(ConnectionError), within(0.01):
        BudgetedRetry(5).call_with_retry(do, lambda error: None)
    assert len(tries) == 7
    with pytest.raises(ConnectionError):
        BudgetedRetry(5).call_with_retry(do, lambda error: None, lambda error: False)
    assert len(tries) == 8


@pytest.mark.parametrize(
    ("error", "worth"),
    [(ConnectionError(), True), (AuthenticationError(), False), (MaxConnectionsError(), False)],
)
def test_what_will_not_get_better_is_not_tried_again(error: Exception, worth: bool) -> None:
    assert worth_retrying(error) is worth


def test_a_connection_class_is_given_the_budget_once() -> None:
    kind: Any = budgeted(redis.Connection)
    assert issubclass(kind, BudgetedConnection)
    assert budgeted(kind) is kind
    assert budgeted(redis.Connection) is kind
