"""What lockout answers with: values and errors. Needs no Redis."""

import math
from dataclasses import dataclass, field

from django.core.exceptions import PermissionDenied

from bergizi_redis.exceptions import BergiziRedisError, RedisUnavailable

OUTAGE_RETRY_AFTER = 5  # seconds; a failover of Sentinel or Cluster takes about that long


def whole_seconds(ms: float) -> int:
    """Milliseconds as whole seconds, rounded up: ``Retry-After`` must not name a moment before the unlock."""
    return math.ceil(ms / 1000)


@dataclass(frozen=True, slots=True)
class LockStatus:
    """How an account stands. ``retry_after``: seconds until it unlocks, 0 when it is not locked. ``remaining``:
    password checks left before it locks. ``capped``: it stays locked until it is unlocked, whatever ``retry_after``."""

    locked: bool
    retry_after: int
    failures: int
    remaining: int
    capped: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class LockedAccount:
    """One row of ``locked_accounts``. ``identifier`` is masked; ``retry_after`` in seconds; ``capped``: it stays locked
    until it is unlocked."""

    identifier: str
    tag: str
    scope: str
    retry_after: int
    capped: bool = False


class AccountLocked(PermissionDenied, BergiziRedisError):
    """The attempt was refused before any password was checked. ``retry_after``: seconds until the next is allowed.

    ``reason``: what was used up – ``account``, ``capped``, ``device``, ``address`` or ``network``.
    """

    def __init__(self, retry_after: int, reason: str = "account") -> None:
        super().__init__(f"Too many attempts; the next one is allowed in {retry_after} s.")
        self.retry_after = retry_after
        self.reason = reason


class LockoutUnavailable(RedisUnavailable):
    """The attempt cannot be counted, so it is not allowed. ``retry_after``: seconds after which to try again."""

    def __init__(self, message: str, retry_after: int = OUTAGE_RETRY_AFTER) -> None:
        super().__init__(message)
        self.retry_after = retry_after
