"""How many users have which kind of hash: counted by the database, by what stands before the salt. 3 queries.

No hash leaves the database. Bcrypt's kinds are told apart by cost, ours by pepper too.
"""

import re
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db.models import Count, Q, Value
from django.db.models.functions import StrIndex, Substr

BCRYPT = "$$2b$"  # for Django's; ours has the pepper's key id before it: name$2026$$2b$12$
KIND = re.compile(r"(\w+)(?:\$([\w-]+))?\$\$2b\$(\d\d)")
NONE, OTHER = "unusable", "unknown"


@dataclass(frozen=True, slots=True)
class HashCount:
    """``kind``: the hasher's algorithm, ``unusable`` or ``unknown``. ``cost`` of bcrypt's, ``pepper`` of ours."""

    kind: str
    users: int
    cost: int | None = None
    pepper: str | None = None


def hash_counts(using: str | None = None) -> list[HashCount]:
    """Of all users, the most frequent first. Raises ``DatabaseError``."""
    manager: Any = get_user_model()._default_manager
    users = manager.using(using) if using else manager.all()
    bcrypt = Q(password__contains=BCRYPT)
    counts = [_of_bcrypt(row["kind"], row["users"]) for row in _grouped(users.filter(bcrypt), BCRYPT, len(BCRYPT) + 1)]
    none = Q(password__startswith=UNUSABLE_PASSWORD_PREFIX) | Q(password="")
    counts += [
        HashCount(row["kind"] if row["kind"].isidentifier() else OTHER, row["users"])
        for row in _grouped(users.exclude(bcrypt).exclude(none), "$", -1)
    ]
    if unusable := users.filter(none).count():
        counts.append(HashCount(NONE, unusable))
    return sorted(counts, key=lambda count: (-count.users, count.kind))


def _grouped(users: Any, mark: str, more: int) -> Any:
    """Users by what stands before ``mark``, and ``more`` characters from there."""
    kind = Substr("password", 1, StrIndex("password", Value(mark)) + more)
    return users.order_by().annotate(kind=kind).values("kind").annotate(users=Count("pk"))


def _of_bcrypt(kind: str, users: int) -> HashCount:
    found = KIND.fullmatch(kind)
    return HashCount(found[1], users, int(found[3]), found[2]) if found else HashCount(OTHER, users)
