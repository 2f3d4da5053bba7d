"""The time budget of one command: a deadline for everything it does – waiting for a connection, connecting, TLS, the
handshake, writing, reading, retrying – where redis-py bounds each wait alone.

Sync: ``within(seconds)`` puts the deadline into a context variable; the earliest one holds. ``BudgetedSocket`` clips
every wait to what is left, and ``retries.py`` begins nothing that cannot end in time. Async: ``asyncio.timeout`` bounds
the whole, and what is left of an outer ``within`` bounds that. Looking a host name up is the system resolver's time,
which a thread cannot bound: name the server by address, or set ``options timeout:1 attempts:1`` for the resolver."""

import asyncio
import builtins
import select
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from types import TracebackType
from typing import Any

from redis.connection import HiredisRespSerializer
from redis.exceptions import RedisError, TimeoutError

from bergizi_redis.circuit import circuit_of
from bergizi_redis.packing import Packer

_deadline: ContextVar[float | None] = ContextVar("bergizi_redis_deadline", default=None)

SHORTEST = 0.001  # seconds; what has arrived already is still read, and 0 would mean "do not block" to a socket
GRAIN = 1 / 32  # seconds; a wait may end this much before the budget does, never after it
POLL = getattr(select, "poll", None)  # Windows has none


class within:  # noqa: N801 – read as a phrase: with within(0.8):
    """Bound what runs inside to ``seconds`` from now, or to an outer bound that ends before. None: no bound."""

    __slots__ = ("_seconds", "_token")

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._token = None
        if self._seconds is not None:
            outer, deadline = _deadline.get(), time.monotonic() + self._seconds
            if outer is None or deadline < outer:
                self._token = _deadline.set(deadline)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _deadline.reset(self._token)


def seconds_left() -> float | None:
    """Seconds until the deadline in force, at least ``SHORTEST``; None without one."""
    deadline = _deadline.get()
    return None if deadline is None else max(SHORTEST, deadline - time.monotonic())


def clipped(seconds: float | None) -> float | None:
    """The wait, or what is left of the budget where that is less. None: no bound."""
    left = seconds_left()
    return seconds if left is None else min(left, left if seconds is None else seconds)


class awithin:  # noqa: N801 – as above
    """``asyncio.timeout`` that heeds an outer ``within`` and ends in redis-py's own ``TimeoutError``."""

    __slots__ = ("_bound", "_timer")

    def __init__(self, seconds: float | None) -> None:
        self._bound = seconds

    async def __aenter__(self) -> None:
        self._bound = clipped(self._bound)
        self._timer = asyncio.timeout(self._bound)
        await self._timer.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self._timer.__aexit__(kind, error, at)
        except builtins.TimeoutError as late:
            error = late
        if isinstance(error, builtins.TimeoutError):
            raise no_answer(self._bound) from error


def no_answer(bound: float | None) -> TimeoutError:
    return TimeoutError(f"No answer within {bound:.3g} s" if bound else "No answer in time")


class asking:  # noqa: N801 – read as a verb: with asking(pool, 0.8):
    """One question to the server behind a pool: within the budget, and told to the pool's circuit."""

    __slots__ = ("_budget", "_circuit", "_token")

    def __init__(self, pool: Any, budget: float | None) -> None:
        self._circuit = circuit_of(pool)
        self._budget = budget

    def __enter__(self) -> None:
        budget = self._circuit.allowance(self._budget)
        self._token = None
        if budget is not None:
            outer, deadline = _deadline.get(), time.monotonic() + budget
            if outer is None or deadline < outer:
                self._token = _deadline.set(deadline)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._token is not None:
            _deadline.reset(self._token)
        if error is None:
            self._circuit.answered()
        elif isinstance(error, RedisError):
            self._circuit.failed(error)


class aasking:  # noqa: N801 – as above
    """The same for a loop."""

    __slots__ = ("_bound", "_budget", "_circuit", "_pool", "_timer")

    def __init__(self, pool: Any, budget: float | None) -> None:
        self._pool, self._circuit, self._budget = pool, circuit_of(pool), budget

    async def __aenter__(self) -> None:
        self._bound = clipped(self._circuit.allowance(self._budget))
        self._timer = asyncio.timeout(self._bound)
        await self._timer.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self._timer.__aexit__(kind, error, at)
        except builtins.TimeoutError as late:
            error = late
        if isinstance(error, builtins.TimeoutError):
            if self._pool.can_get_connection():  # else it may have waited for one, and the server was not asked
                self._circuit.silent()
            raise no_answer(self._bound) from error
        if error is None:
            self._circuit.answered()
        elif isinstance(error, RedisError):
            self._circuit.failed(error)


class BudgetedSocket:
    """A socket whose every wait is clipped to what is left of the budget, so that many short waits cannot add up.

    To the last ``GRAIN`` before it: setting a time-out is a system call, and most commands then need none.
    """

    __slots__ = ("_applied", "_events", "_socket", "_timeout")

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._timeout = self._applied = socket.gettimeout()
        self._events: Callable[[int], Any] | None = None
        if POLL is not None and not hasattr(socket, "pending"):  # what TLS has read ahead, the kernel knows nothing of
            poll = POLL()
            poll.register(socket, select.POLLIN)
            self._events = poll.poll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout = seconds

    def is_silent(self) -> bool:
        """Whether it is known that nothing can be read, neither data nor an end; one system call."""
        return self._events is not None and not self._events(0)

    def _clip(self) -> Any:
        wait, deadline = self._timeout, _deadline.get()
        if deadline is not None:
            left = deadline - time.monotonic()
            left = left - left % GRAIN if left > 4 * GRAIN else max(SHORTEST, left)
            if wait is None or left < wait:
                wait = left
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

    _sock: Any
    _parser: Any

    @property
    def socket_connect_timeout(self) -> float | None:
        return clipped(self._socket_connect_timeout)  # asked anew for each address of the host

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, value: float | None) -> None:
        self._socket_connect_timeout = value

    def _construct_command_packer(self, packer: Any) -> Any:
        chosen = super()._construct_command_packer(packer)  # type: ignore[misc]
        return Packer() if type(chosen) is HiredisRespSerializer else chosen

    def connect(self) -> None:
        if self._sock is None:
            super().connect()  # type: ignore[misc]

    def _connect(self) -> BudgetedSocket:
        socket = super()._connect()  # type: ignore[misc]
        socket.settimeout(self._socket_timeout)  # type: ignore[attr-defined]
        return BudgetedSocket(socket)

    def _wrap_socket_with_ssl(self, socket: Any) -> Any:
        socket.settimeout(clipped(socket.gettimeout()))
        return super()._wrap_socket_with_ssl(socket)  # type: ignore[misc]

    def can_read(self, timeout: float = 0) -> bool:
        """redis-py's question before each command, in one system call where the answer is the usual no."""
        if timeout == 0 and isinstance(self._sock, BudgetedSocket) and self._sock.is_silent():
            reader = getattr(self._parser, "_reader", None)  # hiredis's; other parsers are asked the long way
            if reader is not None and not reader.has_data():
                return False
        readable: bool = super().can_read(timeout)  # type: ignore[misc]
        return readable

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
