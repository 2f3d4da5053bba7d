"""``redis+cluster://``: three primaries, sync and async, with one of them hung.

Each guard was taken away once to see its test go red: the budget mixed into the nodes' connections, asking another node
for COMMAND, opening before the first command of a loop, no second try after a time-out, and closing what failed.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.cluster import RedisCluster
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from bergizi_redis import connections
from bergizi_redis.aconnections import aclient
from bergizi_redis.budget import BudgetedConnection
from bergizi_redis.connections import client, is_outage
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.scripts.script import Script
from tests.cluster.conftest import hurried
from tests.cluster.pulse import undisturbed
from tests.deadlines import ends_within
from tests.nearness import until
from tests.servers import Cluster, PrivateServer, free_port

KEYS = [f"key{number}" for number in range(40)]


@pytest.fixture
def at(settings: Any) -> Iterator[Callable[[str], None]]:
    def set_location(url: str) -> None:
        settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}

    yield set_location
    connections.disconnect_all()


@contextmanager
def paused(*nodes: PrivateServer) -> Iterator[None]:
    for node in nodes:
        node.pause()
    try:
        yield
    finally:
        for node in nodes:
            node.resume()


def test_a_cluster_serves_commands_pipelines_and_scripts(at: Any, cluster: Cluster, prefix: str) -> None:
    at(cluster.url)
    assert isinstance(client(), RedisCluster)
    for key in KEYS:
        client().set(f"{prefix}{key}", key)
    pipeline = client().pipeline()
    for key in KEYS:
        pipeline.get(f"{prefix}{key}")
    assert pipeline.execute() == [key.encode() for key in KEYS]
    assert Script("swap").run(client(), [f"{prefix}key0"], ["key0", "new", 5000]) == 1
    assert client().get(f"{prefix}key0") == b"new"


def test_a_cluster_serves_a_loop_too(at: Any, cluster: Cluster, prefix: str) -> None:
    at(cluster.url)

    async def main() -> None:
        await asyncio.gather(*(aclient().set(f"{prefix}{key}", key) for key in KEYS))
        pipeline = aclient().pipeline()
        for key in KEYS:
            pipeline.get(f"{prefix}{key}")
        assert await pipeline.execute() == [key.encode() for key in KEYS]
        assert await Script("swap").arun(aclient(), [f"{prefix}key0"], ["key0", "new", 5000]) == 1

    asyncio.run(main())


def key_on(cluster: Cluster, node: PrivateServer) -> str:
    return next(key for key in KEYS if cluster.node_of(key) is node)


def answered() -> bool:
    """Whether every node has; a busy machine may let the time of the hurried run out."""
    try:
        return [client().get(key) for key in KEYS] == [None] * len(KEYS)
    except RedisError:
        return False


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_hung_node_costs_its_keys_the_budget_and_the_others_nothing(
    at: Any, cluster: Cluster, settings: Any, number: int
) -> None:
    at(cluster.url)
    assert answered()
    hung, well = cluster.nodes[number], cluster.nodes[(number + 1) % 3]
    with hurried(settings):
        until(answered)
        with paused(hung):
            with ends_within(), pytest.raises(TimeoutError):
                client().get(key_on(cluster, hung))
            pipeline = client().pipeline()
            for key in KEYS:
                pipeline.get(key)
            with ends_within(), pytest.raises((TimeoutError, ConnectionError)):
                pipeline.execute()
        until(answered)
    with paused(hung), ends_within(15):  # who asked the hung one would wait for 20 s
        assert client().get(key_on(cluster, well)) is None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_process_that_starts_while_a_node_hangs_is_served_by_the_others(
    at: Any, cluster: Cluster, settings: Any, number: int
) -> None:
    hung, *well = cluster.nodes[number:] + cluster.nodes[:number]
    key = key_on(cluster, well[0])

    def start() -> None:
        connections.disconnect_all()
        with ends_within():
            assert client().get(key) is None

    async def main() -> Any:
        return await aclient().get(key)

    def start_a_loop() -> None:
        with ends_within():
            assert asyncio.run(main()) is None

    at(cluster.url)
    with hurried(settings), paused(hung):
        undisturbed(start, *well)
        undisturbed(start_a_loop, *well)


def test_a_time_out_is_not_tried_again(at: Any, cluster: Cluster, settings: Any) -> None:
    """With 3 s to spend, a node has 1 s: a second try would take two, a third three."""
    at(cluster.url)
    key = key_on(cluster, cluster.nodes[0])

    async def main() -> None:
        while not await aanswered():
            pass
        with paused(cluster.nodes[0]), ends_within(1.9, at_least=0.5), pytest.raises(TimeoutError):
            await aclient().get(key)

    with hurried(settings, 3):
        until(answered)
        with paused(cluster.nodes[0]), ends_within(1.9, at_least=0.5), pytest.raises(TimeoutError):
            client().get(key)
        asyncio.run(main())


async def aanswered() -> bool:
    try:
        return await asyncio.gather(*(aclient().get(key) for key in KEYS)) == [None] * len(KEYS)
    except RedisError:
        return False


def test_every_node_heeds_the_deadline(at: Any, cluster: Cluster) -> None:
    at(cluster.url)
    client().ping()
    many: Any = client()
    pools = [node.redis_connection.connection_pool for node in many.get_nodes()]
    assert len(pools) == 3
    assert all(issubclass(pool.connection_class, BudgetedConnection) for pool in pools)


def alone(*nodes: PrivateServer) -> None:
    """Until we are the only client: a node that was asleep has yet to see that the others have gone."""
    for node in nodes:
        with node.client() as look:
            until(lambda look=look: look.info("clients")["connected_clients"] == 1)  # type: ignore[misc]


def test_a_loop_that_ends_after_a_failure_leaves_no_connection(at: Any, cluster: Cluster, settings: Any) -> None:
    at(cluster.url)
    hung, well = cluster.nodes[0], cluster.nodes[1]

    async def main() -> None:
        while not await aanswered():
            pass
        with paused(hung), pytest.raises(TimeoutError):
            await aclient().get(key_on(cluster, hung))
        seen.append(aclient())  # so that no garbage collector closes what the loop's end did not

    seen: list[Any] = []
    with hurried(settings):
        asyncio.run(main())
    alone(well)


def test_a_cluster_that_hangs_is_a_time_out_within_the_budget_for_every_thread(
    at: Any, cluster: Cluster, settings: Any
) -> None:
    at(cluster.url)

    def ask(_: int) -> None:
        with ends_within(2), pytest.raises((TimeoutError, ConnectionError)):
            client().get("a")

    async def main() -> None:
        await aclient().get("a")

    with hurried(settings), paused(*cluster.nodes):
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(ask, range(10)))
        with ends_within(), pytest.raises(RedisError) as caught:
            asyncio.run(main())
        assert is_outage(caught.value)
    with hurried(settings):
        until(answered)


def test_a_cluster_nobody_listens_for_is_an_outage_of_redis_pys_own_kind(at: Any) -> None:
    at(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")

    async def main() -> None:
        await aclient().get("a")

    def read_in_a_pipeline() -> Any:
        pipeline: Any = client().pipeline()
        return pipeline.get("a").execute()

    for ask in (lambda: client().get("a"), read_in_a_pipeline, lambda: asyncio.run(main())):
        with ends_within(), pytest.raises(RedisError) as caught:
            ask()
        assert is_outage(caught.value)


def test_a_server_that_is_no_cluster_is_named(at: Any, redis_url: str) -> None:
    at(f"redis+cluster://{urlsplit(redis_url).netloc}")
    with pytest.raises(ConfigurationError, match="write redis:// in LOCATION"):
        client().get("a")


def test_making_and_closing_a_client_open_nothing(at: Any) -> None:
    at(f"redis+cluster://127.0.0.1:{free_port()}")
    made = client()
    assert made is client()
    made.close()
    assert not hasattr(made, "__wrapped__")


def test_each_loop_closes_the_clusters_connections(at: Any, cluster: Cluster) -> None:
    at(cluster.url)

    async def main() -> Any:
        seen.append(aclient())
        return await asyncio.gather(*(aclient().get(key) for key in KEYS))

    seen: list[Any] = []
    for _ in range(5):
        asyncio.run(main())
    alone(*cluster.nodes)
