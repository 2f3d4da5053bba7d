"""What a process counts: events by tenant and domain, without a lock where they happen.

Every thread has a table of its own and is the only one that writes to it, so that counting is an addition of integers
and nothing is lost. Whoever reads adds the tables up. Cardinality: ``MOST_ROWS`` pairs of tenant and domain for each
thread; beyond them the tenants count together as ``OTHERS`` (and beyond twice as many the domains too).
"""

import threading
import weakref
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from bergizi_redis.cache.stats import BUCKETS, OTHERS, SLOWEST, Counts, Key, summary

MOST_ROWS = 4096
MOST_TABLES = 32  # beyond it those of threads that have ended are added up

Table = dict[Key, dict[str, int]]


class _Own:
    """A thread's table, and which of its rows have been written to since they were last taken."""

    __slots__ = ("__weakref__", "rows", "thread", "touched")

    def __init__(self, thread: Any) -> None:
        self.rows: Table = {}
        self.touched: Table = {}
        self.thread = weakref.ref(thread)

    @property
    def has_ended(self) -> bool:
        thread = self.thread()
        return thread is None or not thread.is_alive()


class Counters:
    """Events by tenant and domain; "" is everything that belongs to none."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child, whose parent goes on counting what it has counted."""
        self._lock = threading.Lock()
        self._local = threading.local()
        self._tables: list[_Own] = []
        self._ended: Table = {}  # sums of the threads that are gone
        self._ended_touched: set[Key] = set()
        self._taken: Table = {}

    def add(self, event: str, domain: str = "", times: int = 1, tenant: str = "") -> None:
        try:
            row = self._local.touched[tenant, domain]
        except (AttributeError, KeyError):
            row = self._row(tenant, domain)
        try:
            row[event] += times
        except KeyError:
            row[event] = times

    def hit(self, domain: str, tenant: str, size: int) -> None:
        """A hit of ``size`` bytes."""
        try:
            row = self._local.touched[tenant, domain]
        except (AttributeError, KeyError):
            row = self._row(tenant, domain)
        row["hits"] += 1
        row["read_bytes"] += size

    def took(self, seconds: float, domain: str = "", tenant: str = "") -> None:
        """A read that asked Redis has taken so long."""
        try:
            row = self._local.touched[tenant, domain]
        except (AttributeError, KeyError):
            row = self._row(tenant, domain)
        us = int(seconds * 1e6)
        bucket = BUCKETS[us.bit_length()] if us < 2**SLOWEST else BUCKETS[-1]
        row["us"] += us
        row[bucket] = row.get(bucket, 0) + 1

    def _row(self, tenant: str, domain: str) -> dict[str, int]:
        own = self._own()
        key = (tenant, domain)
        row = own.rows.get(key)
        if row is None:
            if tenant and len(own.rows) >= MOST_ROWS:
                key = (OTHERS, domain)
            if len(own.rows) >= 2 * MOST_ROWS and key not in own.rows:
                key = (OTHERS, OTHERS)
            row = own.rows.setdefault(key, {"hits": 0, "read_bytes": 0, "us": 0})
        own.touched[key] = row
        return row

    def _own(self) -> _Own:
        own: _Own | None = getattr(self._local, "own", None)
        if own is None:
            own = self._local.own = _Own(threading.current_thread())
            self._local.touched = own.touched
            with self._lock:
                if len(self._tables) >= MOST_TABLES:
                    self._fold()
                self._tables.append(own)
        return own

    def _fold(self) -> None:
        """Add up the tables of threads that have ended, so that a server with a thread a request does not grow."""
        for own in [own for own in self._tables if own.has_ended]:
            self._tables.remove(own)
            self._ended_touched.update(own.touched)
            for key, row in own.rows.items():
                _add(self._ended.setdefault(key, {}), row)

    def totals(self) -> Counts:
        """Counts by (tenant, domain) since the process began."""
        with self._lock:
            return self._sums(None)

    def _sums(self, keys: set[Key] | None) -> Table:
        sums: Table = defaultdict(dict)
        for table in (self._ended, *(own.rows for own in self._tables)):
            for key in list(table) if keys is None else keys & table.keys():
                _add(sums[key], table[key])
        return dict(sums)

    def take(self, everything: bool = False) -> Table:
        """What was counted since the last call, each event once.

        A thread that is counting this moment may leave its event to a later call; ``everything`` finds it all.
        """
        with self._lock:
            self._fold()
            keys, self._ended_touched = self._ended_touched, set()
            for own in self._tables:
                for key in list(own.touched):
                    own.touched.pop(key, None)
                    keys.add(key)
            sums = self._sums(None if everything else keys)
            taken = {key: _less(row, self._taken.get(key, {})) for key, row in sums.items()}
            self._taken.update(sums)
        return {key: row for key, row in taken.items() if row}

    def snapshot(self) -> dict[str, Any]:
        """``{"hits": n, …, "latency": {…}, "by_domain": {"menu": {"hits": n, …}}, …}`` since the process began."""
        return summary(self.totals())


def _add(total: dict[str, int], row: Mapping[str, int]) -> None:
    for event, times in list(row.items()):
        total[event] = total.get(event, 0) + times


def _less(row: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {event: left for event, times in row.items() if (left := times - before.get(event, 0))}
