"""What the link has seen of the server: which of the keys that it read have not changed since.

A key that was read over the link has a *mark*. The server tells the link of its next change, behind the reply, in the
same stream; the mark dies then. What was made of the read is good as long as all its marks live, so an answer that
comes late is harmless: its marks are dead by then, or die with the next piece of the stream.

A change made by this very process is not waited for: ``forget`` kills the marks before the call returns, and voids the
fills under way, whose replies may be older than the change.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol
from weakref import WeakValueDictionary

FILLS = 1000  # under way at once; a reader that comes on top reads from Redis, and the next one asks


class Mark:
    """Lives as long as its key has not changed since the link has read it."""

    __slots__ = ("__weakref__", "alive")

    def __init__(self) -> None:
        self.alive = True


class Shelf(Protocol):
    """Where a fill ends."""

    def filled(self, fill: "Fill") -> None: ...


class Fill:
    """One entry on its way into a near cache: its bytes, the versions it depends on, and its life, read over links."""

    __slots__ = ("asked", "data", "key", "life", "marks", "shelf", "version_keys", "versions", "void", "waits_for")

    def __init__(self, shelf: Shelf, key: str, version_keys: tuple[str, ...], asked: float) -> None:
        self.shelf = shelf
        self.key = key
        self.version_keys = version_keys
        self.asked = asked  # monotonic s, before anything is sent
        self.waits_for = 0
        self.void = False
        self.marks: list[Mark] = []
        self.versions: dict[str, bytes | None] = {}
        self.data: bytes | None = None
        self.life = 0  # ms, as PTTL has it

    def touches(self, names: Collection[str]) -> bool:
        return self.key in names or any(key in names for key in self.version_keys)


class Mirror:
    """Marks and fills of one server or cluster, in one process. ``proven`` is what the links are good for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # held for microseconds, never across a wait
        self.proven = float("-inf")  # monotonic s: all that changed on the server before this is known here
        self._marks: WeakValueDictionary[str, Mark] = WeakValueDictionary()
        self._fills: dict[str, Fill] = {}

    def begin(self, fill: Fill) -> bool:
        """False where one for the key is under way, or too many are."""
        with self.lock:
            if fill.key in self._fills or len(self._fills) >= FILLS:
                return False
            self._fills[fill.key] = fill
            return True

    def give_up(self, fill: Fill) -> None:
        fill.void = True
        with self.lock:
            if self._fills.get(fill.key) is fill:
                del self._fills[fill.key]

    def arrived(self, fill: Fill, keys: Sequence[str], values: Sequence[bytes | None]) -> None:
        """What the link read of the keys; from here on it is told of their changes."""
        with self.lock:
            for key, value in zip(keys, values, strict=True):
                mark = self._marks.get(key)
                if mark is None:
                    mark = self._marks[key] = Mark()
                fill.marks.append(mark)
                if key == fill.key:
                    fill.data = value
                else:
                    fill.versions[key] = value

    def completed(self, fill: Fill) -> None:
        """All that was asked for has arrived: into the shelf with it, unless something has changed meanwhile."""
        with self.lock:
            if self._fills.get(fill.key) is fill:
                del self._fills[fill.key]
            if not fill.void and all(mark.alive for mark in fill.marks):
                fill.shelf.filled(fill)

    def forget(self, names: Collection[str]) -> None:
        """These have changed: by this process, or as the server says."""
        with self.lock:
            self._kill(names)
            for fill in self._fills.values():
                if fill.touches(names):
                    fill.void = True

    def changed(self, names: Iterable[str]) -> None:
        """The server says so, in the stream: a reply that is still to come is younger, so no fill is voided."""
        with self.lock:
            self._kill(names)

    def _kill(self, names: Iterable[str]) -> None:
        for name in names:
            if (mark := self._marks.pop(name, None)) is not None:
                mark.alive = False

    def forget_all(self) -> None:
        """Nothing is known any more: a link is gone, the server was flushed, or slots have moved."""
        with self.lock:
            for mark in list(self._marks.values()):
                mark.alive = False
            self._marks.clear()
            for fill in self._fills.values():
                fill.void = True
            self._fills.clear()

    def forget_in_child(self) -> None:
        """After a fork, where a thread that did not come along may hold the lock."""
        self.lock = threading.Lock()
        self.proven = float("-inf")
        self.forget_all()
