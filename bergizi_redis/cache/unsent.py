"""What could not be sent because Redis was down: deletions and bumps, sent before this process asks for anything else.

Until that succeeds every read of this process is a miss, so it never serves what it knows to be void. Bounded: beyond
``MOST_VERSIONS`` the version of everything stands for all bumps; beyond ``MOST_KEYS`` deletions are let go with a line
in the log, and those entries live on until they expire.
"""

import logging
import threading
from collections.abc import Collection, Iterable

logger = logging.getLogger("bergizi_redis.cache")

MOST_VERSIONS = 10_000
MOST_KEYS = 100_000


class Unsent:
    """True while something is owed. Each debt has a mark of its own: settling an older one leaves a newer one owed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, object] = {}
        self._versions: dict[str, object] = {}
        self.lost = 0

    def __bool__(self) -> bool:
        return bool(self._keys or self._versions)

    def __len__(self) -> int:
        return len(self._keys) + len(self._versions)

    def add(self, deleted: Iterable[str], bumped: Iterable[str], everything: str) -> None:
        """``everything`` is the version whose bump voids all that the others would."""
        mark = object()
        with self._lock:
            self._versions.update(dict.fromkeys(bumped, mark))
            if len(self._versions) > MOST_VERSIONS:
                self._versions = {everything: mark}
            for key in deleted:
                if key in self._keys or len(self._keys) < MOST_KEYS:
                    self._keys[key] = mark
                else:
                    self.lost += 1

    def owed(self) -> tuple[dict[str, object], dict[str, object]]:
        """(keys to delete, versions to bump) with their marks."""
        with self._lock:
            return dict(self._keys), dict(self._versions)

    def settled(self, deleted: dict[str, object], bumped: dict[str, object]) -> None:
        """What ``owed`` gave has been sent."""
        with self._lock:
            for debts, sent in ((self._keys, deleted), (self._versions, bumped)):
                for name, mark in sent.items():
                    if debts.get(name) is mark:
                        del debts[name]
            lost, self.lost = self.lost, 0
        if lost:
            logger.error(
                "Redis is back, but %d deletions of the outage were too many to keep: call cache.clear().", lost,
                extra={"action": "cache_deletions_lost"},
            )  # fmt: skip


def batched(names: Collection[str], size: int) -> list[list[str]]:
    ordered = list(names)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
