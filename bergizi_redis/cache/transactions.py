"""What the database's transactions of this thread mean for storing: who may not leave a value behind.

* A transaction that has touched a tag sees its own rows, which nobody else can see and a rollback takes back.
* A snapshot – SQLite's deferred ``atomic``, REPEATABLE READ, SERIALIZABLE – may show rows from before a commit whose
  versions it would store under.

Decided from the connections, without configuration: no round trip, but on PostgreSQL one to the database for a value
that is to be stored from inside a transaction. A test case of Django's, which wraps each test in a transaction, counts
as no snapshot: nobody else writes then.

A coroutine's queries run in another thread, whose transaction may be open: that of a view that has called it with
``async_to_sync``. So a coroutine asks there, where any connection of the process has a transaction open, else nowhere.
"""

import inspect
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

from asgiref.sync import sync_to_async
from django.db import connections

from bergizi_redis.exchange import Exchange, Request

Made = dict[str, bytes | None]


class Pending(Protocol):
    """What a transaction has touched so far; dropped with the savepoint or the transaction that is rolled back.

    ``made``, after the commit: the versions that stand since its release, see ``Fence.take_down``.
    """

    version_keys: set[str]
    made: Made


class Written:
    """What the statements of the open transaction have written. Not undone by a savepoint: a bump too many is a miss.

    ``begun``: somebody has said BEGIN in SQL, behind Django's back. ``released``: what the last statement that
    committed itself has made anew.
    """

    __slots__ = ("__weakref__", "begun", "made", "released", "version_keys")

    def __init__(self) -> None:
        self.version_keys: set[str] = set()
        self.made: Made = {}
        self.begun = False
        self.released: frozenset[str] = frozenset()

    def forget(self) -> None:
        self.version_keys = set()
        self.begun = False


_pending: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()
_written: WeakKeyDictionary[Any, Written] = WeakKeyDictionary()
_met: WeakValueDictionary[int, Any] = WeakValueDictionary()  # by id; a step of a dict is atomic, that of a set is not


def meet(connection: Any) -> None:
    """Remember the connection, whichever thread has it."""
    _met[id(connection)] = connection


def pending_of(connection: Any) -> "WeakSet[Any]":
    """What is pending on the connection; those who add to it hold it."""
    return _pending.setdefault(connection, WeakSet())


def written_on(connection: Any) -> Written:
    """What statements have written on the connection since its last commit or rollback; pending like the others."""
    found = _written.get(connection)
    if found is None:
        found = _written[connection] = Written()
        pending_of(connection).add(found)
    return found


def is_open(connection: Any) -> bool:
    """Whether a transaction is open: Django's, one without autocommit, or one begun in SQL."""
    manual = connection.connection is not None and not connection.autocommit
    return connection.in_atomic_block or manual or (connection in _written and _written[connection].begun)


def is_test_case(connection: Any) -> bool:
    """Whether one of Django's test cases holds the transaction, which never commits."""
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def may_store(version_keys: Collection[str]) -> bool:
    """Whether what this thread computes now may be stored under these versions."""
    for connection in connections.all(initialized_only=True):
        if is_open(connection):
            if is_snapshot(connection):
                return False
            if any(not batch.version_keys.isdisjoint(version_keys) for batch in pending_of(connection)):
                return False
    return True


async def amay_store(version_keys: Collection[str]) -> bool:
    """The same for a coroutine. No thread is asked while no transaction is open in this process."""
    if not may_store(version_keys):
        return False
    if not _is_any_open():
        return True
    try:
        return await sync_to_async(may_store)(version_keys)
    except RuntimeError:  # asgiref's: that thread has ended, or waits for this task
        return False


def _is_any_open() -> bool:
    """Whether any thread of this process has a transaction open."""
    return any(connection is not None and is_open(connection) for connection in [each() for each in _met.valuerefs()])


def asking(version_keys: Collection[str]) -> Request:
    """``may_store`` as an exchange's request: it is sent nowhere."""

    def request(client: Any) -> Awaitable[bool] | bool:
        awaits = inspect.iscoroutinefunction(client.execute_command)
        return amay_store(version_keys) if awaits else may_store(version_keys)

    return request


def asked(version_keys: Collection[str]) -> Exchange[bool]:
    """``may_store`` as an exchange."""
    return bool((yield asking(version_keys)))


def void_at_commit(version_keys: Collection[str]) -> None:
    """What is voided by hand inside of a transaction is fenced by its COMMIT as well: until then a reader may store
    what the rows of before give. Nothing where commits are not watched, and in a test case, which has none."""
    for connection in connections.all(initialized_only=True):
        if is_open(connection) and hasattr(connection.commit, "fenced") and not is_test_case(connection):
            written_on(connection).version_keys.update(version_keys)


async def avoid_at_commit(version_keys: Collection[str]) -> None:
    """The same for a coroutine that a transaction's thread has called."""
    void_at_commit(version_keys)
    if _is_any_open():
        with suppress(RuntimeError):
            await sync_to_async(void_at_commit)(version_keys)


def has_written(version_keys: Collection[str]) -> bool:
    """Whether an open transaction of this thread has touched one of them: it must see its own rows, not the cache's."""
    return any(
        is_open(connection) and any(not batch.version_keys.isdisjoint(version_keys) for batch in pending_of(connection))
        for connection in connections.all(initialized_only=True)
    )


def is_snapshot(connection: Any) -> bool:
    """Whether a transaction of the connection keeps showing the rows that were there when it began."""
    if is_test_case(connection):
        return False
    level = getattr(connection, "isolation_level", None)
    match connection.vendor:
        case "sqlite":  # IMMEDIATE and EXCLUSIVE keep every other writer out
            return getattr(connection, "transaction_mode", None) not in ("IMMEDIATE", "EXCLUSIVE")
        case "postgresql":
            return getattr(level, "name", "").upper() in ("REPEATABLE_READ", "SERIALIZABLE") or _asked(connection)
        case "mysql":
            return level not in ("read committed", "read uncommitted")
        case "oracle":
            return False
    return True


def _asked(connection: Any) -> bool:
    """PostgreSQL's own answer: SQL, a role or the server's configuration may set a level that Django knows nothing of.

    Not one of the queries that Django logs and tests count. A transaction that has failed answers nothing: a snapshot.
    """
    if getattr(connection, "connection", None) is None:  # closed: nothing has been seen
        return False
    try:
        with connection.connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            level: str = cursor.fetchone()[0]
    except Exception:  # the driver's own errors, which are not Django's
        return True
    return level not in ("read committed", "read uncommitted")
