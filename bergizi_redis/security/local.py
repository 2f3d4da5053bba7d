"""The limiter of this process, for the time that Redis cannot be asked.

Promise: the same limit, counted by this process alone (so n processes allow up to n times as many), in bounded
memory, from any number of threads. While Redis answers, the limiter only notes what it says, and so begins an outage
where Redis left off. No round trip; forgotten when the process ends.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bergizi_redis.security.account import NOT_LOCKED, Debit, Limits, new_generation
from bergizi_redis.security.status import LockStatus

CAPACITY = 10_000  # accounts, about 3 MB; the one touched longest ago goes first


@dataclass(slots=True)
class Count:
    generation: str
    failures: int = 0
    forgotten_at: float = 0.0  # seconds of the limiter's clock
    locked_until: float | None = None

    def left_ms(self, now: float) -> int:
        return NOT_LOCKED if self.locked_until is None else max(1, round((self.locked_until - now) * 1000))


class LocalLimiter:
    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity = capacity
        self.clock = clock
        self._counts: OrderedDict[str, Count] = OrderedDict()
        self._lock = threading.Lock()

    def debit(self, tag: str, limits: Limits) -> Debit:
        with self._lock:
            now = self.clock()
            count = self._current(tag, now) or self._put(tag, Count(new_generation()))
            if count.locked_until is not None:
                return Debit(False, limits.status(0, count.left_ms(now)), False, "", local=True)
            count.failures += 1
            count.forgotten_at = now + limits.window_ms / 1000
            closed = count.failures >= limits.attempts
            if closed:
                count.locked_until = count.forgotten_at = now + limits.lock_ms / 1000
            status = limits.status(count.failures, count.left_ms(now))
            return Debit(count.failures <= limits.attempts, status, closed, count.generation, local=True)

    def is_full(self, tag: str, limit: int) -> bool:
        with self._lock:
            count = self._current(tag, self.clock())
            return count is not None and count.failures >= limit

    def give_back(self, tags: Iterable[str]) -> None:
        """Take back one failure of each: a network's, whose others stay."""
        with self._lock:
            now = self.clock()
            for count in filter(None, (self._current(tag, now) for tag in tags)):
                count.failures -= 1
                count.locked_until = None

    def settle(self, tag: str, generation: str) -> bool:
        """Forget the round; whether that opened a lock. A generation of "" means whichever it is."""
        with self._lock:
            count = self._current(tag, self.clock())
            if count is None or generation not in ("", count.generation):
                return False
            del self._counts[tag]
            return count.locked_until is not None

    def status(self, tag: str, limits: Limits) -> LockStatus:
        with self._lock:
            now = self.clock()
            count = self._current(tag, now)
            return limits.status(count.failures, count.left_ms(now)) if count else limits.status(0, NOT_LOCKED)

    def note(self, tag: str, debit: Debit, limits: Limits) -> None:
        """Remember what Redis said of this account."""
        with self._lock:
            now = self.clock()
            count = Count(debit.generation, debit.status.failures, now + limits.window_ms / 1000)
            if debit.status.locked:
                count.locked_until = count.forgotten_at = now + debit.status.retry_after
                if not debit.closed and (known := self._current(tag, now)):
                    count.generation = known.generation  # a refusal does not say which round closed the lock
            self._put(tag, count)

    def _current(self, tag: str, now: float) -> Count | None:
        count = self._counts.get(tag)
        if count is None or count.forgotten_at <= now:
            return None
        self._counts.move_to_end(tag)
        return count

    def _put(self, tag: str, count: Count) -> Count:
        self._counts[tag] = count
        self._counts.move_to_end(tag)
        while len(self._counts) > self.capacity:
            self._counts.popitem(last=False)
        return count


limiter = LocalLimiter()
