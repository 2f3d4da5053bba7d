"""Workers of write-behinds: they go round the shards, beside one another, until they are stopped or nothing waits.

An outage is waited for by ``run`` and raised by ``drain``. What a visit does stands in ``flushing.py``.
"""

import logging
import os
import random
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import close_old_connections
from redis.exceptions import RedisError

from bergizi_redis.cache.flushing import LEASE, Held, Visit, Visited
from bergizi_redis.cache.writes import WriteBehind
from bergizi_redis.conf import config
from bergizi_redis.connections import client
from bergizi_redis.exchange import speak

logger = logging.getLogger("bergizi_redis.cache")

SOONEST, LATEST = 0.02, 1.0  # seconds between two rounds: after one that flushed, and at most


def worker_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


@dataclass(slots=True)
class Worker:
    """Works through all shards of the write-behinds, beside other workers. Not for two threads at once."""

    behinds: Sequence[WriteBehind]
    name: str = field(default_factory=worker_name)
    lease: float = LEASE
    stopping: threading.Event = field(default_factory=threading.Event)
    done: Visited = field(default_factory=Visited)

    def run(self) -> Visited:
        """Until ``stopping`` is set. An outage is waited for."""
        pause = SOONEST
        while not self.stopping.is_set():
            try:
                flushed = self.round().flushed
            except (RedisError, Held) as error:
                logger.warning("Write-behind waits: %s", type(error).__name__, extra={"action": "behind_held"})
                flushed = 0
            pause = SOONEST if flushed else min(pause * 2, LATEST)
            self.stopping.wait(pause)
        return self.done

    def drain(self) -> Visited:
        """Until nothing waits any more, or ``stopping``; retries are waited for. Raises ``RedisError``, ``Held``."""
        pause = SOONEST
        while not self.stopping.is_set() and self.waiting():
            pause = SOONEST if self.round().flushed else min(pause * 2, LATEST)
            self.stopping.wait(pause)
        return self.done

    def round(self) -> Visited:
        """Each shard once, in random order, so that workers spread."""
        shards = [(behind, shard) for behind in self.behinds for shard in behind.all_shards()]
        random.shuffle(shards)
        done = Visited()
        close_old_connections()
        try:
            for behind, shard in shards:
                if self.stopping.is_set():
                    break
                done += Visit(behind, shard, self.name, self.lease, self.stopping).run() or Visited()
        finally:
            self.done += done
        return done

    def waiting(self) -> int:
        """Writes that are neither flushed nor dead, and letters that are to be replayed."""
        server = client(config.WRITE_BEHIND_ALIAS)
        found = [speak(shard.status(), server) for behind in self.behinds for shard in behind.all_shards()]
        return sum(status.waiting + status.replayed for status in found)
