"""Events that Redis could not take: kept in this process, bounded, and written when it can again.

They are in the log as well, for a process that ends takes its buffer with it. When the buffer is full the newest stay
out, so that a flood does not push out what was there before it; how many did is counted.
"""

import logging
import os
import threading
from collections import deque

from bergizi_redis.security.entries import Draft

logger = logging.getLogger("bergizi_redis.security")

MOST = 1000  # events, some 1 kB each


class Postponed:
    """For threads; a fork begins with none, for its parent still has them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._drafts: deque[Draft] = deque()
        self._owner = os.getpid()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._drafts) if self._owner == os.getpid() else 0

    def add(self, draft: Draft) -> bool:
        """Whether there was room. What comes again while the same is last here is counted as there, once."""
        with self._lock:
            self._own()
            last = self._drafts[-1] if self._drafts else None
            if draft.same and last is not None and (last.trail, last.same) == (draft.trail, draft.same):
                return True
            if len(self._drafts) >= self._most:
                self.dropped += 1
                return False
            self._drafts.append(draft)
            return True

    def take(self) -> Draft | None:
        with self._lock:
            self._own()
            return self._drafts.popleft() if self._drafts else None

    def put_back(self, draft: Draft) -> None:
        with self._lock:
            self._drafts.appendleft(draft)

    def _own(self) -> None:
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self._drafts.clear()
            self.dropped = 0


POSTPONED = Postponed()
