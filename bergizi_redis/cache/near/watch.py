"""The thread behind a near cache: sends what is to be read over the links, and follows what the server says.

A daemon, started by the first read that wants it and ended with its last link: while a server is away there is none,
and reads go to Redis. No request waits for it: asking is an append and a byte into a pipe.
"""

import atexit
import logging
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from bergizi_redis.cache.near.link import Broken
from bergizi_redis.cache.near.links import Links
from bergizi_redis.cache.near.mirror import Fill, Mirror
from bergizi_redis.cache.near.replies import Push, Refusal, packed
from bergizi_redis.cache.near.routes import routes

logger = logging.getLogger("bergizi_redis.cache")

ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")


class Watch:
    """The mirror of one server or cluster, and the thread that keeps it true. ``staleness`` in seconds."""

    def __init__(self, client_of: Callable[[], Any], clustered: bool, staleness: float) -> None:
        self.mirror = Mirror()
        self.closed = False
        self._client_of = client_of
        self._clustered = clustered
        self._links = Links(self.mirror, clustered, staleness, self._pushed)
        self._restart()
        _watches.add(self)
        _at_first_use()

    def _restart(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._orders: deque[Fill] = deque()
        self._wake: socket.socket | None = None
        self._woken: socket.socket | None = None

    def after_fork(self) -> None:
        """In the child: the thread is the parent's, and so is what it hears."""
        self._links.leave_to_parent()
        for end in (self._wake, self._woken):
            if end is not None:
                end.close()
        self.mirror.forget_in_child()
        self._restart()

    # Called by readers

    def is_resting(self) -> bool:
        return self._links.rests_until > time.monotonic()

    def submit(self, fill: Fill) -> None:
        with self._lock:
            self._orders.append(fill)
            if self._thread is None:
                self._start()
            elif len(self._orders) == 1:
                self._rouse()

    def _start(self) -> None:
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._thread = threading.Thread(target=self._run, args=(self._woken,), name="near cache", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending
            self._end()

    def _rouse(self) -> None:
        try:
            self._wake.send(b"!")  # type: ignore[union-attr]
        except OSError:  # full, so it will wake anyway
            pass

    def close(self) -> None:
        """End the thread and its links; what a near cache holds is dead then."""
        self.closed = True
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._rouse()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    # In the thread

    def _run(self, woken: socket.socket) -> None:
        try:
            while not self.closed:
                self._send_orders()
                if not self._links and self._may_end():
                    return
                self._links.wait(woken)
        finally:
            with self._lock:
                if self._thread is threading.current_thread():
                    self._end()

    def _may_end(self) -> bool:
        """Ends, if nobody has asked for anything meanwhile."""
        with self._lock:
            if self._orders:
                return False
            self._end()
            return True

    def _end(self) -> None:
        self._links.close()
        self._links.reopen()
        for end in (self._wake, self._woken):
            if end is not None:
                end.close()
        self._wake = self._woken = self._thread = None
        self._orders.clear()
        self.mirror.forget_all()

    def _send_orders(self) -> None:
        while self._orders:
            fill = self._orders.popleft()
            try:
                if fill.void:
                    raise Broken("What it was to read has changed.")
                self._send(fill)
            except (Broken, RedisError, OSError):
                self.mirror.give_up(fill)

    def _send(self, fill: Fill) -> None:
        parts = routes(self._client_of(), (fill.key, *fill.version_keys), self._clustered)
        links = [self._links.to(route) for route in parts]
        fill.waits_for = len(parts) + 1
        for route, link in zip(parts, links, strict=True):
            try:
                link.ask(packed("MGET", *route.keys), partial(self._values, fill, route.keys))
                if fill.key in route.keys:
                    link.ask(packed("PTTL", fill.key), partial(self._life, fill))
            except Broken as error:
                self._links.lost(route.node, error)
                raise

    # What the server says

    def _pushed(self, push: Push) -> None:
        if push[:1] != [b"invalidate"]:
            return
        if push[1] is None:  # FLUSHDB, FLUSHALL
            self.mirror.forget_all()
        else:
            self.mirror.changed([name.decode("utf-8", "surrogatepass") for name in push[1]])

    def _values(self, fill: Fill, keys: tuple[str, ...], reply: Any) -> None:
        if isinstance(reply, Refusal):
            self.mirror.give_up(fill)
            if str(reply).startswith(ELSEWHERE):
                self._relearn()
        else:
            self.mirror.arrived(fill, keys, reply)
            self._count_down(fill)

    def _life(self, fill: Fill, reply: Any) -> None:
        fill.life = reply if isinstance(reply, int) else 0
        self._count_down(fill)

    def _count_down(self, fill: Fill) -> None:
        fill.waits_for -= 1
        if fill.waits_for == 0:
            self.mirror.completed(fill)

    def _relearn(self) -> None:
        """Slots have moved: nothing is known any more, and the map is asked for again."""
        self.mirror.forget_all()
        try:
            self._client_of().nodes_manager.initialize()
        except (RedisError, OSError) as error:
            logger.info("The slots cannot be asked for: %s", error, extra={"action": "near_slots_unknown"})


_watches: "weakref.WeakSet[Watch]" = weakref.WeakSet()
_hooked: list[bool] = []


def _at_first_use() -> None:
    if not _hooked:
        _hooked.append(True)
        atexit.register(_close_all)
        os.register_at_fork(after_in_child=_leave_to_parent)


def _close_all() -> None:
    for watch in list(_watches):
        watch.close()


def _leave_to_parent() -> None:
    for watch in list(_watches):
        watch.after_fork()
