"""Connection pools: who finds every connection in use waits within their own budget, then is told so.

Lending a connection that is free costs no lock and one system call, which asks the kernel whether the server has closed
it or has said what nobody asked for. Costs no round trip.
"""

import threading
from collections import deque
from queue import Empty, Full
from typing import Any

import redis
from redis.exceptions import ConnectionError, MaxConnectionsError, TimeoutError
from redis.observability.recorder import is_enabled as is_observed
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from bergizi_redis.budget import budgeted, seconds_left
from bergizi_redis.conf import config

POOL_IS_FULL = (
    "All {} connections stayed in use: raise BERGIZI_REDIS['MAX_CONNECTIONS'] or have fewer threads or tasks."
)


class _Turn:
    """One that waits: ``come`` is released when ``item`` is there."""

    __slots__ = ("come", "item")

    def __init__(self) -> None:
        self.come = threading.Lock()
        self.come.acquire()
        self.item: Any = None


class Places:
    """The pool's places, the last given back on top; None is one whose connection is not made yet.

    In place of ``queue.LifoQueue``, which takes a lock and a condition although something is free, and where a thread
    that asks all the time takes each place before those who wait have woken. Here only who waits takes a lock, for a
    list's ``pop`` and ``append`` are one step each; and whoever waits is served in turn, before who comes later. Who
    waits gets in line *before* looking once more, and who gives back looks at the line *after* it: one sees the other.
    """

    def __init__(self, size: int) -> None:
        self.queue: list[Any] = []
        self._size = size
        self._line: deque[_Turn] = deque()
        self._lock = threading.Lock()

    def put_nowait(self, item: Any) -> None:
        if len(self.queue) >= self._size:
            raise Full
        self.queue.append(item)
        if self._line:
            self._serve()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The top one; ``Empty`` after ``timeout`` seconds, or what is left of the caller's budget."""
        if not self._line:
            try:
                return self.queue.pop()
            except IndexError:
                pass
        left = seconds_left()
        return self._wait(timeout if left is None else left)

    def _wait(self, seconds: float | None) -> Any:
        turn = _Turn()
        self._line.append(turn)
        try:
            self._serve()
            has_come = turn.come.acquire(timeout=-1 if seconds is None else seconds)
        except BaseException:  # a signal's
            if not self._leave(turn):
                self.put_nowait(turn.item)
            raise
        if not has_come and self._leave(turn):
            raise Empty
        return turn.item

    def _serve(self) -> None:
        """Hand what is free to those in line."""
        with self._lock:
            while self._line:
                try:
                    item = self.queue.pop()
                except IndexError:
                    return
                turn = self._line.popleft()
                turn.item = item
                turn.come.release()

    def _leave(self, turn: _Turn) -> bool:
        """False where the turn had come already."""
        with self._lock:
            try:
                self._line.remove(turn)
            except ValueError:
                return False
            return True


def is_ordinary(pool: Any) -> bool:
    """Whether no connection of the pool, sync or async, is to be told of maintenance or of a new token meanwhile."""
    return not pool.maint_notifications_enabled() and not pool.connection_kwargs.get("credential_provider")


class Pool(redis.BlockingConnectionPool):
    """Threads beyond ``max_connections`` wait for one within their budget, then get ``MaxConnectionsError``."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"timeout": config.REQUEST_BUDGET, "queue_class": Places, **arguments})  # type: ignore[no-untyped-call]
        self.connection_class = budgeted(self.connection_class)
        self._is_ordinary = self.cache is None and is_ordinary(self)

    @property
    def is_lean(self) -> bool:
        """Whether nothing is asked of redis-py that our shorter ways leave out: its metrics, caching and the like."""
        return self._is_ordinary and not self._in_maintenance and not is_observed()

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        if self.is_lean:
            return self.lent()
        try:
            return super().get_connection()  # type: ignore[no-untyped-call]
        except ConnectionError as error:
            if str(error) != "No connection available.":
                raise
            raise MaxConnectionsError(POOL_IS_FULL.format(self.max_connections)) from error

    def lent(self) -> Any:
        """A connection, as redis-py lends it less what it records; for a pool that ``is_lean``."""
        self._checkpid()
        places = self.pool
        try:
            connection = places.get(timeout=self.timeout)
        except Empty:
            raise MaxConnectionsError(POOL_IS_FULL.format(self.max_connections)) from None
        if connection is None:
            try:
                connection = self.make_connection()  # type: ignore[no-untyped-call]
            except BaseException:
                places.put_nowait(None)
                raise
        try:
            connection.connect()
            try:
                if connection.can_read():
                    raise ConnectionError("Connection has data")
            except (ConnectionError, TimeoutError, OSError):
                connection.disconnect()
                connection.connect()
                if connection.can_read():
                    raise ConnectionError("Connection not ready") from None
        except BaseException:
            self.returned(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        if self.is_lean:
            self.returned(connection)
        else:
            super().release(connection)  # type: ignore[no-untyped-call]

    def returned(self, connection: Any) -> None:
        """``lent``'s counterpart."""
        if connection.should_reconnect() or not self.owns_connection(connection):
            super().release(connection)  # type: ignore[no-untyped-call]
            return
        try:
            self.pool.put_nowait(connection)
        except Full:
            pass


class SentinelPool(SentinelConnectionPool, Pool):
    """The same for the primary that the Sentinels name."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:  # not where redis-py drops idle ones because the primary has changed
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.close()


class Sentinels(Sentinel):
    def __init__(self, hosts: list[tuple[str, int]], **arguments: Any) -> None:
        super().__init__(hosts, **arguments)  # type: ignore[no-untyped-call]
        for sentinel in self.sentinels:
            sentinel.connection_pool.connection_class = budgeted(sentinel.connection_pool.connection_class)

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:  # redis-py's text is every Sentinel's every option
            raise MasterNotFoundError(f"No Sentinel that answered knows the primary of {service_name!r}.") from None
