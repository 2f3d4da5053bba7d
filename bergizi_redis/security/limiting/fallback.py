"""The limits of this process, for the time that Redis cannot be asked.

Promise: at most twice the limit in any window, counted by this process alone (so n processes allow up to n times as
many), in bounded memory, from any number of threads. While Redis answers it is only told what Redis says, so that an
outage begins where Redis left off. No round trip; forgotten when the process ends.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from bergizi_redis.security.limiting.limits import Quota, Verdict

CAPACITY = 10_000  # tags, about 2 MB; the one touched longest ago goes first


class LocalLimits:
    """What is owed shrinks by ``limit`` units a period, whatever the algorithm: one pair of floats a tag."""

    def __init__(self, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity = capacity
        self.clock = clock
        self._owed: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tag: (seconds of the clock, units owed)
        self._lock = threading.Lock()

    def take(self, quotas: Sequence[Quota], count: bool) -> list[Verdict]:
        """As the script does: where one that blocks refuses, none is charged."""
        with self._lock:
            now = self.clock()
            verdicts = [self._look(quota, now) for quota in quotas]
            blocked = any(verdict.refused and verdict.quota.blocks for verdict in verdicts)
            if not count or blocked:
                return verdicts
            return [verdict if verdict.refused else self._charge(verdict.quota, now) for verdict in verdicts]

    def note(self, verdicts: Sequence[Verdict]) -> None:
        """Remember what Redis said."""
        with self._lock:
            now = self.clock()
            for verdict in verdicts:
                self._put(verdict.quota.tag, now, min(verdict.count, verdict.quota.rate.limit))

    def forget(self) -> None:
        with self._lock:
            self._owed.clear()

    def __len__(self) -> int:
        return len(self._owed)

    def _units(self, quota: Quota, now: float) -> float:
        at, owed = self._owed.get(quota.tag, (now, 0.0))
        return max(0.0, owed - (now - at) * quota.rate.limit / quota.rate.seconds)

    def _look(self, quota: Quota, now: float) -> Verdict:
        owed, limit = self._units(quota, now), quota.rate.limit
        each = quota.rate.us / limit if limit else 0.0  # µs for a unit to come back
        if quota.cost > limit:  # never
            return Verdict(quota, True, round(owed), quota.rate.us, owed * each)
        over = owed + quota.cost - limit
        refused = over > 1e-9  # floats: what came back a moment ago must not be missing by rounding
        return Verdict(quota, refused, round(owed), max(0.0, over * each) if refused else 0.0, owed * each)

    def _charge(self, quota: Quota, now: float) -> Verdict:
        owed = self._units(quota, now) + quota.cost
        self._put(quota.tag, now, owed)
        return Verdict(quota, False, round(owed), 0.0, owed * quota.rate.us / quota.rate.limit)

    def _put(self, tag: str, now: float, owed: float) -> None:
        self._owed[tag] = (now, owed)
        self._owed.move_to_end(tag)
        while len(self._owed) > self.capacity:
            self._owed.popitem(last=False)


LOCAL = LocalLimits()
