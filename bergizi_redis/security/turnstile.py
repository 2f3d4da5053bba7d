"""Lets a bounded number of attempts ask Redis at a time, so that a storm of them does not look like an outage.

A command has ``REQUEST_BUDGET`` seconds from when it is sent. Without a turnstile a thousand guesses at once would
spend theirs queueing for a connection, or for their turn in the event loop, and time out although the server is well.
Those in the queue share the fate of those before them: when one of these finds the server down, nobody behind waits
to find it again, so an outage costs each at most one budget.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import ConnectionError, RedisError

from bergizi_redis.connections import is_outage

T = TypeVar("T")

WIDTH = 32  # at a time, per process and per event loop; below the pool's MAX_CONNECTIONS (100), which others share


class Outages:
    """How many outages were met; who sees the number change while queueing was preceded by one."""

    def __init__(self) -> None:
        self.met = 0
        self.last: RedisError | None = None

    def note(self, error: RedisError) -> None:
        if is_outage(error):
            self.met += 1
            self.last = error

    def check(self, met_before: int) -> None:
        if self.met != met_before:
            raise ConnectionError("An attempt just before this one found Redis down") from self.last


class Turnstile:
    """For threads."""

    def __init__(self, width: int) -> None:
        self._slots = threading.Semaphore(width)
        self._outages = Outages()

    def run(self, ask: Callable[[], T]) -> T:
        met = self._outages.met
        with self._slots:
            self._outages.check(met)
            try:
                return ask()
            except RedisError as error:
                self._outages.note(error)
                raise


class AsyncTurnstile:
    """For the tasks of one event loop."""

    def __init__(self, width: int) -> None:
        self._slots = asyncio.Semaphore(width)
        self._outages = Outages()

    async def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        met = self._outages.met
        async with self._slots:
            self._outages.check(met)
            try:
                return await ask()
            except RedisError as error:
                self._outages.note(error)
                raise


_by_process: dict[int, Turnstile] = {}
_by_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncTurnstile]" = weakref.WeakKeyDictionary()


def turnstile() -> Turnstile:
    """The one of this process: a fork must not inherit slots that threads of its parent hold."""
    return _by_process.setdefault(os.getpid(), Turnstile(WIDTH))


def async_turnstile() -> AsyncTurnstile:
    """The one of the running loop."""
    return _by_loop.setdefault(asyncio.get_running_loop(), AsyncTurnstile(WIDTH))
