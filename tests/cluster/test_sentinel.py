"""``redis+sentinel://``: a primary that two Sentinels name, with one of them, both, or the primary hung.

Taken away once to see it go red: dropping the connection after a time-out (redis-py keeps it, and the late reply
answered the next command), and the Sentinels' share of the budget.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis.exceptions import ConnectionError, MaxConnectionsError, RedisError, TimeoutError

from bergizi_redis import connections
from bergizi_redis.aconnections import aclient
from bergizi_redis.budget import within
from bergizi_redis.circuit import circuit_of
from bergizi_redis.connections import FACTORY, client, explain, is_outage
from bergizi_redis.scripts.script import Script
from tests.cluster.conftest import Watched, hurried
from tests.cluster.pulse import undisturbed
from tests.deadlines import ends_within
from tests.nearness import until
from tests.proxies import holding
from tests.servers import PrivateServer


@pytest.fixture
def at(settings: Any) -> Iterator[Callable[..., None]]:
    def set_location(url: str, **options: Any) -> None:
        settings.CACHES = {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": url,
                "OPTIONS": {"CONNECTION_FACTORY": FACTORY, **options},
            }
        }

    yield set_location
    connections.disconnect_all()


def test_the_primary_serves_commands_pipelines_and_scripts(at: Any, watched: Watched) -> None:
    at(watched.url)
    assert client().set("a", "1")
    pipeline: Any = client().pipeline()
    assert pipeline.get("a").incr("a").execute() == [b"1", 2]
    assert Script("swap").run(client(), ["a"], ["2", "3", 5000]) == 1

    async def main() -> Any:
        assert await Script("swap").arun(aclient(), ["a"], ["3", "4", 5000]) == 1
        pipeline: Any = aclient().pipeline()
        return await pipeline.get("a").execute()

    assert asyncio.run(main()) == [b"4"]


async def ping_in_a_loop() -> Any:
    return await aclient().ping()


def test_a_hung_sentinel_leaves_time_for_the_next_and_for_the_server(at: Any, watched: Watched, settings: Any) -> None:
    def start() -> None:
        connections.disconnect_all()
        with ends_within():
            assert client().ping()

    def start_a_loop() -> None:
        with ends_within():
            assert asyncio.run(ping_in_a_loop())

    at(watched.url)
    watched.sentinels[0].pause()
    with hurried(settings):
        undisturbed(start, watched.primary, watched.sentinels[1])
        undisturbed(start_a_loop, watched.primary, watched.sentinels[1])


def test_without_sentinels_the_error_is_short_and_within_the_budget(at: Any, watched: Watched, settings: Any) -> None:
    at(watched.url)
    for sentinel in watched.sentinels:
        sentinel.pause()
    with hurried(settings), ends_within(), pytest.raises(ConnectionError) as caught:
        client().ping()
    assert str(caught.value) == "No Sentinel that answered knows the primary of 'kitchen'."
    assert is_outage(caught.value)
    assert "Check the Sentinels' addresses" in explain(caught.value)
    with hurried(settings), ends_within(), pytest.raises(RedisError) as in_loop:
        asyncio.run(ping_in_a_loop())
    assert is_outage(in_loop.value)


def test_an_unknown_service_is_named(at: Any, watched: Watched) -> None:
    at(watched.url.replace("/kitchen", "/kitchn"))
    with ends_within(15), pytest.raises(ConnectionError, match="knows the primary of 'kitchn'"):
        client().ping()


def answered() -> bool:
    """Whether the primary has; a busy machine may let the time of the hurried run out."""
    try:
        return bool(client().ping())
    except RedisError:
        return False


def test_a_hung_primary_is_a_time_out_within_the_budget_for_every_thread(
    at: Any, watched: Watched, settings: Any
) -> None:
    def ask(_: int) -> None:
        with ends_within(2), pytest.raises(TimeoutError):
            client().get("a")

    at(watched.url)
    with hurried(settings):
        until(answered)
        watched.primary.pause()
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(ask, range(10)))


def test_a_late_reply_never_answers_the_next_command(at: Any, watched: Watched) -> None:
    async def main(release: Any) -> None:
        await aclient().set("mine", "1")
        release.clear()
        with within(0.5), pytest.raises(TimeoutError):
            await aclient().echo("late")
        circuit_of(aclient().connection_pool).answered()  # the whole budget again, so that the late reply meets it
        threading.Timer(0.2, release.set).start()
        assert await aclient().get("mine") == b"1"

    with holding(watched.primary.port) as (held, release):
        for sentinel in watched.sentinels:
            sentinel.name_primary(held.port)
        at(watched.url)
        client().set("mine", "1")
        release.clear()
        with within(0.5), pytest.raises(TimeoutError):
            client().echo("late")
        circuit_of(client().connection_pool).answered()
        threading.Timer(0.2, release.set).start()  # the late reply arrives while the next command waits for its own
        assert client().get("mine") == b"1"
        asyncio.run(main(release))


def test_the_new_primary_is_found_when_the_old_one_has_gone(at: Any, watched: Watched) -> None:
    at(watched.url)
    client().set("where", "old")
    for sentinel in watched.sentinels:
        sentinel.name_primary(watched.other.port)
    watched.primary.kill()
    assert client().get("where") is None
    assert client().set("where", "new")
    with watched.other.client() as look:
        assert look.get("where") == b"new"


def test_threads_beyond_the_pool_wait_their_turn(at: Any, watched: Watched, settings: Any) -> None:
    """redis-py's own Sentinel pool refuses them at once."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 2}
    at(watched.url)
    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(lambda _: client().incr("n"), range(200))) == list(range(1, 201))
    taken = [client().connection_pool.get_connection() for _ in range(2)]
    with ends_within(), pytest.raises(MaxConnectionsError), within(0.2):
        client().ping()
    for connection in taken:
        client().connection_pool.release(connection)


def alone(server: PrivateServer) -> None:
    """Until we are its only client: where it was asleep, it has yet to see that the others have gone."""
    with server.client() as look:
        until(lambda: sum(not link["name"].startswith("sentinel-") for link in look.client_list()) == 1)


def test_closing_leaves_no_connection_to_the_sentinels(at: Any, watched: Watched) -> None:
    at(watched.url)
    seen: list[Any] = []  # so that no garbage collector closes what was not closed

    async def main() -> Any:
        seen.append(aclient())
        return await aclient().ping()

    seen.append(client())
    client().ping()
    asyncio.run(main())
    connections.disconnect_all()
    for server in (watched.primary, *watched.sentinels):
        alone(server)


def test_the_sentinels_password_is_an_option_and_not_the_servers(at: Any, watched: Watched) -> None:
    for sentinel in watched.sentinels:
        sentinel.kill()
        with sentinel.file.open("a") as file:
            file.write("\nrequirepass theirs\n")
        sentinel.start()
    with watched.primary.client() as admin:
        admin.config_set("requirepass", "ours")
    at(watched.url.replace("://", "://:ours@"), SENTINEL_KWARGS={"password": "theirs"})
    assert client().ping()
    assert asyncio.run(ping_in_a_loop())
