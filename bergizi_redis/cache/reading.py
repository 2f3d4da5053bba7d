"""Reading entries, once for sync and async (see ``exchange.py``).

A tagged entry is served only if the versions of its tags, read with it or after it, are those it was stored under.

| operation | round trips |
| --- | --- |
| get, untagged, or with tags that this process has met before | 1 |
| get of a tagged entry that this process has not met | 2 |
| get_many | 1, with unmet tagged entries 2 |
| look, tags known | 1, 2 where a version had to be made |
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bergizi_redis.cache import tags as tag_versions
from bergizi_redis.cache.envelope import Envelope, digest_of, is_enveloped, unpack
from bergizi_redis.cache.process import ProcessState
from bergizi_redis.cache.tags import Scope
from bergizi_redis.exchange import Exchange

MISSING = object()
SETTLED_AT_ONCE = 1000


def batched(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


@dataclass(frozen=True, slots=True)
class Address:
    """Where an entry lives and which versions it depends on; ``domain`` is what it is counted under."""

    key: str
    version_keys: tuple[str, ...]
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """``encode`` and ``decode`` are the alias's serializer and compressor; ``clustered`` says that slots matter."""

    encode: Callable[..., Any]
    decode: Callable[[Any], Any]
    state: ProcessState
    clustered: bool = False

    def settle(self) -> Exchange[None]:
        """Send what an outage kept back. While that fails, so does what was to follow: a read is a miss then."""
        deleted, bumped = list(self.state.unsent_keys), set(self.state.unsent_versions)
        for some in batched(deleted, SETTLED_AT_ONCE):
            yield lambda client, some=some: client.unlink(*some)
        yield from tag_versions.bump(bumped, self.clustered)
        self.state.unsent_keys.difference_update(deleted)
        self.state.unsent_versions.difference_update(bumped)

    def get(self, key: str, scope: Scope) -> Exchange[Any]:
        """The value, or ``MISSING``."""
        if self.state.owes:
            yield from self.settle()
        hint = self.state.hints.get(key, ())
        if hint:
            raw, *found = yield from tag_versions.get_all([key, *hint], self.clustered)
        else:
            raw, found = (yield lambda client: client.get(key)), []
        if raw is None:
            self.state.counters.add("misses")
            return MISSING
        if not is_enveloped(raw):
            self.state.counters.add("hits")
            return self.decode(raw)
        values = yield from self._judged({key: raw}, dict(zip(hint, found, strict=True)), scope)
        return values.get(key, MISSING)

    def get_many(self, names: Sequence[str], scope: Scope) -> Exchange[dict[str, Any]]:
        """The living values by key."""
        if self.state.owes:
            yield from self.settle()
        hinted = list({version for key in names for version in self.state.hints.get(key, ())})
        replies = yield from tag_versions.get_all([*names, *hinted], self.clustered)
        raw = {key: data for key, data in zip(names, replies, strict=False) if data is not None}
        versions = dict(zip(hinted, replies[len(names) :], strict=True))
        self.state.counters.add("misses", times=len(names) - len(raw))
        return (yield from self._judged(raw, versions, scope))

    def _judged(
        self, raw: Mapping[str, bytes], versions: dict[str, bytes | None], scope: Scope
    ) -> Exchange[dict[str, Any]]:
        """Decode the entries that live; ``versions`` are those read so far, the others are read in one go."""
        opened = {key: self._opened(key, data, scope) for key, data in raw.items()}
        wanted = [key for _, keys in opened.values() for key in keys if key not in versions]
        if wanted:
            versions.update(zip(wanted, (yield from tag_versions.get_all(wanted, self.clustered)), strict=True))
        values = {}
        for key, (envelope, keys) in opened.items():
            if envelope is not None and lives(envelope, keys, [versions[name] for name in keys]):
                values[key] = self.decode(envelope.payload)
        self.state.counters.add("hits", times=len(values))
        self.state.counters.add("misses", times=len(raw) - len(values))
        self.state.counters.add("stale", times=len(raw) - len(values))
        return values

    def _opened(self, key: str, data: bytes, scope: Scope) -> tuple[Envelope | None, tuple[str, ...]]:
        """Envelope and the version keys it depends on: none for an entry without tags."""
        if not is_enveloped(data):
            return Envelope(data, untagged=True), ()
        envelope = unpack(data)
        if envelope is None or envelope.untagged:
            return envelope, ()
        if envelope.names is None:  # stored under an address that implies its tags: only that address can judge it
            return None, ()
        versions = scope.read_by(envelope.names)
        self.state.hint(key, versions)
        return envelope, versions

    def look(self, address: Address) -> Exchange[tuple[Any, bytes]]:
        """(value or ``MISSING``, token): entry and versions at once, a second round trip where a version was missing."""
        if self.state.owes:
            yield from self.settle()
        raw, *versions = yield from tag_versions.get_all([address.key, *address.version_keys], self.clustered)
        token = digest_of(address.version_keys, versions)
        envelope = unpack(raw) if is_enveloped(raw) else None
        if token is not None and envelope is not None and envelope.digest == token:
            self.state.counters.add("hits", address.domain)
            return self.decode(envelope.payload), token
        self.state.counters.add("misses", address.domain)
        if raw is not None:
            self.state.counters.add("stale", address.domain)
        if token is None:
            token = yield from tag_versions.read(address.version_keys, self.clustered)
        return MISSING, token


def lives(envelope: Envelope, version_keys: Sequence[str], versions: Sequence[bytes | None]) -> bool:
    """Whether an opened entry may be served, given the versions of now."""
    return envelope.untagged or digest_of(version_keys, versions) == envelope.digest
