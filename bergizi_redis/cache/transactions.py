"""What the database's transactions of this thread mean for storing: who may not leave a value behind.

* A transaction that has touched a tag sees its own rows, which nobody else can see and a rollback takes back.
* A snapshot – SQLite's deferred ``atomic``, REPEATABLE READ, SERIALIZABLE – may show rows from before a commit whose
  versions it would store under.

Decided from the connections, without configuration, and no round trip. A test case of Django's, which wraps each test
in a transaction, counts as no snapshot: nobody else writes then.
"""

from collections.abc import Collection
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from django.db import connections


class Pending(Protocol):
    """What a transaction has touched so far; dropped with the savepoint or the transaction that is rolled back."""

    version_keys: set[str]


_pending: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()


def pending_of(connection: Any) -> "WeakSet[Any]":
    """What is pending on the connection; those who add to it hold it."""
    return _pending.setdefault(connection, WeakSet())


def may_store(version_keys: Collection[str]) -> bool:
    """Whether what this thread computes now may be stored under these versions."""
    for connection in connections.all(initialized_only=True):
        is_open = connection.connection is not None and not connection.autocommit
        if connection.in_atomic_block or is_open:
            if is_snapshot(connection):
                return False
            if any(not batch.version_keys.isdisjoint(version_keys) for batch in pending_of(connection)):
                return False
    return True


def is_snapshot(connection: Any) -> bool:
    """Whether a transaction of the connection keeps showing the rows that were there when it began."""
    if any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        return False
    level = getattr(connection, "isolation_level", None)
    match connection.vendor:
        case "sqlite":  # IMMEDIATE and EXCLUSIVE keep every other writer out
            return getattr(connection, "transaction_mode", None) not in ("IMMEDIATE", "EXCLUSIVE")
        case "postgresql":
            return level is not None and getattr(level, "name", "").upper() not in (
                "READ_COMMITTED",
                "READ_UNCOMMITTED",
            )
        case "mysql":
            return level not in ("read committed", "read uncommitted")
        case "oracle":
            return False
    return True
