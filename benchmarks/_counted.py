"""Django's bcrypt hasher, which counts the passwords that it checks. Its cost is in BENCH_COST."""

import os
from itertools import count

from django.contrib.auth.hashers import BCryptSHA256PasswordHasher

_checks = count()  # next() of it is atomic
_seen = 0


def checks() -> int:
    """How many passwords were checked until now."""
    global _seen
    total = next(_checks) - _seen
    _seen += 1  # this look was no check
    return total


class CountedHasher(BCryptSHA256PasswordHasher):
    rounds = int(os.environ.get("BENCH_COST", "12"))

    def verify(self, password: str, encoded: str) -> bool:
        next(_checks)
        return super().verify(password, encoded)
