"""Storing and removing entries, once for sync and async (see ``exchange.py``).

A value is encoded before anything is sent: one that cannot be leaves the old entry as it was.

| operation | round trips |
| --- | --- |
| set, delete, store under a token | 1 |
| add, set with nx | 1, over a dead entry 2–3 |
| set with xx | 2: whether the entry lives, then the entry |
| any of them with tags, set_many too | 1 more, before: the versions of now |
| bump of any number of tags | 1 |
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bergizi_redis import points
from bergizi_redis.cache import leases
from bergizi_redis.cache import tags as tag_versions
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.envelope import NO_DIGEST, Envelope, is_enveloped
from bergizi_redis.cache.leases import Turn
from bergizi_redis.cache.reading import MISSING, Reading, lives
from bergizi_redis.cache.refresh import soft_life
from bergizi_redis.cache.tags import LONGEST_ENTRY, Scope
from bergizi_redis.cache.transactions import asking
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script

LONGEST_LIFE = 10**14  # ms, some 3,000 years: not far beyond it Redis refuses the sum with its clock


def milliseconds(timeout: float | None, tagged: bool) -> int | None:
    """PX for a timeout in seconds; None = without end. A tagged entry always ends: after ``LONGEST_ENTRY`` at most."""
    if timeout is None:
        return LONGEST_ENTRY * 1000 if tagged else None
    return int(min(timeout * 1000, LONGEST_ENTRY * 1000 if tagged else LONGEST_LIFE))


def is_over(px: float | None) -> bool:
    """Django: a timeout of 0 or less expires at once."""
    return px is not None and px <= 0


@dataclass(frozen=True, slots=True)
class Writing(Reading):
    """Timeouts are seconds; ``tags`` None means an untagged entry, whose bytes are those that django-redis writes."""

    def set(
        self, key: str, value: Any, timeout: float | None, scope: Scope, tags: tuple[str, ...] | None,
        nx: bool = False, xx: bool = False,
    ) -> Exchange[bool]:  # fmt: skip
        if nx:
            return (yield from self.add(key, value, timeout, scope, tags))
        px = milliseconds(timeout, tags is not None)
        seal = self._sealing(value)
        if self.state.unsent:
            yield from self.settle()
        if xx and (yield from self.get(key, scope)) is MISSING:  # a dead entry is none
            return False
        if is_over(px):
            return bool((yield lambda client: client.delete(key)))
        data = seal((yield from self._token(scope, tags)), tags)
        self._note(key, scope, tags)
        if points.hold is not None:
            yield points.stop("before_store")
        return bool((yield lambda client: client.set(key, data, px=px, nx=False, xx=xx)))

    def add(
        self, key: str, value: Any, timeout: float | None, scope: Scope, tags: tuple[str, ...] | None
    ) -> Exchange[bool]:
        """Store where nothing living stands. A dead entry in the way is replaced, if it is still the same."""
        px = milliseconds(timeout, tags is not None)
        seal = self._sealing(value)
        if self.state.unsent:
            yield from self.settle()
        if is_over(px):
            return (yield from self.get(key, scope)) is MISSING
        data = seal((yield from self._token(scope, tags)), tags)
        if points.hold is not None:
            yield points.stop("before_store")
        old = yield lambda client: client.set(key, data, px=px, nx=True, get=True)
        if old is not None:
            envelope, names = self._opened(key, old, scope)
            versions = (yield tag_versions.get_all(names, self.clustered)) if names else []
            if envelope is not None and lives(envelope, names, versions):
                return False
            if not (yield from evaluate(script("swap"), [key], (old, data, px or 0))):
                return False
        self._note(key, scope, tags)
        return True

    def set_many(
        self, data: Mapping[str, Any], timeout: float | None, scope: Scope, tags: tuple[str, ...] | None
    ) -> Exchange[None]:
        px = milliseconds(timeout, tags is not None)
        seals = {key: self._sealing(value) for key, value in data.items()}
        if self.state.unsent:
            yield from self.settle()
        if is_over(px):
            yield from self.delete(list(data))
        elif seals:
            token = yield from self._token(scope, tags)

            def send(client: Any) -> Any:
                pipeline = client.pipeline() if self.clustered else client.pipeline(transaction=False)
                for key, seal in seals.items():
                    pipeline.set(key, seal(token, tags), px=px)
                return pipeline.execute()

            for key in seals:
                self._note(key, scope, tags)
            yield send

    def store(
        self, address: Address, value: Any, timeout: float | None, token: bytes | None = None,
        names: tuple[str, ...] | None = None, cost: float = 0, stale: float = 0, turn: Turn | None = None,
    ) -> Exchange[bool]:  # fmt: skip
        """Store under the token that ``look`` gave: dead from birth if a tag has moved since. ``cost`` in s.

        ``stale``: for how many seconds beyond ``timeout`` it may be served while one computes it anew. A ``turn`` is
        told the encoded value, and gives its lease back with it.
        """
        payload = self.payload(value)
        if token is not None:
            self.state.counters.add("computed", address.domain, tenant=address.tenant)
            self.state.counters.add("cost_ms", address.domain, int(cost * 1000), address.tenant)
        px = milliseconds(timeout, tagged=True) or 0
        may = yield asking(address.version_keys)
        if turn is not None and may and not is_over(px):
            turn.payload = payload
        if self.state.unsent:
            yield from self.settle()
        if is_over(px):
            return bool((yield lambda client: client.delete(address.key)))
        if not may:
            if points.hold is not None:
                yield points.stop("before_store")
            return False
        if token is None:
            token = yield from tag_versions.read(address.version_keys, self.clustered)
        soft = soft_life(px / 1000, stale, cost)
        data = Envelope(payload, token, names, int(time.time()), int(cost * 1000), soft).pack()
        self.state.counters.add("stores", address.domain, tenant=address.tenant)
        self.state.counters.add("stored_bytes", address.domain, len(data), address.tenant)
        return (yield from self._sent(address.key, data, min(px + int(stale * 1000), LONGEST_ENTRY * 1000), turn))

    def _sent(self, key: str, data: bytes, px: int, turn: Turn | None) -> Exchange[bool]:
        if points.hold is not None:
            yield points.stop("before_store")
        if turn is not None and turn.lease_key:
            stored = yield from leases.store(turn, data, px)
        else:
            stored = bool((yield lambda client: client.set(key, data, px=px)))
        if points.hold is not None:
            yield points.stop("after_store")
        return stored

    def delete(self, names: Sequence[str]) -> Exchange[int]:
        """How many there were. Several keys go in one command, on a cluster in one for each slot."""
        if self.state.unsent:
            yield from self.settle()
        return int((yield lambda client: client.delete(*names))) if names else 0

    def bump(self, version_keys: Collection[str]) -> Exchange[None]:
        if self.state.unsent:
            yield from self.settle()
        yield from tag_versions.bump(version_keys, self.clustered)
        self.state.forget(version_keys)

    def _token(self, scope: Scope, tags: tuple[str, ...] | None) -> Exchange[bytes]:
        if tags is None:
            return b""
        version_keys = scope.read_by(tags)
        if not (yield asking(version_keys)):
            return NO_DIGEST
        return (yield from tag_versions.read(version_keys, self.clustered))

    def _note(self, key: str, scope: Scope, tags: tuple[str, ...] | None) -> None:
        self.state.counters.add("stores", tenant=scope.tenant or "")
        if tags is not None:
            self.state.hint(key, scope.read_by(tags))
        elif key in self.state.hints:
            self.state.hints.pop(key, None)

    def _sealing(self, value: Any) -> Callable[[bytes, tuple[str, ...] | None], bytes]:
        """Encode now; what is returned makes the bytes to store out of a token and tags."""
        payload = self.payload(value)

        def seal(token: bytes, tags: tuple[str, ...] | None) -> bytes:
            if tags is not None:
                return Envelope(payload, token, tags, int(time.time())).pack()
            return Envelope(payload, untagged=True).pack() if is_enveloped(payload) else payload

        return seal

    def payload(self, value: Any) -> bytes:
        encoded = self.encode(value)
        return encoded if isinstance(encoded, bytes) else str(encoded).encode()
