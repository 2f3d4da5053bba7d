"""The async client of a cluster, within the budget although a node hangs."""

from typing import Any

import redis.asyncio.cluster
from redis._parsers import AsyncCommandsParser
from redis.exceptions import ConnectionError, TimeoutError

from bergizi_redis.aconnecting import ours
from bergizi_redis.budget import awithin
from bergizi_redis.topology import NOT_TIMED_OUT, Topology, as_driver_errors


class _AnyNodesCommands(AsyncCommandsParser):
    """Asks another node for the table of commands where the one that redis-py asks hangs."""

    def __init__(self, cluster: "AsyncBudgetedCluster") -> None:
        super().__init__()
        self.cluster = cluster

    async def initialize(self, node: Any = None) -> None:
        try:
            await super().initialize(node)
        except (ConnectionError, TimeoutError):
            if not (others := [other for other in self.cluster.get_primaries() if other != node]):
                raise
            await super().initialize(others[0])


class AsyncBudgetedCluster(redis.asyncio.cluster.RedisCluster):
    """The same for a loop; redis-py's opens at its first use by itself."""

    ERRORS_ALLOW_RETRY = NOT_TIMED_OUT
    budget: float | None = None

    async def aclose(self) -> None:
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):  # redis-py leaves them open where the last command failed
            await self.nodes_manager.aclose(nodes)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with as_driver_errors():
            async with awithin(self.budget):
                if self.get_default_node() is None:  # redis-py sends the first commands to any node, maybe a hung one
                    await self.initialize()
                return await super().execute_command(*args, **options)

    def pipeline(self, transaction: Any = None, shard_hint: Any = None) -> redis.asyncio.cluster.ClusterPipeline:
        pipeline = super().pipeline(transaction, shard_hint)
        execute = pipeline.execute

        async def bounded(raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
            with as_driver_errors():
                async with awithin(self.budget):
                    return await execute(raise_on_error, allow_redirections)

        pipeline.execute = bounded  # type: ignore[method-assign]
        return pipeline


def cluster(topology: Topology, arguments: dict[str, Any], budget: float | None) -> AsyncBudgetedCluster:
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in topology.hosts]
    arguments |= {"ssl": topology.tls} | topology.options
    made = AsyncBudgetedCluster(startup_nodes=nodes, **arguments)
    made.budget, made.commands_parser = budget, _AnyNodesCommands(made)
    connecting: Any = ours(made.connection_kwargs["connection_class"])
    made.connection_kwargs["connection_class"] = connecting  # of nodes to come
    for node in made.nodes_manager.startup_nodes.values():
        node.connection_class = connecting
    return made
