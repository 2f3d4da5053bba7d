"""One RESP3 connection to one primary: what was read over it is tracked by the server, which tells of each change.

Default tracking, not broadcast: the server remembers the keys that this link has read, and tells it of these alone
(why: docs/why.md). A *probe* goes over the link four times in each ``max_staleness``: its answer comes behind every
push for what changed before, so it proves what the near cache knows; it also says whether this is still a primary, and
with a cluster whether slots have moved.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError, ResponseError

from bergizi_redis.cache.near.replies import Garbled, Push, Refusal, Replies, packed
from bergizi_redis.connections import tracked_connection

PIECE = 65536
PROBES = 4  # in each max_staleness
PROBE = packed("HELLO")
SLOTS = packed("CLUSTER", "SLOTS")

Answer = Callable[[Any], None]


class Broken(Exception):
    """The link cannot be relied on any more; the message says why."""


class Refused(Broken):
    """The server will not do this: without RESP3, or the ACL forbids it. Trying again soon is no use."""


class Link:
    """Opened by its constructor; used by one thread. Raises ``Broken``."""

    def __init__(self, pool: Any, clustered: bool, pushed: Callable[[Push], None]) -> None:
        self._connection = tracked_connection(pool)
        self._clustered = clustered
        self._pushed = pushed
        self._replies = Replies()
        self._expected: deque[Answer] = deque()
        self._slots: Any = None
        self._probes = 0
        self.slots_moved = False
        self.probed = self.proven = time.monotonic()  # sent, and sent with an answer, monotonic s
        try:
            self._connection.connect()
            self._connection.send_command("CLIENT", "TRACKING", "ON")
            self._connection.read_response()
        except ResponseError as error:
            self.close()
            raise Refused(str(error)) from error
        except (RedisError, OSError) as error:
            self.close()
            raise Broken(str(error)) from error
        self.socket: Any = self._connection._sock

    def fileno(self) -> int:
        return int(self.socket.fileno())

    def ask(self, command: bytes, answer: Answer) -> None:
        try:
            self.socket.sendall(command)
        except OSError as error:
            raise Broken(str(error)) from error
        self._expected.append(answer)

    def probe(self) -> None:
        """Every ``PROBES`` times a cluster is asked for its slots too, which costs it more than the probe itself."""
        sent = self.probed = time.monotonic()
        if self._clustered and self._probes % PROBES == 0:
            self.ask(SLOTS, self._compare)
        self._probes += 1
        self.ask(PROBE, lambda reply: self._prove(sent, reply))

    def _prove(self, sent: float, reply: Any) -> None:
        if not isinstance(reply, dict) or reply.get(b"role") != b"master":
            raise Broken("The server is no primary any more.")
        self.proven = sent

    def _compare(self, reply: Any) -> None:
        if isinstance(reply, Refusal):  # the ACL forbids it; a slot's move is seen by the keys that go with it
            return
        self.slots_moved |= self._slots is not None and self._slots != reply
        self._slots = reply

    def read(self) -> None:
        """Read what has arrived, and hand it on in order. Call it when there is something to read."""
        while True:
            try:
                data = self.socket.recv(PIECE)
            except TimeoutError:  # the beginning of a TLS record
                return
            except OSError as error:
                raise Broken(str(error)) from error
            if not data:
                raise Broken("The server closed the connection.")
            try:
                for reply in self._replies.feed(data):
                    self._handle(reply)
            except Garbled as error:
                raise Broken(str(error)) from error
            if not getattr(self.socket, "pending", int)():  # of TLS: decrypted, so no selector tells of it
                return

    def _handle(self, reply: Any) -> None:
        if isinstance(reply, Push):
            self._pushed(reply)
        elif self._expected:
            self._expected.popleft()(reply)
        else:
            raise Broken("The server answered what nobody asked.")

    def close(self) -> None:
        self._connection.disconnect()
