"""A refusal that takes as long as a check, for sites where it must look like one (``LOCKED_LOOKS_WRONG``).

The median of this process's last failed checks is waited for, without computing anything; before there is any, a
password is hashed instead. No round trip.
"""

import asyncio
import statistics
import threading
import time
from collections import deque

from django.contrib.auth.hashers import make_password

from bergizi_redis.security.steps import Call, Steps

REMEMBERED = 64  # checks
LONGEST = 5.0  # seconds; a check that took longer was held up by something else


class Floor:
    """Shared by threads."""

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()

    def note(self, seconds: float) -> None:
        """How long a failed check took."""
        with self._lock:
            self._took.append(min(seconds, LONGEST))

    def seconds(self) -> float | None:
        with self._lock:
            return statistics.median(self._took) if self._took else None


FLOOR = Floor()


class Wait:
    """A step that takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self) -> None:
        time.sleep(self.seconds)

    async def arun(self) -> None:
        await asyncio.sleep(self.seconds)


def as_late_as_a_check() -> Steps[None]:
    seconds = FLOOR.seconds()
    yield Call(make_password, ("",)) if seconds is None else Wait(seconds)
