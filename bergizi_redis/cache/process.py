"""What a process knows about an alias, shared by its threads and loops (Django makes a backend object for each).

* ``hints``: which version keys an entry was found or stored with, so that the next read takes entry and versions in one
  round trip. Only a guess: the entry's own names decide.
* ``unsent``: what an outage kept from being sent, see ``unsent.py``.
* ``counters``: what ``cache.stats()`` shows.
"""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from bergizi_redis.cache.unsent import Unsent

HINTS = 16_384  # about 3 MB when full
LOG_EVERY = 10.0  # seconds between two log lines about one outage

EVENTS = ("hits", "misses", "near_hits", "stale", "stores", "errors")


class Counters:
    """Events by domain; "" is everything that belongs to no domain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)

    def add(self, event: str, domain: str = "", times: int = 1) -> None:
        with self._lock:
            self._counts[domain, event] += times

    def snapshot(self) -> dict[str, Any]:
        """``{"hits": n, …, "by_domain": {"menu": {"hits": n, …}}}``, counted since the process began."""
        with self._lock:
            counts = dict(self._counts)
        domains = sorted({domain for domain, _ in counts})
        rows = {domain: {event: counts.get((domain, event), 0) for event in EVENTS} for domain in domains}
        totals = {event: sum(row[event] for row in rows.values()) for event in EVENTS}
        return {**totals, "by_domain": {domain: row for domain, row in rows.items() if domain}}


@dataclass(slots=True)
class ProcessState:
    hints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsent: Unsent = field(default_factory=Unsent)
    counters: Counters = field(default_factory=Counters)
    logged: float = -LOG_EVERY

    def worth_logging(self) -> bool:
        """Whether the last line about an outage is long enough ago: a dead server must not flood the log."""
        now = time.monotonic()
        if now - self.logged < LOG_EVERY:
            return False
        self.logged = now
        return True

    def hint(self, key: str, version_keys: tuple[str, ...]) -> None:
        if len(self.hints) >= HINTS:
            self.hints.clear()  # refilled at one extra round trip a key; cheaper than keeping an order
        self.hints[key] = version_keys


_states: dict[tuple[str, str], ProcessState] = {}
_lock = threading.Lock()


def state_of(server: object, namespace: str) -> ProcessState:
    """The state for what one alias stores: aliases with one server and one KEY_PREFIX share their keys, so this too."""
    with _lock:
        return _states.setdefault((repr(server), namespace), ProcessState())
