"""A bounded layer of tagged entries in this process, shared by its threads and loops. A hit costs no round trip.

Promise: an entry is served only while its key and the versions of its tags are those that the server has now, as far
as the link knows (``mirror.py``), and only if the link has proven within ``max_staleness`` seconds that it knows. What
this process changes is forgotten before the call returns. Values are kept as the server has them, serialized: who gets
one may change it. Redis down: nothing is served beyond ``max_staleness``, and reads go to Redis.

Bounded by ``max_bytes``, counted from keys, values and what holds them; what was not read again since it came to the
front of the queue goes first.
"""

import time
from collections.abc import Callable, Collection

from bergizi_redis.cache.envelope import digest_of, unpack
from bergizi_redis.cache.near.mirror import Fill, Mark
from bergizi_redis.cache.near.options import NearOptions
from bergizi_redis.cache.near.watch import Watch
from bergizi_redis.cache.unsent import Unsent

OVERHEAD = 700  # bytes that an entry takes beside its key and its value: the record, its marks, places in dicts
COSTS = 5  # the last stretch, in times of what computing costs, is left to Redis: early refresh is decided there


class Record:
    """One entry. ``named``: its envelope holds the tags, so that ``cache.get`` may judge it."""

    __slots__ = ("digest", "marks", "named", "payload", "size", "until", "used", "version_keys")

    def __init__(
        self, payload: bytes, digest: bytes, version_keys: tuple[str, ...], marks: tuple[Mark, ...], until: float,
        named: bool, size: int,
    ) -> None:  # fmt: skip
        self.payload = payload
        self.digest = digest
        self.version_keys = version_keys
        self.marks = marks
        self.until = until  # monotonic s
        self.named = named
        self.size = size
        self.used = False


class NearShelf:
    """What one alias keeps near. ``unsent``: while something is owed to the server, nothing comes in."""

    def __init__(self, options: NearOptions, watch_of: Callable[[], Watch], unsent: Unsent) -> None:
        self.max_bytes = options.max_bytes
        self.max_staleness = options.max_staleness
        self.bytes = 0
        self._unsent = unsent
        self._watch_of = watch_of
        self._watch = watch_of()
        self.mirror = self._watch.mirror
        self._records: dict[str, Record] = {}

    def find(self, key: str) -> Record | None:
        """The entry, if it may be served. Takes no lock."""
        record = self._records.get(key)
        if record is None:
            return None
        now = time.monotonic()
        if now >= record.until or now - self.mirror.proven > self.max_staleness:
            return None
        for mark in record.marks:
            if not mark.alive:
                return None
        record.used = True
        return record

    def want(self, key: str, version_keys: tuple[str, ...]) -> None:
        """An entry was found in Redis: have it read over the link, whose word is good for it. Never waits.

        Not where it is known here, unchanged: too near its end, or too large.
        """
        known = self._records.get(key)
        if known is not None and known.until <= time.monotonic() and all(mark.alive for mark in known.marks):
            return
        watch = self._current()
        if watch.is_resting():
            return
        fill = Fill(self, key, version_keys, time.monotonic())
        if watch.mirror.begin(fill):
            watch.submit(fill)

    def forget(self, names: Collection[str]) -> None:
        """This process has changed these keys."""
        self._current().mirror.forget(names)

    def _current(self) -> Watch:
        if self._watch.closed:  # by ``connections.disconnect_all``: what came over it is dead
            self._watch = self._watch_of()
            self.mirror = self._watch.mirror
        return self._watch

    def filled(self, fill: Fill) -> None:
        """Called by the mirror, under its lock."""
        envelope = unpack(fill.data) if fill.data is not None else None
        digest = digest_of(fill.version_keys, [fill.versions.get(name) for name in fill.version_keys])
        if envelope is None or envelope.untagged or envelope.digest != digest or self._unsent:
            return
        life = fill.life / 1000 - COSTS * envelope.cost / 1000
        if envelope.soft:
            life = min(life, envelope.created + envelope.soft - time.time())
        payload, until = envelope.payload, fill.asked + life
        around = 2 * len(fill.key) + OVERHEAD
        if len(payload) + around > self.max_bytes:
            payload, until = b"", 0.0  # remembered as too large, and not read again until it has changed
        record = Record(
            payload, envelope.digest, fill.version_keys, tuple(fill.marks), until, envelope.names is not None,
            len(payload) + around,
        )  # fmt: skip
        self._keep(fill.key, record)

    def _keep(self, key: str, record: Record) -> None:
        if (old := self._records.pop(key, None)) is not None:
            self.bytes -= old.size
        self._records[key] = record
        self.bytes += record.size
        while self.bytes > self.max_bytes:
            first = next(iter(self._records))
            oldest = self._records.pop(first)
            if oldest.used and all(mark.alive for mark in oldest.marks):
                oldest.used = False
                self._records[first] = oldest
            else:
                self.bytes -= oldest.size
