"""Async clients: one per event loop, alias and role, closed by the loop itself when it shuts down.

The same promise and roles as ``connections.py``. A client belongs to the loop that was running when it was made;
redis-py's connections cannot change loops.
"""

import asyncio
import weakref
from collections.abc import AsyncGenerator
from typing import Any

import redis.asyncio
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError, MaxConnectionsError
from redis.maint_notifications import MaintNotificationsConfig

from bergizi_redis.budget import AsyncBudgetedRedis, AsyncBudgetedRetry
from bergizi_redis.conf import config
from bergizi_redis.connections import Role, alias_settings, budget_of, timeouts
from bergizi_redis.topology import Topology, parse_location

_Key = tuple[str, str, str]

_clients: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, Any]]" = weakref.WeakKeyDictionary()
_closers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[AsyncGenerator[None]]]" = weakref.WeakKeyDictionary()


class AsyncPool(redis.asyncio.BlockingConnectionPool):
    """Tasks beyond ``max_connections`` wait within the budget, then get ``MaxConnectionsError``."""

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        try:
            return await super().get_connection()
        except ConnectionError as error:
            if str(error) != "No connection available.":
                raise
            raise MaxConnectionsError(
                f"All {self.max_connections} connections of this pool stayed in use for {self.timeout} s. The server "
                "may be well: raise BERGIZI_REDIS['MAX_CONNECTIONS'] or lower the number of tasks."
            ) from error


def aclient(alias: str = "default", role: Role = Role.MAIN) -> Any:
    """A ``redis.asyncio.Redis`` (``RedisCluster`` on a cluster) of the running loop, for the primary behind an alias.

    Opens no connection by itself. Raises ``RuntimeError`` outside a loop, ``ConfigurationError`` for a bad alias.
    """
    return aclient_at(*alias_settings(alias), role)


def aclient_at(url: str, options: dict[str, Any], role: Role = Role.MAIN) -> Any:
    """The same for a URL and the OPTIONS of an alias: a cache backend knows these, but not its alias's name."""
    loop = asyncio.get_running_loop()
    key = (url, role.value, repr(sorted(options.items())))
    clients = _clients.setdefault(loop, {})
    if key not in clients:
        clients[key] = _connect(url, options, role)
        _close_with(loop, clients[key])
    return clients[key]


def _close_with(loop: asyncio.AbstractEventLoop, client: Any) -> None:
    """Close the client when the loop shuts its asynchronous generators down, as ``asyncio.run`` and asgiref do."""

    async def closer() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            _clients.get(loop, {}).clear()
            await client.aclose()

    generator = closer()
    try:
        generator.__anext__().send(None)  # runs to the yield, and so makes itself known to the loop
    except StopIteration:
        pass
    _closers.setdefault(loop, []).append(generator)


def _connect(url: str, options: dict[str, Any], role: Role) -> Any:
    topology = parse_location(url)
    arguments = _arguments(options, role)
    if topology.kind == "cluster":
        return _cluster(topology, arguments)
    if topology.kind == "sentinel":
        manager = topology.async_sentinel_manager(arguments)
        arguments["ssl"] = topology.tls
        pool: Any = SentinelConnectionPool(topology.service, manager, **{**arguments, **topology.options})
    else:
        arguments.setdefault("max_connections", config.MAX_CONNECTIONS)
        pool = AsyncPool.from_url(url, timeout=config.REQUEST_BUDGET, **arguments)
    client = AsyncBudgetedRedis.from_pool(pool)  # closing the client closes the pool too
    client.budget = budget_of(role)
    return client


def _arguments(options: dict[str, Any], role: Role) -> dict[str, Any]:
    """Keyword arguments of a connection: defaults of the role, then django-redis's OPTIONS of the alias."""
    arguments = {
        **timeouts(role),
        "retry": AsyncBudgetedRetry(),
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    for option, argument in (
        ("USERNAME", "username"),
        ("PASSWORD", "password"),
        ("SOCKET_TIMEOUT", "socket_timeout"),
        ("SOCKET_CONNECT_TIMEOUT", "socket_connect_timeout"),
    ):
        if options.get(option):
            arguments[argument] = options[option]
    pool_arguments = {name: value for name, value in options.get("CONNECTION_POOL_KWARGS", {}).items() if name != "retry"}
    return {**arguments, **pool_arguments}


def _cluster(topology: Topology, arguments: dict[str, Any]) -> RedisCluster:
    nodes = [ClusterNode(host, port) for host, port in topology.hosts]
    arguments.pop("maint_notifications_config")
    return RedisCluster(startup_nodes=nodes, ssl=topology.tls, **{**arguments, **topology.options})
