"""Work that no request waits for: posting and mailing alerts, and writing what an outage has held up.

One daemon thread a process, started with its first errand; at most ``MOST`` errands wait, and what is more is dropped,
logged and counted. An errand that fails is logged. A process that ends leaves those that wait undone.
"""

import logging
import os
import queue
import threading
from collections.abc import Callable

from django.db import close_old_connections

logger = logging.getLogger("bergizi_redis.security")

MOST = 100
Errand = Callable[[], object]


class Courier:
    """For threads; a fork begins with none of its parent's errands."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._owner = os.getpid()
        self._errands: queue.Queue[tuple[str, Errand]] = queue.Queue(self._most)
        self._once: set[str] = set()
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def send_once(self, errand: Errand, name: str) -> bool:
        """As ``send``, unless an errand of this name is waiting or under way."""
        with self._lock:
            self._own()
            if name in self._once:
                return False
            self._once.add(name)
        return self.send(errand, name)

    def send(self, errand: Errand, name: str) -> bool:
        """Have it done soon; False where too much is waiting."""
        with self._lock:
            self._own()
            try:
                self._errands.put_nowait((name, errand))
            except queue.Full:
                self.dropped += 1
                self._once.discard(name)
                logger.error("Dropped, for too much is waiting: %s", name, extra={"action": "courier_full"})
                return False
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="bergizi_redis.courier", daemon=True)
                self._thread.start()
            return True

    def _own(self) -> None:
        if self._owner != os.getpid():  # a fork has no threads of its parent's
            self._begin()

    def join(self) -> None:
        """Wait until all that was sent is done: for tests, and for commands before they end."""
        self._errands.join()

    def _work(self) -> None:
        while True:
            name, errand = self._errands.get()
            try:
                errand()
            except Exception:
                logger.exception("An errand of security failed: %s", name, extra={"action": "courier_failed"})
            finally:
                self._once.discard(name)
                close_old_connections()
                self._errands.task_done()


COURIER = Courier()
