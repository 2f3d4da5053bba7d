"""Async clients: one per event loop, alias and role, closed by the loop itself when it shuts down.

The same promise and roles as ``connections.py``. A client belongs to the loop that was running when it was made;
redis-py's connections cannot change loops.
"""

import asyncio
import inspect
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any

import redis.asyncio
import redis.asyncio.client
import redis.asyncio.connection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.exceptions import ConnectionError, MaxConnectionsError
from redis.maint_notifications import MaintNotificationsConfig

from bergizi_redis.aclusters import cluster
from bergizi_redis.budget import aasking
from bergizi_redis.conf import config
from bergizi_redis.connections import Role, alias_settings, budget_of, pool_key, share_of_node, timeouts
from bergizi_redis.pools import POOL_IS_FULL
from bergizi_redis.retries import RETRIES, FullJitter, worth_retrying
from bergizi_redis.topology import parse_location

WAIT_SHARE = 0.9  # of the budget for a free connection: the pool must say that it is full before the time is up

# Redis Cloud's maintenance pushes off; redis-py 8.0 has none for async yet, and refuses the argument.
QUIET = {"maint_notifications_config": MaintNotificationsConfig(enabled=False)}
if not QUIET.keys() & inspect.signature(redis.asyncio.connection.AbstractConnection).parameters:
    QUIET.clear()

_Clients = dict[tuple[str, ...], Any]
_loops = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[_Clients, AsyncGenerator[None, None]]]()


def aclient(alias: str = "default", role: Role = Role.MAIN) -> redis.asyncio.Redis:
    """A ``redis.asyncio.Redis`` (``RedisCluster`` on a cluster) of the running loop, for the primary behind an alias.

    Opens no connection by itself. Raises ``RuntimeError`` outside a loop, ``ConfigurationError`` for a bad alias.
    """
    made: redis.asyncio.Redis = aclient_at(*alias_settings(alias), role)
    return made


def aclient_at(url: str, options: dict[str, Any], role: Role = Role.MAIN) -> Any:
    """The same for a URL and the OPTIONS of an alias: a cache backend knows these, but not its alias's name."""
    loop = asyncio.get_running_loop()
    if loop not in _loops:
        _forget_closed_loops()
        _loops[loop] = _clients_of_loop()
    clients, _ = _loops[loop]
    key = pool_key(url, options, role)
    if key not in clients:
        clients[key] = _connect(url, options, role)
    return clients[key]


def _clients_of_loop() -> tuple[_Clients, AsyncGenerator[None, None]]:
    """A place for the running loop's clients, and the generator by whose end, at the loop's, they are closed.

    A loop that shuts down ends the asynchronous generators that it knows, and holds them weakly: hence we keep it.
    """
    clients: _Clients = {}

    async def closer() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            while clients:
                await clients.popitem()[1].aclose()

    generator = closer()
    try:
        generator.__anext__().send(None)  # runs to the yield: now the loop knows it
    except StopIteration:
        pass
    return clients, generator


def _forget_closed_loops() -> None:
    """A client holds its loop, so a loop that was closed without being shut down would stay for good."""
    for loop in [known for known in list(_loops) if known.is_closed()]:
        _loops.pop(loop, None)


class AsyncBudgetedRetry(Retry):
    """The same for a loop; the deadline there is a cancellation, which no retry survives."""

    def __init__(self, retries: int = RETRIES) -> None:
        super().__init__(FullJitter(), retries, (ConnectionError,))

    async def call_with_retry(
        self,
        do: Callable[[], Any],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        def retryable(error: Exception) -> bool:
            return worth_retrying(error) and (is_retryable is None or is_retryable(error))

        return await super().call_with_retry(do, fail, retryable, with_failure_count)


class AsyncPool(redis.asyncio.BlockingConnectionPool):
    """Tasks beyond ``max_connections`` wait within the budget, then get ``MaxConnectionsError``."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"timeout": config.REQUEST_BUDGET * WAIT_SHARE, **arguments})

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        try:
            return await super().get_connection()  # type: ignore[no-untyped-call]
        except ConnectionError as error:
            if str(error) != "No connection available.":
                raise
            raise MaxConnectionsError(POOL_IS_FULL.format(self.max_connections)) from error


class AsyncSentinelPool(SentinelConnectionPool, AsyncPool):
    """The same for the primary that the Sentinels name; closing it closes the connections to them."""

    async def get_master_address(self) -> Any:
        try:
            return await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError:  # redis-py's text is every Sentinel's every option
            raise MasterNotFoundError(
                f"No Sentinel that answered knows the primary of {self.service_name!r}."
            ) from None

    async def aclose(self) -> None:
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


class AsyncBudgetedPipeline(redis.asyncio.client.Pipeline):
    budget: float | None = None

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        async with aasking(self.connection_pool, self.budget):
            return await super().execute(raise_on_error)

    async def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        async with aasking(self.connection_pool, self.budget):
            return await super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class AsyncBudgetedRedis(redis.asyncio.Redis):
    """``redis.asyncio.Redis`` whose every command, pipeline and script ends within ``budget`` seconds."""

    budget: float | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with aasking(self.connection_pool, self.budget):
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> AsyncBudgetedPipeline:
        pipeline = AsyncBudgetedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.budget = self.budget
        return pipeline


def _connect(url: str, options: dict[str, Any], role: Role) -> Any:
    topology = parse_location(url)
    arguments = _arguments(options, role)
    if topology.kind == "cluster":
        return cluster(topology, arguments | share_of_node(arguments, budget_of(role)), budget_of(role))
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
