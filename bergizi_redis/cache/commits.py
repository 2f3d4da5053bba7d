"""The moment of COMMIT: a fence goes up before it and comes down after it.

No class of Django's is patched: the connection object's own ``commit``, ``rollback`` and ``set_autocommit`` are
wrapped. What was touched in a savepoint that is rolled back is gone by then; a rollback sends nothing. A COMMIT that
fails, or whose connection is lost so that nobody knows, takes the fence down all the same: the versions are new, which
costs a miss and never a lie. Behind a replica (``REPLICA_LAG``) the fence stands until the replica has caught up.

Redis down: see ``outbox.py`` – the write is refused, noted in the outbox table in the same transaction, or goes on and
is owed to this process's next read.
"""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeVar

from bergizi_redis import points
from bergizi_redis.cache import fences, outbox
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.transactions import Made, is_open, pending_of, written_on
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange

T = TypeVar("T")


class Fence:
    """The fence of one transaction, up from the moment it is made."""

    __slots__ = ("_cache", "_writer", "stands", "version_keys")

    def __init__(self, cache: TaggedRedisCache, version_keys: Collection[str]) -> None:
        self._cache = cache
        self.version_keys = frozenset(version_keys)
        self._writer = fences.new_writer()
        exchange = fences.put_up(self.version_keys, self._writer, config.FENCE_SECONDS, cache.clustered)
        self.stands = self._ask(exchange, False) is not False

    def take_down(self) -> Made:
        """After the outcome is known; behind a replica it runs out when the replica has caught up.

        The versions that stand from here on, None where somebody else wrote meanwhile (``fences.take_down``).
        """
        made: Made = dict.fromkeys(self.version_keys)
        if not self.stands:  # it may have come up all the same, its answer too late: then nothing could be stored
            self._ask(self._lowering(), None)
            self._cache.bump(self.version_keys, is_strict=False)
            return made
        if config.REPLICA_LAG:
            exchange = fences.put_up(self.version_keys, self._writer, config.REPLICA_LAG, self._cache.clustered)
            self._ask(exchange, None)
            return made
        return made | (self._ask(self._lowering(), None) or {})

    def _ask(self, exchange: Exchange[Any], otherwise: Any) -> Any:
        """Redis down raises nothing: the write has a policy, and after its COMMIT there is nothing to refuse."""
        return self._cache.ask(exchange, otherwise, bumped=self.version_keys, is_strict=False)

    def _lowering(self) -> Exchange[dict[str, bytes]]:
        return fences.take_down(self.version_keys, self._writer, self._cache.clustered)


def fenced(connection: Any, version_keys: Collection[str], act: Callable[[], T]) -> T:
    """``act`` – a COMMIT, or a statement that commits itself – between fence and release. Two round trips.

    Raises ``RedisUnavailable``, with the transaction rolled back, where the write is refused while Redis is down.
    """
    if points.hold is not None:
        points.hold("before_fence")
    try:
        fence = Fence(tagged_cache(), version_keys)
        is_noted = not fence.stands and outbox.is_noting(connection, version_keys)
        if is_noted:
            outbox.note(connection, version_keys)
    except BaseException:
        if is_open(connection):  # Django rolls back for a database's error alone
            connection.rollback()
        raise
    if points.hold is not None:
        act = _held(act)
    try:
        return act()
    finally:
        written_on(connection).made = fence.take_down()


def _held(act: Callable[[], T]) -> Callable[[], T]:
    """``act`` with the points around it."""

    def held() -> T:
        points.reach("before_commit")
        result = act()
        points.reach("after_commit")
        points.reach("before_release")
        return result

    return held


def fence_commits(connection: Any) -> None:
    """Let the connection's commits fence what is pending on it. Done once for a connection."""
    if hasattr(connection.commit, "fenced"):
        return
    commit, rollback, set_autocommit = connection.commit, connection.rollback, connection.set_autocommit

    @wraps(commit)
    def fenced_commit() -> None:
        committed(connection, commit)

    @wraps(rollback)
    def forgetful_rollback() -> None:
        for each in list(pending_of(connection)):
            each.version_keys = set()
        written_on(connection).forget()
        rollback()

    @wraps(set_autocommit)
    def fenced_set_autocommit(autocommit: bool, *args: Any, **kwargs: Any) -> None:
        """Turning it on commits what is open; turning it off may say BEGIN."""
        if autocommit and not connection.autocommit and not connection.in_atomic_block:
            committed(connection, lambda: set_autocommit(autocommit, *args, **kwargs))
        else:
            set_autocommit(autocommit, *args, **kwargs)
            written_on(connection).begun = False

    fenced_commit.fenced = True  # type: ignore[attr-defined]
    connection.commit = fenced_commit
    connection.rollback = forgetful_rollback
    connection.set_autocommit = fenced_set_autocommit


def committed(connection: Any, commit: Callable[[], T]) -> T:
    """Commit what is pending on the connection, fenced; without anything pending just commit."""
    pending = list(pending_of(connection))
    touched = {key for each in pending for key in each.version_keys}
    result = fenced(connection, touched, commit) if touched else commit()
    # Not after a failure: what is still open then is rolled back, which forgets it, or committed after all.
    for each in pending:
        if each.version_keys:
            each.made, each.version_keys = written_on(connection).made, set()
    written_on(connection).forget()
    return result


def release(version_keys: Collection[str]) -> None:
    """Make the versions of what was touched anew, where no commit of the connection has done so."""
    if version_keys:
        if points.hold is not None:
            points.hold("before_release")
        tagged_cache().bump(version_keys, is_strict=False)
