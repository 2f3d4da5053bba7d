"""The time budget of one command: a deadline for everything it does – waiting for a connection, connecting, the
handshake, reading, retrying – where redis-py bounds each of them alone.

Sync: ``within(seconds)`` puts the deadline into a context variable; the outermost one holds. ``BudgetedConnection``
clips its connect and read timeouts to what is left, ``BudgetedRetry`` does not start what cannot end in time. Async
needs none of this: ``asyncio.timeout`` bounds the whole.
"""

import asyncio
import builtins
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.client
import redis.client
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import AbstractBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

_deadline: ContextVar[float | None] = ContextVar("bergizi_redis_deadline", default=None)

SHORTEST = 0.001  # seconds; a timeout of 0 would mean "do not block" to a socket
RETRIES = 2


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Bound what runs inside to ``seconds`` from now, unless an outer bound holds already. None: no bound."""
    if seconds is None or _deadline.get() is not None:
        yield
        return
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left() -> float | None:
    """Seconds until the deadline in force, at least ``SHORTEST``; None without one."""
    deadline = _deadline.get()
    return None if deadline is None else max(SHORTEST, deadline - time.monotonic())


class FullJitter(AbstractBackoff):
    """Seconds to wait before try n: uniform in 0…min(cap, base·2ⁿ), the exponent clamped so that it cannot overflow.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, base: float = 0.008, cap: float = 0.064) -> None:
        self.base, self.cap = base, cap

    def compute(self, failures: int) -> float:
        return random.uniform(0, min(self.cap, self.base * 2 ** min(failures, 30)))  # noqa: S311 – spreads load


class BudgetedRetry(Retry):
    """Retries a broken link, never a time-out (it has used its time up), and never past the deadline."""

    def __init__(self, retries: int = RETRIES) -> None:
        super().__init__(FullJitter(), retries, (ConnectionError,))

    def call_with_retry(
        self,
        do: Callable[[], Any],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        def worth_it(error: Exception) -> bool:
            left = seconds_left()
            in_time = left is None or left > FullJitter().cap
            return in_time and (is_retryable is None or is_retryable(error))

        # A time-out leaves a half-read reply behind: the connection must not go back to the pool with it.
        try:
            return super().call_with_retry(do, fail, worth_it, with_failure_count)
        except (ConnectionError, TimeoutError) as error:
            fail(error, 1) if with_failure_count else fail(error)
            raise


class BudgetedConnection:
    """Mixed into a connection class of redis-py: every wait is clipped to what is left of the budget."""

    @property
    def socket_connect_timeout(self) -> float | None:
        configured: float | None = self._socket_connect_timeout  # type: ignore[attr-defined]
        left = seconds_left()
        return configured if left is None else min(left, configured or left)

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        self._socket_connect_timeout = value

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        if "timeout" not in kwargs and (left := seconds_left()) is not None:
            kwargs["timeout"] = min(left, self.socket_timeout or left)  # type: ignore[attr-defined]
        return super().read_response(*args, **kwargs)  # type: ignore[misc]


def budgeted(connection_class: type) -> type:
    """The connection class with the budget mixed in; the class itself where it has it."""
    if issubclass(connection_class, BudgetedConnection):
        return connection_class
    return type(f"Budgeted{connection_class.__name__}", (BudgetedConnection, connection_class), {})


class BudgetedPipeline(redis.client.Pipeline):
    budget: float | None = None

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with within(self.budget):
            return super().execute(raise_on_error)

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        with within(self.budget):
            return super().immediate_execute_command(*args, **options)


class BudgetedRedis(redis.Redis):
    """``redis.Redis`` whose every command, pipeline and script ends within ``budget`` seconds."""

    budget: float | None = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with within(self.budget):
            return super().execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> BudgetedPipeline:
        pipeline = BudgetedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.budget = self.budget
        return pipeline


@asynccontextmanager
async def awithin(seconds: float | None) -> AsyncIterator[None]:
    """``asyncio.timeout`` that ends in redis-py's own ``TimeoutError``."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except builtins.TimeoutError as error:
        raise TimeoutError(f"No answer within {seconds} s") from error


class AsyncBudgetedRetry(AsyncRetry):
    def __init__(self, retries: int = RETRIES) -> None:
        super().__init__(FullJitter(), retries, (ConnectionError,))


class AsyncBudgetedPipeline(redis.asyncio.client.Pipeline):
    budget: float | None = None

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        async with awithin(self.budget):
            return await super().execute(raise_on_error)


class AsyncBudgetedRedis(redis.asyncio.Redis):
    """``redis.asyncio.Redis`` whose every command, pipeline and script ends within ``budget`` seconds."""

    budget: float | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with awithin(self.budget):
            return await super().execute_command(*args, **options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> AsyncBudgetedPipeline:
        pipeline = AsyncBudgetedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.budget = self.budget
        return pipeline
