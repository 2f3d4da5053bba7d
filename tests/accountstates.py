"""Accounts as a stranger may meet them, for tests and benchmarks that look for what the answers give away."""

import math
import uuid
from collections.abc import Sequence

from django.contrib.auth.models import User

from bergizi_redis.security import lockout
from tests.passwordcount import RIGHT

CHECKED = ("unknown", "wrong", "inactive", "without a password", "locked at another tenant")
REFUSED = ("locked", "locked, right password", "locked, unknown", "capped")


def prepared(state: str) -> tuple[str, str]:
    """Make an account that is so: (name, password to try)."""
    who = uuid.uuid4().hex
    if "unknown" not in state:
        user = User(username=who, is_active=state != "inactive")
        if state == "without a password":
            user.set_unusable_password()
        else:
            user.set_password(RIGHT)
        user.save()
    if state in REFUSED:
        for _ in range(lockout.is_account_locked(who).remaining):
            lockout.record_login_attempt(who, success=False)
    if state == "locked at another tenant":
        for _ in range(lockout.is_account_locked(who).remaining):
            lockout.record_login_attempt(who, success=False, tenant="sppg-other")
    return who, RIGHT if state in ("inactive", "locked, right password") else "wrong"


def sameness(one: Sequence[float], other: Sequence[float]) -> float:
    """Probability of times that lie so far apart if nothing told them apart (Mann-Whitney U, two-sided, normal).

    Below 0.001 for a few hundred of each, an attacker can tell them apart.
    """
    ranked = sorted((value, who) for who, values in ((0, one), (1, other)) for value in values)
    ranks = sum(rank for rank, (_, who) in enumerate(ranked, 1) if who == 0)
    n, m = len(one), len(other)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))
