"""The links of one near cache, by node: opened when needed, followed, probed, and dropped when not to be trusted.

A link that broke is opened again for the next read after a pause (0.1 s, doubled up to 5 s; a minute where the server
refuses). With a link goes all that is known, over the others too: that is rare, and needs no further thought.
"""

import logging
import random
import selectors
import socket
import time
from collections.abc import Callable

from bergizi_redis.cache.near.link import PROBES, Broken, Link, Refused
from bergizi_redis.cache.near.mirror import Mirror
from bergizi_redis.cache.near.replies import Push
from bergizi_redis.cache.near.routes import Route

logger = logging.getLogger("bergizi_redis.cache")

PAUSE, LONGEST_PAUSE, REFUSED_PAUSE = 0.1, 5.0, 60.0  # seconds


class Links:
    """Used by one thread. ``staleness`` in seconds."""

    def __init__(self, mirror: Mirror, clustered: bool, staleness: float, pushed: Callable[[Push], None]) -> None:
        self.rests_until = 0.0  # monotonic s: before it there is no use in asking
        self._mirror = mirror
        self._clustered = clustered
        self._staleness = staleness
        self._pushed = pushed
        self._has_told = False
        self._pauses: dict[str, tuple[float, int]] = {}  # by node: until when (monotonic s), after how many failures
        self.reopen()

    def reopen(self) -> None:
        self._links: dict[str, Link] = {}
        self._selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()

    def leave_to_parent(self) -> None:
        """In the child of a fork: what comes over these links is the parent's."""
        for link in self._links.values():
            link.close()
        self._pauses = {}
        self.rests_until = 0.0
        self.reopen()

    def __bool__(self) -> bool:
        return bool(self._links)

    def to(self, route: Route) -> Link:
        """The link to the node, opened if it is time to; ``Broken`` where there is none."""
        link = self._links.get(route.node)
        if link is None:
            until, _ = self._pauses.get(route.node, (0.0, 0))
            if time.monotonic() < until:
                raise Broken("It is too early to try again.")
            try:
                link = self._links[route.node] = Link(route.pool, self._clustered, self._pushed)
                self._selector.register(link, selectors.EVENT_READ, route.node)
                link.probe()
            except Broken as error:
                self.lost(route.node, error)
                raise
            self._note_proof()
        return link

    def wait(self, woken: socket.socket) -> None:
        """Follow what arrives on the links, until the next probe is due or there is something on ``woken``."""
        self._selector.register(woken, selectors.EVENT_READ)
        try:
            ready = self._selector.select(self._seconds_to_probe())
        finally:
            self._selector.unregister(woken)
        for key, _ in ready:
            if key.fileobj is woken:
                woken.recv(4096)
            else:
                self._follow(key.data)
        self._probe()

    def _follow(self, node: str) -> None:
        link = self._links.get(node)
        if link is None:
            return
        try:
            link.read()
        except Broken as error:
            self.lost(node, error)
            return
        if link.proven == link.probed:
            self._pauses.pop(node, None)
        if link.slots_moved:
            link.slots_moved = False
            self._mirror.forget_all()
        self._note_proof()

    def _probe(self) -> None:
        now = time.monotonic()
        for node, link in list(self._links.items()):
            try:
                if now - link.proven > 2 * self._staleness:
                    raise Broken("The link has fallen silent.")
                if link.proven == link.probed and now - link.probed >= self._staleness / PROBES:
                    link.probe()
            except Broken as error:
                self.lost(node, error)

    def _seconds_to_probe(self) -> float:
        """What is due already was asked without an answer: that is looked after as often."""
        now, wait = time.monotonic(), self._staleness / PROBES
        left = [link.probed + wait - now for link in self._links.values() if link.proven == link.probed]
        return max(0.0, min([*left, wait]))

    def _note_proof(self) -> None:
        self._mirror.proven = min((link.proven for link in self._links.values()), default=float("-inf"))

    def lost(self, node: str, error: Broken) -> None:
        self._drop(node)
        _, failures = self._pauses.get(node, (0.0, 0))
        pause = REFUSED_PAUSE if isinstance(error, Refused) else min(LONGEST_PAUSE, PAUSE * 2**failures)
        pause *= random.uniform(0.5, 1)  # noqa: S311 – spreads load
        self._pauses[node] = (time.monotonic() + pause, min(failures + 1, 10))
        if not self._links:
            self.rests_until = time.monotonic() + pause
        if isinstance(error, Refused) and not self._has_told:
            self._has_told = True
            logger.warning(
                "The near cache is off, reads go to Redis: the server refused with %r. It needs RESP3 and a user with "
                "+hello and +client|tracking.", str(error),
                extra={"action": "near_cache_refused"},
            )  # fmt: skip

    def close(self) -> None:
        for node in list(self._links):
            self._drop(node)
        self._selector.close()

    def _drop(self, node: str) -> None:
        if (link := self._links.pop(node, None)) is not None:
            self._selector.unregister(link)
            link.close()
        self._mirror.forget_all()
        self._note_proof()
