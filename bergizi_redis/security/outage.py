"""Whether attempts go on while Redis is down: as ``LOCKOUT_ON_OUTAGE`` says for the scope. No round trip.

Each is counted (``counters``). A full connection pool is no outage: the server may be well, and going on would count in
two places; such an attempt is refused in every mode.
"""

import logging

from redis.exceptions import MaxConnectionsError, RedisError

from bergizi_redis.conf import config
from bergizi_redis.connections import is_outage
from bergizi_redis.security import counters
from bergizi_redis.security.status import LockoutUnavailable

logger = logging.getLogger("bergizi_redis.security")

STAFF = "staff"  # in LOCKOUT_ON_OUTAGE: the admin's log-in, which is counted in the scope "password"


def mode_of(scope: str) -> str:
    """``degrade``, ``closed`` or ``open``."""
    modes = config.LOCKOUT_ON_OUTAGE
    if isinstance(modes, str):
        return modes
    return modes.get(scope) or modes.get("*") or ("degrade" if scope == "password" else "closed")


def degrades(error: RedisError, action: str, scope: str) -> bool:
    """Whether to go on without Redis. ``LockoutUnavailable`` where attempts must not go on; False: not an outage."""
    if isinstance(error, MaxConnectionsError):
        counters.add("outage.pool")
        raise LockoutUnavailable("Every connection is in use; attempts cannot be counted.", retry_after=1) from error
    if not is_outage(error):
        return False
    mode = mode_of(scope)
    counters.add(f"outage.{mode}")
    logger.error("Redis cannot count attempts (%s): %s", error, mode, extra={"action": action, "mode": mode})
    if mode == "closed":
        raise LockoutUnavailable(f"Redis cannot be asked, and LOCKOUT_ON_OUTAGE is 'closed' for {scope!r}.") from error
    return True
