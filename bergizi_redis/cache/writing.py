"""Storing and altering entries, once for sync and async (see ``exchange.py``).

A value is encoded before anything is sent: one that cannot be leaves the old entry as it was.

| operation | round trips |
| --- | --- |
| set, add, touch, incr, delete, store under a token | 1 |
| set with tags, set_many with tags | 2: the versions of now, then the entries |
| add over a dead entry | 2–3 |
| bump of any number of tags | 1 |
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from bergizi_redis.cache import tags as tag_versions
from bergizi_redis.cache.envelope import Envelope, is_enveloped, unpack
from bergizi_redis.cache.reading import MISSING, Address, Reading, lives
from bergizi_redis.cache.tags import LONGEST_ENTRY, Scope
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script

LONGEST_LIFE = 10**14  # ms, some 3,000 years: not far beyond it Redis refuses the sum with its clock


def milliseconds(timeout: float | None, tagged: bool) -> int | None:
    """PX for a timeout in seconds; None = without end. A tagged entry always ends: after ``LONGEST_ENTRY`` at most."""
    if timeout is None:
        return LONGEST_ENTRY * 1000 if tagged else None
    return int(min(timeout * 1000, LONGEST_ENTRY * 1000 if tagged else LONGEST_LIFE))


def is_over(px: int | None) -> bool:
    """Django: a timeout of 0 or less expires at once."""
    return px is not None and px <= 0


@dataclass(frozen=True, slots=True)
class Writing(Reading):
    """Timeouts are seconds; ``tags`` None means an untagged entry, whose bytes are those that django-redis writes."""

    def set(
        self, key: str, value: Any, timeout: float | None, scope: Scope, tags: Sequence[str] | None,
        nx: bool = False, xx: bool = False,
    ) -> Exchange[bool]:  # fmt: skip
        px = milliseconds(timeout, tags is not None)
        seal = self._sealing(value)
        if self.state.owes:
            yield from self.settle()
        if is_over(px):
            if nx:
                return (yield from self.get(key, scope)) is MISSING
            return bool((yield lambda client: client.delete(key)))
        data = seal((yield from self._token(scope, tags)), tags)
        self._note(key, scope, tags)
        return bool((yield lambda client: client.set(key, data, px=px, nx=nx, xx=xx)))

    def add(
        self, key: str, value: Any, timeout: float | None, scope: Scope, tags: Sequence[str] | None
    ) -> Exchange[bool]:
        """Store where nothing living stands. A dead entry in the way is replaced, if it is still the same."""
        px = milliseconds(timeout, tags is not None)
        seal = self._sealing(value)
        if self.state.owes:
            yield from self.settle()
        if is_over(px):
            return (yield from self.get(key, scope)) is MISSING
        data = seal((yield from self._token(scope, tags)), tags)
        old = yield lambda client: client.set(key, data, px=px, nx=True, get=True)
        if old is not None:
            envelope, versions = self._opened(key, old, scope)
            found = (yield from tag_versions.get_all(versions, self.clustered)) if versions else []
            if envelope is not None and lives(envelope, versions, found):
                return False
            if not (yield from evaluate(script("swap"), [key], (old, data, px or 0))):
                return False
        self._note(key, scope, tags)
        return True

    def set_many(
        self, data: Mapping[str, Any], timeout: float | None, scope: Scope, tags: Sequence[str] | None
    ) -> Exchange[None]:
        px = milliseconds(timeout, tags is not None)
        seals = {key: self._sealing(value) for key, value in data.items()}
        if self.state.owes:
            yield from self.settle()
        if is_over(px):
            yield from self.delete(list(data))
            return
        token = yield from self._token(scope, tags)

        def send(client: Any) -> Any:
            pipeline = client.pipeline() if self.clustered else client.pipeline(transaction=False)
            for key, seal in seals.items():
                pipeline.set(key, seal(token, tags), px=px)
            return pipeline.execute()

        if seals:
            yield send
            for key in seals:
                self._note(key, scope, tags)

    def store(
        self, address: Address, value: Any, timeout: float | None, token: bytes | None = None,
        names: tuple[str, ...] | None = None, cost: float = 0,
    ) -> Exchange[bool]:  # fmt: skip
        """Store under the token that ``look`` gave: dead from birth if a tag has moved since. ``cost`` s of computing."""
        payload = self._payload(value)
        px = milliseconds(timeout, tagged=True)
        if self.state.owes:
            yield from self.settle()
        if is_over(px):
            return bool((yield lambda client: client.delete(address.key)))
        if token is None:
            token = yield from tag_versions.read(address.version_keys, self.clustered)
        data = Envelope(payload, token, names, int(time.time()), int(cost * 1000)).pack()
        self.state.counters.add("stores", address.domain)
        return bool((yield lambda client: client.set(address.key, data, px=px)))

    def _token(self, scope: Scope, tags: Sequence[str] | None) -> Exchange[bytes]:
        if tags is None:
            return b""
        return (yield from tag_versions.read(scope.read_by(tags), self.clustered))

    def _note(self, key: str, scope: Scope, tags: Sequence[str] | None) -> None:
        self.state.counters.add("stores")
        if tags is not None:
            self.state.hint(key, scope.read_by(tags))
        else:
            self.state.hints.pop(key, None)

    def _sealing(self, value: Any) -> Any:
        """Encode now; what is returned makes the bytes to store out of a token and tags."""
        encoded = self.encode(value)
        payload = encoded if isinstance(encoded, bytes) else str(encoded).encode()

        def seal(token: bytes, tags: Sequence[str] | None) -> bytes:
            if tags is not None:
                return Envelope(payload, token, tuple(tags), int(time.time())).pack()
            return Envelope(payload, untagged=True).pack() if is_enveloped(payload) else payload

        return seal

    def _payload(self, value: Any) -> bytes:
        encoded = self.encode(value)
        return encoded if isinstance(encoded, bytes) else str(encoded).encode()

    def delete(self, names: Sequence[str]) -> Exchange[int]:
        """How many there were. Several keys go in one command, on a cluster in one for each slot."""
        if self.state.owes:
            yield from self.settle()
        return int((yield lambda client: client.delete(*names))) if names else 0

    def touch(self, key: str, timeout: float | None) -> Exchange[bool]:
        """Give the entry a new life; False where there is none."""
        px = milliseconds(timeout, tagged=key in self.state.hints)
        if is_over(px):
            return bool((yield from self.delete([key])))
        if px is not None:
            return bool((yield lambda client: client.pexpire(key, px)))
        found, _ = yield lambda client: client.pipeline(transaction=False).exists(key).persist(key).execute()
        return bool(found)

    def bump(self, version_keys: Iterable[str]) -> Exchange[None]:
        if self.state.owes:
            yield from self.settle()
        yield from tag_versions.bump(version_keys, self.clustered)

    def incr(self, key: str, delta: int, scope: Scope) -> Exchange[int]:
        """Add to a number; ``ValueError`` where there is none. Keeps life and tags."""
        if self.state.owes:
            yield from self.settle()
        try:
            value = yield from evaluate(script("incr"), [key], (delta,))
        except ResponseError:  # an enveloped, a serialized or a very long number
            value = yield from self._incr_by_swapping(key, delta, scope)
        if value is None:
            raise ValueError(f"Key '{key}' not found")
        return int(value)

    def _incr_by_swapping(self, key: str, delta: int, scope: Scope) -> Exchange[int | None]:
        while True:
            raw = yield lambda client: client.get(key)
            values = (yield from self._judged({key: raw}, {}, scope)) if raw is not None else {}
            if key not in values:
                return None
            number: int = values[key] + delta
            data = self._payload(number)
            if is_enveloped(raw) and (old := unpack(raw)):
                data = Envelope(data, old.digest, old.names, old.created, old.cost, old.soft, old.untagged).pack()
            if (yield from evaluate(script("swap"), [key], (raw, data, -1))):
                return number

    def move(self, key: str, to: str, scope: Scope) -> Exchange[bool]:
        """Rename an entry with its life and tags; False where nothing living stands."""
        if (yield from self.get(key, scope)) is MISSING:
            return False
        if self.clustered:  # RENAME cannot cross slots
            raw, px = yield lambda client: client.pipeline().get(key).pttl(key).execute()
            yield lambda client: client.set(to, raw, px=px if px > 0 else None)
            yield lambda client: client.delete(key)
        else:
            yield lambda client: client.rename(key, to)
        return True
