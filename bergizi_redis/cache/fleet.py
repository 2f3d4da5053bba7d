"""The numbers of all processes: each adds what it has counted to buckets in Redis, and anyone adds the buckets up.

Promise: every event is added once, whatever was lost on the way: a batch whose fate is unknown is sent again under its
number, and a bucket that has it takes it no more. It is counted in the minute in which it is sent, ``STATS_EVERY``
seconds after it happened at most, or with the next use of the cache. Sending is part of no read: it follows one that
was answered, after the response where Django tells of its end, and at the end of the process. In an outage the numbers
are kept and sent later; a killed process takes what it has not sent along.

Two hashes take each batch: of the minute, kept an hour, and of the hour, kept 26. A hash holds at most ``MOST_ROWS``
pairs of tenant and domain, some 700 kB then; what comes after counts under the tenant ``~``. Round trips: 1 for every
``ROWS_AT_ONCE`` rows; to read 1 for every ten buckets.
"""

import atexit
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bergizi_redis import keys
from bergizi_redis.budget import within
from bergizi_redis.cache.counters import Counters, Table
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script

MINUTE, HOUR = 60, 3600  # seconds
KEPT = {MINUTE: HOUR, HOUR: 26 * HOUR}  # seconds after the bucket's end
NAMES = {MINUTE: keys.stats_minute, HOUR: keys.stats_hour}
MOST_MINUTES = KEPT[HOUR] // 60
MOST_ROWS = 5000
ROWS_AT_ONCE = 100  # a script of about 2 ms
BATCHES_AT_ONCE = 5  # that a request or a use of the cache sends
BUCKETS_AT_ONCE = 10
AT_EXIT = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that are sent together, as often as it takes; ``at`` is Unix seconds."""

    number: int
    at: float
    rows: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Sender:
    """What of a process's counters has been sent. One of an alias's threads sends at a time; the others go on."""

    counters: Counters
    due: float = 0.0  # monotonic seconds: from then on it is sent after a request
    late: float = 0.0  # and from then on after any use of the cache
    process: str = field(default_factory=lambda: os.urandom(6).hex())
    sent: int = 0
    waiting: list[Batch] = field(default_factory=list)
    sending: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.wait()

    def wait(self) -> None:
        """Until ``STATS_EVERY`` seconds from now; for ever with 0."""
        every = config.STATS_EVERY or float("inf")
        self.due = time.monotonic() + every
        self.late = self.due + every

    def send(self, namespace: str, now: float, everything: bool = False) -> Exchange[None]:
        """Send what was counted; a driver error leaves it waiting. ``now`` is Unix seconds.

        At most ``BATCHES_AT_ONCE`` batches, and the rest the next time; ``everything`` sends all.
        """
        self.wait()
        if not self.sending.acquire(blocking=False):
            return
        try:
            left = BATCHES_AT_ONCE if not everything else float("inf")
            if left := (yield from self._say_waiting(namespace, left)):  # what was kept, in buckets of its own time
                self._wrap(self.counters.take(everything), now)
                yield from self._say_waiting(namespace, left)
            if self.waiting:
                self.due = time.monotonic()
        finally:
            self.sending.release()

    def _say_waiting(self, namespace: str, most: float) -> Exchange[float]:
        """Send what waits, ``most`` batches of it; how many more there might have been."""
        while self.waiting and most:
            yield from self._say(self.waiting[0], namespace)
            del self.waiting[0]
            most -= 1
        return most

    def _wrap(self, counts: Table, now: float) -> None:
        rows = [
            (f"{tenant}/{domain}", json.dumps(row, separators=(",", ":"))) for (tenant, domain), row in counts.items()
        ]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            self.sent += 1
            self.waiting.append(Batch(self.sent, now, tuple(rows[start : start + ROWS_AT_ONCE])))

    def _say(self, batch: Batch, namespace: str) -> Exchange[None]:
        buckets = [(span, int(batch.at // span)) for span in KEPT]
        names = [NAMES[span](number, namespace) for span, number in buckets]
        ends = [((number + 1) * span + KEPT[span]) * 1000 for span, number in buckets]
        rows = [text for row in batch.rows for text in row]
        yield from evaluate(script("stats_add"), names, (self.process, batch.number, MOST_ROWS, *ends, *rows))


def read_fleet(namespace: str, minutes: int, now: float) -> Exchange[Table]:
    """Counts of the last ``minutes``, the one under way included; beyond 60 those of whole hours."""
    if not 1 <= minutes <= MOST_MINUTES:
        raise ValueError(f"minutes is {minutes!r}; expected 1 to {MOST_MINUTES}: the numbers are kept that long.")
    span = MINUTE if minutes * 60 <= KEPT[MINUTE] else HOUR
    last = int(now // span)
    first = int((now - minutes * 60) // span) + (span == MINUTE)
    names = [NAMES[span](number, namespace) for number in range(first, last + 1)]
    counts: Table = {}
    for start in range(0, len(names), BUCKETS_AT_ONCE):
        for bucket in (yield _get(names[start : start + BUCKETS_AT_ONCE])):
            _add(counts, bucket)
    return counts


def _get(names: list[str]) -> Callable[[Any], Any]:
    def send(client: Any) -> Any:
        pipeline = client.pipeline() if hasattr(client, "get_nodes") else client.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(name)
        return pipeline.execute()

    return send


def _add(counts: Table, bucket: Mapping[bytes, bytes]) -> None:
    for field_name, data in bucket.items():
        if field_name.startswith(b"#"):
            continue
        tenant, _, domain = field_name.decode().partition("/")
        row = counts.setdefault((tenant, domain), {})
        for event, times in json.loads(data).items():
            row[event] = row.get(event, 0) + int(times)


# The end of a request, and of the process


class Sending(Protocol):
    """An alias of CACHES, as much of it as sends."""

    @property
    def sender(self) -> Sender: ...
    def send_stats(self, everything: bool = False) -> bool: ...


_aliases: dict[object, Sending] = {}


def send_at_exit(alias: Sending, store: object) -> None:
    """Have the alias send after requests and when the process ends: one alias object for each ``store``."""
    if not _aliases:
        atexit.register(send_all)
    _aliases.setdefault(store, alias)


def send_all(seconds: float = AT_EXIT) -> None:
    """Send what is left of every alias, in so many seconds in all; a server that is down is not waited for."""
    with within(seconds):
        for alias in list(_aliases.values()):
            if alias.sender.due != float("inf") and not alias.send_stats(everything=True):
                return


def send_due(**_: Any) -> None:
    """After a request: send where it is time to."""
    now = time.monotonic()
    for alias in list(_aliases.values()):
        if now >= alias.sender.due:
            alias.send_stats()


def forget_aliases() -> None:
    """For tests, whose aliases are gone when they end."""
    _aliases.clear()
