"""Starts spread evenly over time, so that a warmer does not take the database away from its visitors."""

import threading
import time
from collections.abc import Callable


class Pace:
    """At most ``rate`` starts a second, by any number of threads; None: as they come.

    A start that comes late is not made up for: after a pause there is no burst.
    """

    def __init__(self, rate: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap = 0.0 if rate is None else 1 / rate
        self._clock = clock
        self._next = clock()
        self._lock = threading.Lock()

    def book(self) -> float:
        """Seconds from now until the start that is booked by this call."""
        if not self._gap:
            return 0.0
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._gap
            return start - now

    def wait(self, stopping: threading.Event) -> bool:
        """Wait for the next start; False where ``stopping`` is set before."""
        return not stopping.wait(self.book())
