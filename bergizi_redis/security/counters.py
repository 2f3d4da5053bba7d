"""What the lockout of this process did, in numbers: for metrics and tests. No round trip.

| counter | counts |
| --- | --- |
| ``allowed`` · ``succeeded`` · ``locked`` | attempts that were checked; that were right; locks closed |
| ``refused.<reason>`` | attempts refused, by ``account``, ``capped``, ``device``, ``address``, ``network`` |
| ``outage.<mode>`` | questions that met an outage, by what was done: ``degrade``, ``closed``, ``open`` |
| ``outage.pool`` | attempts refused because every connection was in use |
| ``replayed`` · ``replay.dropped`` | failures of an outage that were added to Redis; that were too many to remember |
"""

import threading
from collections import Counter

_lock = threading.Lock()
_counts: Counter[str] = Counter()


def add(name: str, times: int = 1) -> None:
    with _lock:
        _counts[name] += times


def counts() -> dict[str, int]:
    """By name, since the process began."""
    with _lock:
        return dict(_counts)
