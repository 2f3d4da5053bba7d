"""Reading entries, once for sync and async (see ``exchange.py``).

A tagged entry is served only if the versions of its tags, read with it or after it, are those it was stored under.

| operation | round trips |
| --- | --- |
| get, untagged, or with tags that this process has met before | 1 |
| get of a tagged entry that this process has not met | 2 |
| get_many | 1, with unmet tagged entries 2 |
| look, tags known | 1, 2 where a version had to be made |
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from bergizi_redis import points
from bergizi_redis.cache import tags as tag_versions
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.envelope import HEAD, NO_DIGEST, Envelope, digest_of, is_enveloped, unpack
from bergizi_redis.cache.process import ProcessState
from bergizi_redis.cache.refresh import is_due
from bergizi_redis.cache.tags import Scope
from bergizi_redis.cache.unsent import batched
from bergizi_redis.exchange import Exchange

logger = logging.getLogger("bergizi_redis.cache")

MISSING = object()
SETTLED_AT_ONCE = 1000


class Found(NamedTuple):
    """What a look finds; a tuple, for it is made on every hit. ``cost`` is what computing took last time, in s, 0 if
    unknown. ``due``: the value serves, but should be computed anew. ``seen``: how an entry that is void or due begins.
    """

    value: Any  # or MISSING
    token: bytes
    cost: float = 0.0
    due: bool = False
    seen: bytes = b""


@dataclass(frozen=True, slots=True)
class Reading:
    """``encode`` and ``decode`` are the alias's serializer and compressor; ``clustered`` says that slots matter."""

    encode: Callable[..., Any]
    decode: Callable[[Any], Any]
    state: ProcessState
    clustered: bool = False

    def settle(self) -> Exchange[None]:
        """Send what an outage kept back. While that fails, so does what was to follow: a read is a miss then."""
        deleted, bumped = self.state.unsent.owed()
        for some in batched(deleted, SETTLED_AT_ONCE):
            yield partial(unlink, some)
        yield from tag_versions.bump(bumped, self.clustered, "what an outage had kept back")
        self.state.forget({*deleted, *bumped})
        self.state.unsent.settled(deleted, bumped)

    def is_plain(self, key: str) -> bool:
        """Whether a bare GET will do: this process knows of no tags of the entry, and owes nothing."""
        return key not in self.state.hints and not self.state.unsent

    def get(self, key: str, scope: Scope) -> Exchange[Any]:
        """The value, or ``MISSING``."""
        if self.state.unsent:
            yield from self.settle()
        hint = self.state.hints.get(key)
        if hint is None:
            return (yield from self.judged(key, (yield lambda client: client.get(key)), scope))
        raw, *versions = yield tag_versions.get_all((key, *hint), self.clustered)
        envelope = unpack(raw) if raw is not None else None
        # The digest covers the names of the version keys: if it is that of these keys, these are the entry's tags.
        if envelope is not None and envelope.digest == digest_of(hint, versions):
            value = self.decoded(envelope.payload)
            self.state.counters.add("misses" if value is MISSING else "hits", tenant=scope.tenant or "")
            return value
        return (yield from self.judged(key, raw, scope, dict(zip(hint, versions, strict=True))))

    def holds(self, key: str, scope: Scope) -> Exchange[bool]:
        """Whether something living stands under the key. Nothing is decoded: it may be a lock, or a set."""
        if self.state.unsent:
            yield from self.settle()
        try:
            raw = yield lambda client: client.get(key)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            return True
        if raw is None or not is_enveloped(raw):
            return raw is not None
        envelope, names = self._opened(key, raw, scope)
        versions = (yield tag_versions.get_all(names, self.clustered)) if names else []
        return envelope is not None and lives(envelope, names, versions)

    def judged(
        self, key: str, raw: bytes | None, scope: Scope, versions: dict[str, bytes | None] | None = None
    ) -> Exchange[Any]:
        """The value, or ``MISSING``, of what stands under the key; ``versions`` are those that were read with it."""
        if raw is None or not is_enveloped(raw):
            return self.bare(raw, scope.tenant)
        values = yield from self._judged({key: raw}, versions or {}, scope)
        return values.get(key, MISSING)

    def bare(self, raw: bytes | None, tenant: str | None = None) -> Any:
        """The value, or ``MISSING``, of what has no envelope."""
        self.state.counters.add("misses" if raw is None else "hits", tenant=tenant or "")
        return MISSING if raw is None else self.decode(raw)

    def get_many(self, names: Sequence[str], scope: Scope) -> Exchange[dict[str, Any]]:
        """The living values by key."""
        if self.state.unsent:
            yield from self.settle()
        hinted = list({version for key in names for version in self.state.hints.get(key, ())})
        replies = yield tag_versions.get_all([*names, *hinted], self.clustered)
        raw = {key: data for key, data in zip(names, replies, strict=False) if data is not None}
        versions = dict(zip(hinted, replies[len(names) :], strict=True))
        self.state.counters.add("misses", times=len(names) - len(raw), tenant=scope.tenant or "")
        return (yield from self._judged(raw, versions, scope))

    def _judged(
        self, raw: Mapping[str, bytes], versions: dict[str, bytes | None], scope: Scope
    ) -> Exchange[dict[str, Any]]:
        """Decode the entries that live; ``versions`` are those read so far, the others are read in one go."""
        opened = {key: self._opened(key, data, scope) for key, data in raw.items()}
        wanted = list({name for _, names in opened.values() for name in names if name not in versions})
        if wanted:
            versions.update(zip(wanted, (yield tag_versions.get_all(wanted, self.clustered)), strict=True))
        values = {}
        stale = 0
        for key, (envelope, names) in opened.items():
            if envelope is None or not lives(envelope, names, [versions[name] for name in names]):
                stale += 1
            elif not names:
                values[key] = self.decode(envelope.payload)
            elif (value := self.decoded(envelope.payload)) is not MISSING:
                values[key] = value
        self.state.counters.add("hits", times=len(values), tenant=scope.tenant or "")
        if len(values) < len(raw):
            self.state.counters.add("misses", times=len(raw) - len(values), tenant=scope.tenant or "")
            self.state.counters.add("stale", times=stale, tenant=scope.tenant or "")
        return values

    def decoded(self, payload: bytes) -> Any:
        """The value of a tagged entry, or ``MISSING`` where this code cannot read what another version of it wrote."""
        try:
            return self.decode(payload)
        except Exception as error:  # a serializer may raise anything
            if self.state.worth_logging():
                logger.warning(
                    "A cached value cannot be read, so it counts as missing: %s", type(error).__name__,
                    extra={"action": "cache_unreadable"},
                )  # fmt: skip
            return MISSING

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

    def look(self, address: Address) -> Exchange[Found]:
        """Entry and versions at once, then what versions were missing."""
        if self.state.unsent:
            yield from self.settle()
        raw, *versions = yield tag_versions.get_all((address.key, *address.version_keys), self.clustered)
        if points.hold is not None:
            yield points.stop("after_look")
        token = digest_of(address.version_keys, versions)
        envelope = unpack(raw) if raw is not None else None
        cost = 0.0 if envelope is None else envelope.cost / 1000
        if envelope is not None and token is not None and envelope.digest == token:
            value = self.decoded(envelope.payload)
            if value is not MISSING:
                self.state.counters.hit(address.domain, address.tenant, len(raw))
                if envelope.soft and is_due(envelope.created, envelope.soft, envelope.cost):
                    return Found(value, token, cost, True, raw[:HEAD])
                return Found(value, token)
        self.state.counters.add("misses", address.domain, tenant=address.tenant)
        if raw is not None:
            self.state.counters.add("stale", address.domain, tenant=address.tenant)
        if token is None:
            token = yield from tag_versions.read(address.version_keys, self.clustered)
        return Found(MISSING, b"" if token == NO_DIGEST else token, cost, False, b"" if raw is None else raw[:HEAD])


def unlink(names: Sequence[str], client: Any) -> Any:
    return client.unlink(*names)


def lives(envelope: Envelope, version_keys: tuple[str, ...], versions: Sequence[bytes | None]) -> bool:
    """Whether an opened entry may be served, given the versions of now."""
    return envelope.untagged or digest_of(version_keys, versions) == envelope.digest
