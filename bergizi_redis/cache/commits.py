"""The moment of COMMIT: a fence goes up before it and comes down after it.

No class of Django's is patched: the connection object's own ``commit`` is wrapped once something is touched in a
transaction of it. What was touched in a savepoint that is rolled back is gone by then; a rollback sends nothing. A
COMMIT that fails, or whose connection is lost so that nobody knows, takes the fence down all the same: the versions
are new, which costs a miss and never a lie. Redis down: the COMMIT goes on, and what it voids is owed to the next read.
"""

from collections.abc import Collection
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from bergizi_redis.cache import fences
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.transactions import pending_of
from bergizi_redis.conf import config


class Fence:
    """The fence of one transaction, up from the moment it is made."""

    __slots__ = ("_cache", "_stands", "_version_keys", "_writer")

    def __init__(self, cache: TaggedRedisCache, version_keys: Collection[str]) -> None:
        self._cache = cache
        self._version_keys = frozenset(version_keys)
        self._writer = fences.new_writer()
        exchange = fences.put_up(self._version_keys, self._writer, config.FENCE_SECONDS, cache.clustered)
        self._stands = cache.ask(exchange, False, bumped=self._version_keys) is not False

    def take_down(self) -> None:
        if self._stands:
            exchange = fences.take_down(self._version_keys, self._writer, self._cache.clustered)
            self._cache.ask(exchange, None, bumped=self._version_keys)
        else:
            self._cache.bump(self._version_keys)


_standing: WeakKeyDictionary[Any, Fence] = WeakKeyDictionary()


def fence_commits(connection: Any) -> None:
    """Let the connection's commits fence what is pending on it. Done once for a connection."""
    if hasattr(connection.commit, "fenced"):
        return
    commit = connection.commit

    @wraps(commit)
    def fenced_commit() -> None:
        touched = {key for batch in pending_of(connection) for key in batch.version_keys}
        if not touched:
            commit()
            return
        fence = Fence(tagged_cache(), touched)
        try:
            commit()
        except BaseException:
            fence.take_down()
            raise
        _standing[connection] = fence

    fenced_commit.fenced = True  # type: ignore[attr-defined]
    connection.commit = fenced_commit


def release(connection: Any, version_keys: Collection[str]) -> None:
    """After the commit: take its fence down, or where there was none make the versions anew."""
    fence = _standing.pop(connection, None)
    if fence is None:
        tagged_cache().bump(version_keys)
    else:
        fence.take_down()
