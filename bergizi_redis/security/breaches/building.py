"""Builds a list beside the one in force and puts it in its place in one step; goes on where it was killed.

Bits are gathered here and added to the bitmaps a shard at a time, so that the server works little; every
``CHECKPOINT`` lines what was gathered is sent, and then noted how far. What is sent twice is the same. A build that
nobody goes on with leaves after seven days; the list that was replaced serves for a minute more.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from redis.cluster import RedisCluster

from bergizi_redis import breachkeys
from bergizi_redis.conf import config
from bergizi_redis.connections import Role, client
from bergizi_redis.exceptions import BergiziRedisError
from bergizi_redis.security.breaches.bloom import Shape
from bergizi_redis.security.breaches.sources import Source

CHECKPOINT = 1_000_000  # lines
TOLD = 10_000  # lines between two pictures of the bar
MOST_BUFFERS = 64  # shards gathered at a time: 512 MB
CHUNK = 1 << 18  # bytes sent in one command
BUILT_MS, REPLACED_MS, PART_MS = 7 * 86_400_000, 60_000, 600_000


class BreachListError(BergiziRedisError):
    """The list cannot be built as asked."""


@dataclass(frozen=True, slots=True)
class Build:
    """How far a build is. ``replaces``: the list before, as it stood in Redis when this one took its place."""

    shape: Shape
    source: Source
    at_least: int = 1
    offset: int = 0
    lines: int = 0
    entries: int = 0
    replaces: str = ""

    def text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def read(cls, text: bytes | str) -> "Build":
        facts = json.loads(text)
        return cls(**facts | {"shape": Shape(**facts["shape"]), "source": Source(**facts["source"])})


def server() -> Any:
    """Its commands may take longer than a request's."""
    return client(config.SECURITY_ALIAS, Role.BLOCKING)


def in_force() -> Shape | None:
    """The list that is asked now."""
    text: Any = server().get(breachkeys.in_force())
    return Shape.read(text) if text else None


def under_way() -> Build | None:
    """The build that was begun and has not ended."""
    text: Any = server().get(breachkeys.build())
    return Build.read(text) if text else None


def begin(source: Source, entries: int, false_positives: float, at_least: int = 1) -> Build:
    """A new one. ``BreachListError`` where one is under way, or the server has no room for it."""
    build = Build(Shape.fit(secrets.token_hex(6), entries, false_positives), source, at_least)
    _expect_room(build.shape.memory)
    if not server().set(breachkeys.build(), build.text(), nx=True, px=BUILT_MS):
        raise BreachListError("A build is under way: --resume goes on with it, --restart begins anew.")
    return build


def resumed(source: Source) -> Build:
    """The one under way. ``BreachListError`` where there is none, or it reads another file."""
    build = under_way()
    if build is None:
        raise BreachListError("No build is under way: leave out --resume.")
    if build.source.mark != source.mark:
        raise BreachListError(f"The build under way reads another file, {build.source.path}: name it, or --restart.")
    return build


def forget(build: Build) -> None:
    """Remove what a build has made."""
    for number in range(build.shape.shards):
        server().unlink(breachkeys.shard(build.shape.ident, number), breachkeys.part(build.shape.ident, number))
    server().delete(breachkeys.build())


def drop() -> bool:
    """Take the list in force away; whether there was one."""
    shape = in_force()
    server().delete(breachkeys.in_force())
    _retire(shape)
    return shape is not None


def build_on(build: Build, tell: Callable[[int], None] = lambda lines: None) -> Build:
    """Read on to the end of the file, and ``tell`` now and then how many lines that were. The build at its end."""
    gathered, offset = Gathered(build.shape), build.offset
    lines, entries = build.lines, build.entries
    for offset, entry in build.source.entries(build.offset, build.at_least):
        lines += 1
        if entry is not None:
            entries += 1
            gathered.add(entry)
        if lines % CHECKPOINT == 0:
            _checkpoint(replace(build, offset=offset, lines=lines, entries=entries), gathered)
        if lines % TOLD == 0:
            tell(lines)
    tell(lines)
    return _checkpoint(replace(build, offset=offset, lines=lines, entries=entries), gathered)


def _checkpoint(build: Build, gathered: "Gathered") -> Build:
    gathered.send()
    if not server().set(breachkeys.build(), build.text(), xx=True, px=BUILT_MS):
        raise BreachListError("Another process has ended this build, or begun another one.")
    return build


def finish(build: Build) -> float:
    """Put the list in force. Returns the share of other passwords that it takes for its own, by the bits set.

    ``BreachListError`` of an empty one, for a download that has failed must not take the place of a list.
    """
    if not build.entries:
        forget(build)
        raise BreachListError(
            f"{build.source.path} has no entry to take: it is empty, or --at-least is too high. The list that was in "
            "force stays; --drop takes it away."
        )
    shape, redis = build.shape, server()
    replaced = build.replaces or (before.text() if (before := in_force()) else "")
    build = replace(build, replaces=replaced)
    redis.set(breachkeys.build(), build.text(), px=BUILT_MS)
    bits = 0
    for number in range(shape.shards):
        redis.persist(breachkeys.shard(shape.ident, number))
        bits += redis.bitcount(breachkeys.shard(shape.ident, number))
    redis.set(breachkeys.in_force(), shape.text())
    old = Shape.read(replaced) if replaced else None
    _retire(old if old != shape else None)
    redis.delete(breachkeys.build())
    return float((bits / (shape.shards * shape.bits)) ** shape.hashes)


def _retire(shape: Shape | None) -> None:
    """Lookups that have just read its name may still ask it."""
    for number in range(shape.shards if shape else 0):
        server().pexpire(breachkeys.shard(shape.ident, number), REPLACED_MS)  # type: ignore[union-attr]


def _expect_room(needed: int) -> None:
    if isinstance(server(), RedisCluster):  # each node has its own, and which shard lies where is not known yet
        return
    facts: Any = server().info("memory")
    most, used = facts.get("maxmemory", 0), facts.get("used_memory", 0)
    if most and used + needed > most:
        raise BreachListError(
            f"The list takes {needed} bytes, and the server has {max(0, most - used)} left of its maxmemory: raise it, "
            "or ask for fewer: --at-least 10, --false-positives 0.01."
        )


class Gathered:
    """Bits that have not been sent."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._shards: dict[int, bytearray] = {}

    def add(self, entry: bytes) -> None:
        number = self.shape.shard(entry)
        bitmap = self._shards.get(number)
        if bitmap is None:
            if len(self._shards) >= MOST_BUFFERS:
                raise BreachListError("A file of this size must be sorted by its digests: `sort FILE > SORTED`.")
            bitmap = self._shards[number] = bytearray(self.shape.bits // 8)
        for place in self.shape.places(entry):
            bitmap[place >> 3] |= 128 >> (place & 7)

    def send(self) -> None:
        """Add all to the bitmaps in Redis, which may hold others already."""
        for number, bitmap in sorted(self._shards.items()):
            key, part = breachkeys.shard(self.shape.ident, number), breachkeys.part(self.shape.ident, number)
            pipeline = server().pipeline(transaction=False)
            pipeline.delete(part)
            for start in range(0, len(bitmap), CHUNK):
                if any(chunk := bytes(bitmap[start : start + CHUNK])):
                    pipeline.setrange(part, start, chunk)
            pipeline.pexpire(part, PART_MS)
            pipeline.execute_command("BITOP", "OR", key, key, part)  # redis-py does not know that they share a slot
            pipeline.pexpire(key, BUILT_MS)
            pipeline.unlink(part)
            pipeline.execute()
        self._shards.clear()
