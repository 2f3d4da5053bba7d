"""A worker's visit to a shard of a ``WriteBehind``: flushes what waits there, entry by entry, and gives it back.

Promise: a write is flushed after all earlier ones of its entry, by one worker at a time. The lease is looked at as the
last thing before each COMMIT, so a worker that was held up for longer than its lease rolls back; what remains is one
that is held up, for that long, between this look and the COMMIT – a flush that compares tokens refuses its write too.
A worker that dies leaves its share to the next one as soon as its lease has run out.

A failing entry waits, the others go on. What is no fault of the write – the database is down, or Redis – fails nothing
and is tried again for as long as it lasts.
"""

import logging
import random
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from django.db import Error, connections, router
from django.db.models import Model
from redis.exceptions import RedisError

from bergizi_redis.cache.behind import DEAD, Shard, Taken, Waiting
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.writes import WriteBehind
from bergizi_redis.conf import config
from bergizi_redis.connections import client, is_outage
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange, speak

logger = logging.getLogger("bergizi_redis.cache")

LEASE = 30.0  # seconds
BATCH = 100  # new writes a visit
LONGEST_REASON = 500
KILLED = "The worker ended in the middle of the flush."
FOLLOWS = "An earlier write of this entry is a dead letter."


class LeaseLost(Exception):
    """Another worker has the shard: what is under way is rolled back, and flushed by that one."""


class Held(Exception):
    """The database or Redis is down; nothing was flushed, and no write is to blame."""


@dataclass(frozen=True, slots=True)
class Visited:
    """What a worker did: writes flushed (coalesced ones included), flushes that failed, writes that died."""

    flushed: int = 0
    failed: int = 0
    died: int = 0

    def __add__(self, other: "Visited") -> "Visited":
        return Visited(self.flushed + other.flushed, self.failed + other.failed, self.died + other.died)


@dataclass(slots=True)
class Visit:
    """A shard in the hands of a worker. ``lease`` in seconds; ``stopping`` ends it after the write under way."""

    behind: WriteBehind
    shard: Shard
    worker: str
    lease: float = LEASE
    stopping: threading.Event = field(default_factory=threading.Event)
    done: Visited = field(default_factory=Visited)

    def run(self, most: int = BATCH) -> Visited | None:
        """Flush what is to be flushed now; None where another worker has the shard. Raises ``RedisError``, ``Held``."""
        taken: Taken | None = self._say(self.shard.take(self.worker, self._ms, most))
        if taken is None:
            return None
        if not taken.writes and not taken.letters:
            return self.done
        try:
            for queue in queues_of(taken):
                if queue[0].name in taken.halted and queue[0].source != DEAD:
                    self._bury(queue, queue[0].failures, FOLLOWS)
                else:
                    self._flush_each(queue, taken.now)
                if self.stopping.is_set():
                    break
        except LeaseLost:
            logger.warning("Lost the lease of %s.", self.shard, extra={"action": "behind_lease_lost"})
        finally:
            with suppress(RedisError):  # it runs out
                self._say(self.shard.hold(self.worker, 0))
        return self.done

    def _flush_each(self, queue: Sequence[Waiting], now: int) -> None:
        """The writes of one entry, in order, up to the first that must wait."""
        groups = [list(queue)] if self.behind.coalesce else [[write] for write in queue]
        for group in groups:
            if group[0].due > now:
                return
            if group[0].again and not self._begin(group):
                return
            try:
                self._flush(group[-1])
            except (LeaseLost, Held):
                raise
            except Exception as error:  # whatever a flush raises
                self._failed(group, error)
                return
            if not self._say(self.shard.acknowledge(self.worker, self._ms, group)):
                raise LeaseLost
            self.done += Visited(flushed=len(group))
            if self.stopping.is_set():
                return

    def _begin(self, group: Sequence[Waiting]) -> bool:
        """Note that it is tried again, as a failure until it succeeds: a flush that kills its worker ends too."""
        first = group[0]
        if first.failures >= self.behind.max_failures:
            self._bury(group, first.failures, first.reason)
        elif not self._say(self.shard.fail(self.worker, self._ms, first, 0, KILLED)):
            raise LeaseLost
        return first.failures < self.behind.max_failures

    def _flush(self, write: Waiting) -> None:
        decode = tagged_cache().entries.decode
        try:
            ident, data = decode(write.ident), decode(write.payload)
            self.behind.flush_through(write.tenant, ident, data, write.token, self._hold)
        except (RedisUnavailable, RedisError) as error:
            if isinstance(error, RedisError) and not is_outage(error):
                raise
            raise Held("Redis cannot fence the transaction.") from error
        except Error as error:
            if is_down(connections[self.behind.using or router.db_for_write(Model)]):
                raise Held("The database cannot be asked.") from error
            raise

    def _hold(self) -> None:
        try:
            if not self._say(self.shard.hold(self.worker, self._ms)):
                raise LeaseLost
        except RedisError as error:
            raise Held("Redis cannot be asked whether the lease stands.") from error

    def _failed(self, group: Sequence[Waiting], error: Exception) -> None:
        first = group[0]
        failures, reason = first.failures + 1, f"{type(error).__name__}: {error}"[:LONGEST_REASON]
        self.done += Visited(failed=1)
        if failures >= self.behind.max_failures:
            self._bury(group, failures, reason)
            logger.error(
                "A buffered write of the domain %s is a dead letter after %d failures: %s",
                self.shard.domain, failures, type(error).__name__, extra={"action": "behind_dead"},
            )  # fmt: skip
            return
        base, longest = self.behind.backoff
        wait = min(longest, base * 2 ** min(failures - 1, 30)) * random.uniform(0.5, 1)  # noqa: S311 – spreads load
        if not self._say(self.shard.fail(self.worker, self._ms, first, int(wait * 1000), reason)):
            raise LeaseLost

    def _bury(self, queue: Iterable[Waiting], failures: int, reason: str) -> None:
        for write in queue:
            if not self._say(self.shard.bury(self.worker, self._ms, write, failures, reason)):
                raise LeaseLost
            self.done += Visited(died=1)

    @property
    def _ms(self) -> int:
        return int(self.lease * 1000)

    def _say(self, exchange: Exchange[Any]) -> Any:
        return speak(exchange, client(config.WRITE_BEHIND_ALIAS))


def queues_of(taken: Taken) -> list[list[Waiting]]:
    """By entry, in order: its letters where it is replayed, while its writes wait for a later visit; or its writes."""
    queues: dict[bytes, list[Waiting]] = {}
    for letter in taken.letters:
        queues.setdefault(letter.name, []).append(letter)
    replayed = frozenset(queues)
    for write in taken.writes:
        if write.name not in replayed:
            queues.setdefault(write.name, []).append(write)
    return list(queues.values())


def is_down(connection: Any) -> bool:
    """Whether the database cannot be asked at all, rather than having refused a write."""
    try:
        connection.close_if_unusable_or_obsolete()
        connection.ensure_connection()
        return not connection.is_usable()
    except Error:
        return True
