"""A model of the fence protocol, small enough to try every interleaving of readers and writers.

``Version`` does what ``tags_read.lua``, ``fence_raise.lua``, ``fence_lower.lua`` and ``tags_bump.lua`` do to one key;
``test_fences.py`` runs the same random steps through the scripts on a real server and compares.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

READERS = 2
WRITERS = 2


@dataclass(frozen=True)
class Version:
    """``stamp`` is a random version, ``fences`` the writers that hold one, neither: the key is missing."""

    stamp: int | None = None
    fences: frozenset[int] = frozenset()

    def read(self, fresh: int) -> "Version":
        return Version(stamp=fresh) if self.stamp is None and not self.fences else self

    def put_up(self, writer: int) -> "Version":
        return Version(fences=self.fences | {writer})

    def take_down(self, writer: int, fresh: int) -> "Version":
        left = self.fences - {writer}
        return Version(fences=left) if left else Version(stamp=fresh)

    def bump(self, fresh: int) -> "Version":
        return self if self.fences else Version(stamp=fresh)


@dataclass(frozen=True)
class World:
    """``row`` counts commits; an entry is (row it was computed from, stamp it was stored under)."""

    version: Version = Version()
    entry: tuple[int, int] | None = None
    row: int = 0
    fresh: int = 0
    readers: tuple[tuple[int, int | None, int], ...] = ((0, None, 0),) * READERS  # (step, token, row read)
    writers: tuple[int, ...] = (0,) * WRITERS  # step; 9 = crashed

    def hit(self) -> int | None:
        """The row that a reader who comes now is served, or None for a miss."""
        if self.entry is not None and self.version.stamp is not None and self.entry[1] == self.version.stamp:
            return self.entry[0]
        return None


class StaleServed(AssertionError):
    """A reader was served a row from before a commit."""


def next_worlds(world: World, *, fenced: bool = True, shared_mark: bool = False) -> Iterator[World]:
    """Every world one step further. ``fenced=False`` leaves it out; ``shared_mark``: one release opens for all."""
    for which in range(READERS):
        yield from _reader_steps(world, which)
    for which in range(WRITERS):
        yield from _writer_steps(world, which, fenced, shared_mark)
    if world.version.stamp is not None:
        yield replace(world, version=Version())  # evicted or flushed
    crashed = {writer for writer in world.version.fences if world.writers[writer] == 9}
    if crashed:  # their fences run out; the key goes with the last one
        yield replace(world, version=Version(fences=world.version.fences - crashed))


def _reader_steps(world: World, which: int) -> Iterator[World]:
    step, token, row = world.readers[which]
    readers = list(world.readers)
    if step == 0:
        if (served := world.hit()) is not None:
            if served != world.row:
                raise StaleServed(f"served row {served}, committed is {world.row}: {world}")
            return
        version = world.version.read(world.fresh)
        readers[which] = (1, version.stamp, 0)
        yield replace(world, version=version, fresh=world.fresh + 1, readers=tuple(readers))
    elif step == 1:
        readers[which] = (2, token, world.row)
        yield replace(world, readers=tuple(readers))
    elif step == 2:
        readers[which] = (3, token, row)
        entry = world.entry if token is None else (row, token)
        yield replace(world, entry=entry, readers=tuple(readers))


def _writer_steps(world: World, which: int, fenced: bool, shared_mark: bool) -> Iterator[World]:
    step = world.writers[which]
    writers = list(world.writers)
    if step in (0, 1, 2):
        crashed = list(writers)
        crashed[which] = 9
        if step > 0 and fenced:
            yield replace(world, writers=tuple(crashed))
    if step == 0:
        writers[which] = 1
        version = world.version.put_up(which) if fenced else world.version
        yield replace(world, version=version, writers=tuple(writers))
    elif step == 1:
        writers[which] = 2
        yield replace(world, row=world.row + 1, writers=tuple(writers))
    elif step == 2:
        writers[which] = 3
        version = world.version.take_down(which, world.fresh)
        if shared_mark:
            version = Version(stamp=world.fresh)
        yield replace(world, version=version, fresh=world.fresh + 1, writers=tuple(writers))


def explore(**rules: bool) -> int:
    """Try every order of steps, crashes and evictions; how many worlds there are. Raises ``StaleServed``."""
    start = World()
    seen = {_canonical(start)}
    queue = [start]
    while queue:
        for world in next_worlds(queue.pop(), **rules):
            name = _canonical(world)
            if name not in seen:
                seen.add(name)
                queue.append(world)
    return len(seen)


def _canonical(world: World) -> tuple[object, ...]:
    """The world with its stamps renamed in order of appearance: only whether they are equal matters."""
    names: dict[int, int] = {}

    def named(stamp: int | None) -> int | None:
        return None if stamp is None else names.setdefault(stamp, len(names))

    entry = None if world.entry is None else (world.entry[0], named(world.entry[1]))
    readers = tuple((step, named(token), row) for step, token, row in world.readers)
    return named(world.version.stamp), world.version.fences, entry, world.row, readers, world.writers
