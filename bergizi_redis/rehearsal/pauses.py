"""Interleavings by force: threads and tasks are held at a named point (``points.py``) until the test lets them go.

Promise: the first ``times`` to arrive are held, whoever comes later passes, and so does the thread or task that opened
the block, for it could not let itself go. Nothing waits for ever: after ``timeout`` seconds who waits and who is held
fail with a sentence that tells which points were reached. Costs no round trip; needs neither Django nor Redis.
"""

import asyncio
import contextvars
import difflib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from bergizi_redis import points

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT = 10.0  # seconds; a test that waits so long has failed

_open: "tuple[Paused, ...]" = ()
_lock = threading.Lock()


def _whereabouts() -> tuple[int, Any]:
    """Thread and task that run this."""
    try:
        return threading.get_ident(), asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return threading.get_ident(), None


class Paused:
    """One ``pause_at`` block: who is held, and what lets them go."""

    def __init__(self, point: str, times: int, timeout: float) -> None:
        self.point, self.times, self.timeout = point, times, timeout
        self.arrived = 0
        self.seen: Counter[str] = Counter()  # every point that others reached during the block
        self._owner = _whereabouts()
        self._changed = threading.Condition()
        self._gone = threading.Event()
        self._alarms: list[Callable[[], object]] = []  # each wakes a loop that waits for an arrival or for the release
        self._threads: list[threading.Thread] = []

    # For the test

    def wait(self, timeout: float | None = None) -> None:
        """Block until all ``times`` are held. ``AssertionError`` after ``timeout`` seconds."""
        with self._changed:
            if not self._changed.wait_for(self._is_full, self._seconds(timeout)):
                raise AssertionError(self._nobody(timeout))

    async def awaited(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 – as ``wait`` has it
        """``wait`` for a coroutine: the tasks of its loop go on meanwhile."""
        await self._until(self._is_full, self._nobody(timeout), timeout)

    def resume(self) -> None:
        """Let go who is held; whoever comes later passes."""
        self._gone.set()
        self._alarm()

    def start(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Call it in a thread of its own, with this tenant and context, and return when it is held at the point.

        ``AssertionError`` if it ends without coming by. What it returns, or raises, is in the future.
        """
        future: Future[T] = Future()
        context, before = contextvars.copy_context(), self.arrived

        def work() -> None:
            try:
                future.set_result(context.run(function, *args, **kwargs))
            except BaseException as error:
                future.set_exception(error)
            finally:
                _close_database_connections()
                with self._changed:
                    self._changed.notify_all()

        thread = threading.Thread(target=work, name=f"paused-{self.point}", daemon=True)
        self._threads.append(thread)
        thread.start()
        with self._changed:
            came = self._changed.wait_for(lambda: self.arrived > before or future.done(), self.timeout)
        if self.arrived == before:
            raise AssertionError(self._passed_by(future) if came else self._nobody(None))
        return future

    async def astart(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run the coroutine as a task of this loop, and return when it is held at the point."""
        before = self.arrived
        task = asyncio.create_task(coroutine)
        task.add_done_callback(lambda _: self._alarm())
        await self._until(lambda: self.arrived > before or task.done(), self._nobody(None), None)
        if self.arrived == before:
            raise AssertionError(self._passed_by(task))
        return task

    # For the points

    def arrive(self, point: str) -> bool:
        """Note who comes by; whether to hold them."""
        here = _whereabouts()
        if here == self._owner:
            return False
        with self._changed:
            self.seen[point] += 1
            if point != self.point or self._gone.is_set() or self._is_full():
                return False
            self.arrived += 1
            self._changed.notify_all()
        self._alarm()
        return True

    def hold(self) -> None:
        if self._owner[0] == threading.get_ident():
            raise AssertionError(
                f"A blocking call reached {self.point!r} in the event loop that is to let it go. Await its async twin, "
                "or call it through asyncio.to_thread()."
            )
        if not self._gone.wait(self.timeout):
            raise AssertionError(self._forgotten())

    async def ahold(self) -> None:
        await self._until(self._gone.is_set, self._forgotten(), None)

    # Underneath

    def end(self) -> None:
        self.resume()
        for thread in self._threads:
            thread.join(self.timeout)

    async def _until(self, holds: Callable[[], bool], otherwise: str, timeout: float | None) -> None:  # noqa: ASYNC109
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def alarm() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

        self._alarms.append(alarm)
        try:
            async with asyncio.timeout(self._seconds(timeout)):
                while not holds():
                    await event.wait()
                    event.clear()
        except TimeoutError:
            raise AssertionError(otherwise) from None
        finally:
            self._alarms.remove(alarm)

    def _alarm(self) -> None:
        for alarm in list(self._alarms):
            alarm()

    def _is_full(self) -> bool:
        return self.arrived >= self.times

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    def _reached(self) -> str:
        told = ", ".join(f"{point} ({times}x)" for point, times in self.seen.items())
        return f"Points reached by others meanwhile: {told or 'none'}."

    def _nobody(self, timeout: float | None) -> str:
        return (
            f"{self.arrived} of {self.times} came to {self.point!r} within {self._seconds(timeout):g} s. "
            f"{self._reached()}"
        )

    def _passed_by(self, ended: Any) -> str:
        error = ended.exception()
        how = f"raised {error!r}" if error else f"returned {ended.result()!r}"
        return f"The call {how} without coming to {self.point!r}. {self._reached()}"

    def _forgotten(self) -> str:
        return f"Held at {self.point!r} for {self.timeout:g} s, and nobody called resume(). {self._reached()}"


class Holding:
    """What stands in ``points.hold`` while a block is open."""

    def __call__(self, point: str) -> None:
        for paused in _open:
            if paused.arrive(point):
                paused.hold()

    async def awaiting(self, point: str) -> None:
        for paused in _open:
            if paused.arrive(point):
                await paused.ahold()


@contextmanager
def pausing(point: str, times: int, timeout: float) -> Iterator[Paused]:
    """The block of ``pause_at``. ``ValueError`` for a point that there is not."""
    if point not in points.POINTS:
        close = difflib.get_close_matches(point, points.POINTS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"There is no point {point!r}.{hint} The points are {', '.join(points.POINTS)}.")
    global _open
    paused = Paused(point, times, timeout)
    with _lock:
        _open = (*_open, paused)
        points.hold = Holding()
    try:
        yield paused
    finally:
        with _lock:
            _open = tuple(other for other in _open if other is not paused)
            if not _open:
                points.hold = None
        paused.end()


def _close_database_connections() -> None:
    """Those of this thread: of SQLite in memory too, whose own ``close()`` keeps them open."""
    if "django.db" in sys.modules:
        from django.db import connections
        from django.db.backends.base.base import BaseDatabaseWrapper

        for connection in connections.all(initialized_only=True):
            BaseDatabaseWrapper.close(connection)
