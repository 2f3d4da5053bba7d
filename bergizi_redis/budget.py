"""The time budget of one command: a deadline for everything it does – waiting for a connection, connecting, TLS, the
handshake, writing, reading, retrying – where redis-py bounds each wait alone.

Sync: ``within(seconds)`` puts the deadline into a context variable; the earliest one holds. ``BudgetedSocket`` clips
every wait to what is left, ``BudgetedRetry`` does not start what cannot end in time. Async: ``asyncio.timeout`` bounds
the whole, and what is left of an outer ``within`` bounds that. Looking a host name up is the system resolver's time,
which a thread cannot bound: name the server by address, or set ``options timeout:1 attempts:1`` for the resolver."""

import asyncio
import builtins
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import redis
import redis.client
from redis.backoff import AbstractBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    MaxConnectionsError,
    RedisError,
    TimeoutError,
)
from redis.retry import Retry

from bergizi_redis.circuit import circuit_of

_deadline: ContextVar[float | None] = ContextVar("bergizi_redis_deadline", default=None)

SHORTEST = 0.001  # seconds; what has arrived already is still read, and 0 would mean "do not block" to a socket
RETRIES = 2


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Bound what runs inside to ``seconds`` from now, or to an outer bound that ends before. None: no bound."""
    outer = _deadline.get()
    deadline = None if seconds is None else time.monotonic() + seconds
    if deadline is None or (outer is not None and outer <= deadline):
        yield
        return
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left() -> float | None:
    """Seconds until the deadline in force, at least ``SHORTEST``; None without one."""
    deadline = _deadline.get()
    return None if deadline is None else max(SHORTEST, deadline - time.monotonic())


def clipped(seconds: float | None) -> float | None:
    """The wait, or what is left of the budget where that is less. None: no bound."""
    left = seconds_left()
    return seconds if left is None else min(left, left if seconds is None else seconds)


@asynccontextmanager
async def awithin(seconds: float | None) -> AsyncIterator[None]:
    """``asyncio.timeout`` that heeds an outer ``within`` and ends in redis-py's own ``TimeoutError``."""
    bound = clipped(seconds)
    try:
        async with asyncio.timeout(bound):
            yield
    except builtins.TimeoutError as error:
        raise TimeoutError(f"No answer within {bound:.3g} s" if bound else "No answer in time") from error


@contextmanager
def asking(pool: Any, budget: float | None) -> Iterator[None]:
    """One question to the server behind a pool: within the budget, and told to the pool's circuit."""
    circuit = circuit_of(pool)
    try:
        with within(circuit.allowance(budget)):
            yield
    except RedisError as error:
        circuit.failed(error)
        raise
    else:
        circuit.answered()


@asynccontextmanager
async def aasking(pool: Any, budget: float | None) -> AsyncIterator[None]:
    """The same for a loop."""
    circuit = circuit_of(pool)
    try:
        async with awithin(circuit.allowance(budget)):
            yield
    except RedisError as error:
        circuit.failed(error)
        raise
    else:
        circuit.answered()


class FullJitter(AbstractBackoff):
    """Seconds to wait before try n: uniform in 0…min(cap, base·2ⁿ), the exponent clamped so that it cannot overflow.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, base: float = 0.008, cap: float = 0.064) -> None:
        self.base, self.cap = base, cap

    def compute(self, failures: int) -> float:
        return random.uniform(0, min(self.cap, self.base * 2 ** min(failures, 30)))  # noqa: S311 – spreads load


def worth_retrying(error: Exception) -> bool:
    """Whether trying again may help, and can still end in time. A refused password stays refused."""
    left = seconds_left()
    hopeless = isinstance(error, AuthenticationError | AuthorizationError | MaxConnectionsError)
    return not hopeless and (left is None or left > FullJitter().cap)


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
        def retryable(error: Exception) -> bool:
            return worth_retrying(error) and (is_retryable is None or is_retryable(error))

        return super().call_with_retry(do, fail, retryable, with_failure_count)


class BudgetedSocket:
    """A socket whose every wait is clipped to what is left of the budget, so that many short waits cannot add up."""

    __slots__ = ("_applied", "_socket", "_timeout")

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._timeout = self._applied = socket.gettimeout()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def _clip(self) -> Any:
        wait = clipped(self._timeout)
        if wait != self._applied:
            self._socket.settimeout(wait)
            self._applied = wait
        return self._socket

    def recv(self, *args: Any) -> Any:
        return self._clip().recv(*args)

    def recv_into(self, *args: Any) -> Any:
        return self._clip().recv_into(*args)

    def sendall(self, *args: Any) -> Any:
        return self._clip().sendall(*args)


class BudgetedConnection:
    """Mixed into a connection class of redis-py: connecting, TLS and everything after it heed the budget."""

    @property
    def socket_connect_timeout(self) -> float | None:
        return clipped(self._socket_connect_timeout)  # asked anew for each address of the host

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        self._socket_connect_timeout = value

    def _connect(self) -> BudgetedSocket:
        socket = super()._connect()  # type: ignore[misc]
        socket.settimeout(self._socket_timeout)  # type: ignore[attr-defined]
        return BudgetedSocket(socket)

    def _wrap_socket_with_ssl(self, socket: Any) -> Any:
        socket.settimeout(clipped(socket.gettimeout()))
        return super()._wrap_socket_with_ssl(socket)  # type: ignore[misc]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        # redis-py's Sentinel connections keep the link by default: the late reply would answer the next command.
        kwargs.setdefault("disconnect_on_error", True)
        return super().read_response(*args, **kwargs)  # type: ignore[misc]


@cache
def budgeted(connection_class: type) -> type:
    """The connection class with the budget mixed in; the class itself where it has it."""
    if issubclass(connection_class, BudgetedConnection):
        return connection_class
    return type(f"Budgeted{connection_class.__name__}", (BudgetedConnection, connection_class), {})


class BudgetedPipeline(redis.client.Pipeline):
    budget: float | None = None

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with asking(self.connection_pool, self.budget):
            return super().execute(raise_on_error)

    def immediate_execute_command(self, *args: Any, **options: Any) -> Any:
        with asking(self.connection_pool, self.budget):
            return super().immediate_execute_command(*args, **options)  # type: ignore[no-untyped-call]


class BudgetedRedis(redis.Redis):
    """``redis.Redis`` whose every command, pipeline and script ends within ``budget`` seconds."""

    budget: float | None = None

    def execute_command(self, *args: Any, **options: Any) -> Any:
        with asking(self.connection_pool, self.budget):
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> BudgetedPipeline:
        pipeline = BudgetedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.budget = self.budget
        return pipeline
