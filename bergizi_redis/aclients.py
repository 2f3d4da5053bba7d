"""The pool, the client and the retries of ``pools.py``, ``clients.py`` and ``retries.py``, for an event loop.

A command on a pool of ours goes the short way here too: one timer, the budget's, stands for redis-py's three, and a
connection that is free is lent without a lock. Promise, times and errors are those of ``budget.py``. Costs no round
trip of its own.
"""

from collections.abc import Callable
from typing import Any

import redis.asyncio
import redis.asyncio.client
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.exceptions import ConnectionError, MaxConnectionsError, RedisError
from redis.observability.recorder import is_enabled as is_observed

from bergizi_redis.aconnecting import ours
from bergizi_redis.budget import aasking
from bergizi_redis.conf import config
from bergizi_redis.pools import POOL_IS_FULL, is_ordinary
from bergizi_redis.retries import RETRIES, FullJitter, in_time

WAIT_SHARE = 0.9  # of the budget for a free connection: the pool must say that it is full before the time is up


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
        return await super().call_with_retry(do, fail, in_time(is_retryable), with_failure_count)


class AsyncPool(redis.asyncio.BlockingConnectionPool):
    """Tasks beyond ``max_connections`` wait within the budget, then get ``MaxConnectionsError``."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"timeout": config.REQUEST_BUDGET * WAIT_SHARE, **arguments})
        self._waiting = 0
        chosen: Any = self.connection_class
        self.connection_class = ours(chosen)
        self._is_ordinary = is_ordinary(self)

    @property
    def is_lean(self) -> bool:
        """Whether nothing is asked of redis-py that our shorter ways leave out: its metrics, maintenance, tokens."""
        return self._is_ordinary and not self._in_maintenance and not is_observed()

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        if self.is_lean and not self._waiting and self.can_get_connection():  # no step of another task in between
            connection = self.get_available_connection()  # type: ignore[no-untyped-call]
            try:
                await self.ensure_connection(connection)
            except BaseException:
                await self.release(connection)
                raise
            return connection
        self._waiting += 1
        try:
            return await super().get_connection()  # type: ignore[no-untyped-call]
        except ConnectionError as error:
            if str(error) != "No connection available.":
                raise
            raise MaxConnectionsError(POOL_IS_FULL.format(self.max_connections)) from error
        finally:
            self._waiting -= 1

    async def release(self, connection: Any) -> None:
        if self._waiting or not self.is_lean or connection.should_reconnect():
            await super().release(connection)
        else:
            self._in_use_connections.remove(connection)
            self._available_connections.append(connection)


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
        pool = self.connection_pool
        async with aasking(pool, self.budget):
            if self.single_connection_client or not (isinstance(pool, AsyncPool) and pool.is_lean):
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            return await self._ask(pool, args, options)

    async def _ask(self, pool: AsyncPool, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        connection = await pool.get_connection()
        waits = connection.socket_timeout
        if self.budget is not None and waits is not None and waits >= self.budget:
            connection.socket_timeout = None  # what the budget bounds needs no timer of its own
        try:
            try:
                return await self._send_command_parse_response(connection, args[0], *args, **options)  # type: ignore[no-untyped-call]
            except ConnectionError as error:
                return await self._again(connection, error, args, options)
        finally:
            connection.socket_timeout = waits
            await pool.release(connection)

    async def _again(self, connection: Any, error: RedisError, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """redis-py's retries, of which the try that failed was the first."""
        failed = [error]

        async def attempt() -> Any:
            if failed:
                raise failed.pop()
            return await self._send_command_parse_response(connection, args[0], *args, **options)  # type: ignore[no-untyped-call]

        return await connection.retry.call_with_retry(attempt, lambda _: connection.disconnect())

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> AsyncBudgetedPipeline:
        pipeline = AsyncBudgetedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.budget = self.budget
        return pipeline
