"""Many readers at once, and a way to know that all but one are waiting: no test guesses by sleeping."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bergizi_redis.cache.flights import Flight, Pause

DEADLINE = 60.0  # seconds; for what takes milliseconds on an idle machine


class Waiters:
    """Counts who waits for a flight, and for a lease of another process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flights = threading.Semaphore(0)
        self.polls = threading.Semaphore(0)
        wait, awaiting, here, awaiting_here = Flight.wait, Flight.awaiting, Pause.here, Pause.awaiting

        def counted_wait(flight: Flight, seconds: float) -> Any:
            self.flights.release()
            return wait(flight, seconds)

        async def counted_awaiting(flight: Flight, seconds: float) -> Any:
            self.flights.release()
            return await awaiting(flight, seconds)

        def counted_here(pause: Pause) -> Any:
            if pause.flight is None:
                self.polls.release()
            return here(pause)

        async def counted_awaiting_here(pause: Pause) -> Any:
            if pause.flight is None:
                self.polls.release()
            return await awaiting_here(pause)

        monkeypatch.setattr(Flight, "wait", counted_wait)
        monkeypatch.setattr(Flight, "awaiting", counted_awaiting)
        monkeypatch.setattr(Pause, "here", counted_here)
        monkeypatch.setattr(Pause, "awaiting", counted_awaiting_here)

    def expect(self, number: int) -> None:
        """Return when so many more have begun to wait for a flight."""
        for _ in range(number):
            assert self.flights.acquire(timeout=DEADLINE), "nobody waits"

    def expect_poll(self) -> None:
        assert self.polls.acquire(timeout=DEADLINE), "nobody waits for the lease"

    def expect_nobody(self) -> None:
        """Nobody has waited, but for those expected before."""
        assert not self.flights.acquire(blocking=False), "somebody waits for another thread or task"
        assert not self.polls.acquire(blocking=False), "somebody waits for another process"


class Threads:
    """Threads that run ``act``; what they return, and what they raise, by the time ``join`` is over."""

    def __init__(self, number: int, act: Callable[[], Any]) -> None:
        self.results: list[Any] = []
        self.errors: list[BaseException] = []
        self._act = act
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(number)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        try:
            self.results.append(self._act())
        except BaseException as error:
            self.errors.append(error)

    def join(self) -> "Threads":
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a thread hangs"
        return self
