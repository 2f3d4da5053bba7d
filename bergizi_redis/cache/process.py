"""What a process knows about an alias, shared by its threads and loops (Django makes a backend object for each).

* ``hints``: which version keys an entry was found or stored with, so that the next read takes entry and versions in one
  round trip. Only a guess: the entry's own names decide.
* ``unsent``: deletions and bumps that could not be sent because Redis was down. They are sent before anything else is
  asked; until that succeeds every read of this process is a miss, so it never serves what it knows to be void.
* ``counters``: what ``cache.stats()`` shows.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

logger = logging.getLogger("bergizi_redis.cache")

HINTS = 8192
UNSENT = 10_000
UNSENT_KEYS = 100_000
LOG_EVERY = 10.0  # seconds between two log lines about one outage

EVENTS = ("hits", "misses", "near_hits", "stale", "stores", "errors")


class Counters:
    """Events by domain; "" is everything that belongs to no domain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

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
    unsent_keys: set[str] = field(default_factory=set)
    unsent_versions: set[str] = field(default_factory=set)
    counters: Counters = field(default_factory=Counters)
    logged: float = -LOG_EVERY

    @property
    def owes(self) -> bool:
        return bool(self.unsent_keys or self.unsent_versions)

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

    def owe(self, deleted: Iterable[str] = (), bumped: Iterable[str] = (), everything: str = "") -> None:
        """Remember what could not be sent. Beyond ``UNSENT`` the version of everything stands for all bumps, and keys
        are let go with a line in the log: they then live on until they expire."""
        self.unsent_keys.update(deleted)
        if len(self.unsent_keys) > UNSENT_KEYS:
            lost = len(self.unsent_keys) - UNSENT_KEYS
            self.unsent_keys = set(list(self.unsent_keys)[:UNSENT_KEYS])
            logger.error("%d deletions are lost in this outage: call cache.clear() after it.", lost)
        self.unsent_versions.update(bumped)
        if len(self.unsent_versions) > UNSENT:
            self.unsent_versions = {everything}


_states: dict[tuple[str, str], ProcessState] = {}
_lock = threading.Lock()


def state_of(server: object, namespace: str) -> ProcessState:
    """The state for what one alias stores: aliases with one server and one KEY_PREFIX share their keys, so this too."""
    with _lock:
        return _states.setdefault((repr(server), namespace), ProcessState())
