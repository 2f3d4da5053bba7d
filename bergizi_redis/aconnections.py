"""Async clients: one per event loop, alias and role, closed by the loop itself when it shuts down.

The same promise and roles as ``connections.py``. A client belongs to the loop that was running when it was made;
redis-py's connections cannot change loops.
"""

import asyncio
import inspect
import weakref
from collections.abc import AsyncGenerator
from typing import Any

import redis.asyncio
import redis.asyncio.connection
from redis.asyncio.sentinel import Sentinel
from redis.maint_notifications import MaintNotificationsConfig

from bergizi_redis.aclients import AsyncBudgetedRedis, AsyncBudgetedRetry, AsyncPool, AsyncSentinelPool
from bergizi_redis.aclusters import cluster
from bergizi_redis.conf import config
from bergizi_redis.connections import Recalled, Role, alias_settings, budget_of, pool_key, share_of_node, timeouts
from bergizi_redis.greetings import agreeting
from bergizi_redis.topology import parse_location

# Redis Cloud's maintenance pushes off; redis-py 8.0 has none for async yet, and refuses the argument.
QUIET = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
if not QUIET.keys() & inspect.signature(redis.asyncio.connection.AbstractConnection).parameters:
    QUIET.clear()


class _Place:
    """The clients of one loop, and what they were asked for."""

    __slots__ = ("clients", "closer", "recalled")

    def __init__(self) -> None:
        self.clients: dict[tuple[str, ...], Any] = {}
        self.recalled = Recalled()
        self.closer = _closer(self.clients, self.recalled)
        try:
            self.closer.__anext__().send(None)  # runs to the yield: now the loop knows it
        except StopIteration:
            pass


async def _closer(clients: dict[tuple[str, ...], Any], recalled: Recalled) -> AsyncGenerator[None, None]:
    """Closes the clients when it is ended.

    A loop that shuts down ends the asynchronous generators that it knows, and holds them weakly: hence we keep it.
    """
    try:
        yield
    finally:
        recalled.clear()
        while clients:
            await clients.popitem()[1].aclose()


_loops = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Place]()


def aclient(alias: str = "default", role: Role = Role.MAIN) -> redis.asyncio.Redis:
    """A ``redis.asyncio.Redis`` (``RedisCluster`` on a cluster) of the running loop, for the primary behind an alias.

    Opens no connection by itself. Raises ``RuntimeError`` outside a loop, ``ConfigurationError`` for a bad alias.
    """
    made: redis.asyncio.Redis = aclient_at(*alias_settings(alias), role)
    return made


def aclient_at(url: str, options: dict[str, Any], role: Role = Role.MAIN) -> Any:
    """The same for a URL and the OPTIONS of an alias: a cache backend knows these, but not its alias's name."""
    loop = asyncio.get_running_loop()
    place = _loops.get(loop)
    if place is None:
        _forget_closed_loops()
        place = _loops[loop] = _Place()
    if (known := place.recalled.get(url, role, options)) is not None:
        return known
    key = pool_key(url, options, role)
    if key not in place.clients:
        place.clients[key] = _connect(url, options, role)
    return place.recalled.keep(url, role, options, place.clients[key])


def _forget_closed_loops() -> None:
    """A client holds its loop, so a loop that was closed without being shut down would stay for good."""
    for loop in [known for known in list(_loops) if known.is_closed()]:
        _loops.pop(loop, None)


def _connect(url: str, options: dict[str, Any], role: Role) -> Any:
    topology = parse_location(url)
    arguments = _arguments(options, role)
    if topology.kind == "cluster":
        return cluster(topology, arguments | share_of_node(arguments, budget_of(role)), budget_of(role))
    if role is Role.MAIN:
        arguments = {"redis_connect_func": agreeting(url)} | arguments
    pool: Any
    if topology.kind == "sentinel":
        asking = topology.asking(arguments) | {"retry": AsyncBudgetedRetry(0)} | (options.get("SENTINEL_KWARGS") or {})
        manager = Sentinel(list(topology.hosts), sentinel_kwargs=asking)
        arguments |= {"ssl": topology.tls} | topology.options
        pool = AsyncSentinelPool(topology.service, manager, **arguments)  # type: ignore[no-untyped-call]
    else:
        pool = AsyncPool.from_url(url, **arguments)
    client = AsyncBudgetedRedis(connection_pool=pool)
    client.auto_close_connection_pool, client.budget = True, budget_of(role)
    return client


def _arguments(options: dict[str, Any], role: Role) -> dict[str, Any]:
    """Keyword arguments of a connection: defaults of the role, then django-redis's OPTIONS of the alias."""
    named = ("USERNAME", "PASSWORD", "SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT")
    return {
        **timeouts(role),
        "max_connections": config.MAX_CONNECTIONS,
        "retry": AsyncBudgetedRetry(),
        **QUIET,
        **{name.lower(): options[name] for name in named if options.get(name)},
        # A retry for sync connections cannot be awaited.
        **{name: value for name, value in (options.get("CONNECTION_POOL_KWARGS") or {}).items() if name != "retry"},
    }
