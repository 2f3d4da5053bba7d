"""Altering entries that are there, once for sync and async (see ``exchange.py``); each keeps its tags.

| operation | round trips |
| --- | --- |
| touch | 1, of a tagged entry 2–3: the dead are not touched |
| incr | 1, of a tagged or serialized number 4 |
| move to another version | 2, of a tagged entry this process has not met 3 |
"""

from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from bergizi_redis.cache.envelope import Envelope, is_enveloped, unpack
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.tags import LONGEST_ENTRY, Scope
from bergizi_redis.cache.writing import Writing, is_over, milliseconds
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script


@dataclass(frozen=True, slots=True)
class Altering(Writing):
    def touch(self, key: str, timeout: float | None, scope: Scope) -> Exchange[bool]:
        """Give the entry a new life, in seconds; False where nothing living stands."""
        px = milliseconds(timeout, tagged=False)
        if self.state.unsent:
            yield from self.settle()
        if is_over(px):
            return bool((yield lambda client: client.delete(key)))
        found = yield from evaluate(script("touch"), [key], (px or 0, LONGEST_ENTRY * 1000))
        return found == 1 or (found == 2 and (yield from self.get(key, scope)) is not MISSING)

    def incr(self, key: str, delta: int, scope: Scope) -> Exchange[Any]:
        """Add to a number; ``ValueError`` where there is none. Keeps life and tags."""
        if self.state.unsent:
            yield from self.settle()
        try:
            value = yield from evaluate(script("incr"), [key], (delta,))
        except ResponseError as error:  # an enveloped, a serialized or a very long number
            if not any(reason in str(error) for reason in ("not an integer", "overflow")):
                raise
            value = yield from self._incr_by_swapping(key, delta, scope)
        if value is None:
            raise ValueError(f"Key '{key}' not found")
        return value

    def _incr_by_swapping(self, key: str, delta: int, scope: Scope) -> Exchange[Any]:
        """Each round in which this one loses another one has won, so they get through."""
        while True:
            raw = yield lambda client: client.get(key)
            value = yield from self.judged(key, raw, scope)
            if value is MISSING:
                return None
            data = self.payload(value + delta)
            if is_enveloped(raw) and (old := unpack(raw)):
                data = Envelope(data, old.digest, old.names, old.created, old.cost, old.soft, old.untagged).pack()
            if (yield from evaluate(script("swap"), [key], (raw, data, -1))):
                return value + delta

    def move(self, key: str, to: str, scope: Scope) -> Exchange[bool]:
        """Rename an entry with its life and tags; False where nothing living stands."""
        if (yield from self.get(key, scope)) is MISSING:
            return False
        if self.clustered:
            return (yield from self._move_across_slots(key, to))
        try:
            yield lambda client: client.rename(key, to)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return False  # it ended a moment ago
        return True

    def _move_across_slots(self, key: str, to: str) -> Exchange[bool]:
        """RENAME cannot."""
        raw, px = yield lambda client: client.pipeline().get(key).pttl(key).execute()
        if raw is None:
            return False
        yield lambda client: client.set(to, raw, px=px if px > 0 else None)
        yield lambda client: client.delete(key)
        return True
