"""Why a read hits or misses: what stands under the key, which of its tags were voided since, when, and by whom.

Told from the entry, its tags' versions and the logs of bumps (``bumplog.py``). The entry holds one digest of all its
versions: it proves *that* one has moved, the logs say which were bumped, so where several were the answer is "one of".
An entry's time is the clock of the process that stored it, a bump's that of the server: they must not be far apart.
Round trips: 3, and 1 more for each log. ``RedisUnavailable`` when Redis is down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bergizi_redis.cache import bumplog
from bergizi_redis.cache import tags as tag_versions
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.bumplog import Bump, scope_and_name
from bergizi_redis.cache.envelope import NO_DIGEST, Envelope, digest_of, is_enveloped, unpack
from bergizi_redis.cache.tags import Scope
from bergizi_redis.exchange import Exchange
from bergizi_redis.keys import SHARED

SLACK = 1.0  # seconds: an entry's time is told in whole ones

HIT, MISSING, DEAD, BORN_DEAD, FENCED, UNREADABLE, UNKNOWN = (
    "hit", "missing", "dead", "born dead", "fenced", "unreadable", "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cause:
    """A version of the entry's that is not what it was: ``at`` Unix seconds and ``who``, None where no log tells."""

    tag: str
    tenant: str | None
    at: float | None = None
    who: str | None = None

    def __str__(self) -> str:
        if self.at is None:
            return f"{self.name} is gone (evicted, expired, flushed, or a writer's fence ran out)"
        return f"{self.name} was voided at {moment(self.at)} by {self.who}"

    @property
    def name(self) -> str:
        whose = f"of {self.tenant}" if self.tenant else "of shared entries"
        kind, _, tag = self.tag.partition(":")
        match kind:
            case "v":
                return f"tag {tag!r} {whose}"
            case "e":
                return f"tag {tag!r} of every tenant"
            case "epoch":
                return "everything"
        return f"everything {whose}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """``state`` is hit, missing, dead, born dead, fenced, unreadable or unknown; ``str()`` is the answer in words.

    ``created`` Unix seconds, ``cost`` ms, ``left`` seconds to live (None: no end), ``size`` bytes. ``near``: this
    process holds it in its near cache.
    """

    key: str
    state: str
    reason: str
    causes: tuple[Cause, ...] = ()
    created: int | None = None
    cost: int | None = None
    left: float | None = None
    size: int | None = None
    near: bool = False

    def __str__(self) -> str:
        lines = [f"{self.key}: {self.state}", f"  {self.reason}", *(f"  - {cause}" for cause in self.causes)]
        if self.created:
            life = "without end" if self.left is None else f"for {self.left:.0f} s more"
            lines.append(
                f"  Stored at {moment(self.created)}, {self.size} bytes, kept {life}; computing took {self.cost} ms."
            )
        if self.near:
            lines.append("  The near cache of this process holds it.")
        return "\n".join(lines)


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def explain_entry(address: Address, clustered: bool) -> Exchange[Explanation]:
    """Why a read of this address hits or misses now."""
    raw, *versions = yield tag_versions.get_all((address.key, *address.version_keys), clustered)
    return (yield from _judged(address.key, raw, address.version_keys, versions))


def explain_key(key: str, scope: Scope, clustered: bool) -> Exchange[Explanation]:
    """The same for a key of ``cache.get``, whose entry itself names its tags."""
    raw = yield lambda client: client.get(key)
    envelope = unpack(raw) if is_enveloped(raw) else None
    if raw is not None and (not is_enveloped(raw) or (envelope is not None and envelope.untagged)):
        return Explanation(key, HIT, "It has no tags, so it lives until its timeout.", size=len(raw))
    if envelope is not None and envelope.names is None:
        return Explanation(key, UNKNOWN, "It is a domain's or a function's: their own explain() knows its tags.")
    names = scope.read_by(envelope.names or ()) if envelope else ()
    versions = (yield tag_versions.get_all(names, clustered)) if names else []
    return (yield from _judged(key, raw, names, versions))


def _judged(
    key: str, raw: bytes | None, version_keys: Sequence[str], versions: Sequence[bytes | None]
) -> Exchange[Explanation]:
    if fenced := [name for name, version in zip(version_keys, versions, strict=True) if _deadline(version)]:
        until = max(_deadline(version) for version in versions)
        causes = tuple(Cause(name, None if scope == SHARED else scope) for scope, name in map(scope_and_name, fenced))
        named = ", ".join(cause.name for cause in causes)
        return Explanation(key, FENCED, f"A writer is at its COMMIT: until it is through, at most until "
                                        f"{moment(until)}, nothing with {named} is served or stored.")  # fmt: skip
    if raw is None:
        causes, _ = yield from _causes(version_keys, versions, 0)
        last = tuple(cause for cause in causes if cause.at is not None)[:1]
        reason = "It was never stored, has expired, or was evicted or deleted."
        return Explanation(key, MISSING, reason + (" Its tags were last voided:" if last else ""), last)
    envelope = unpack(raw)
    if envelope is None:
        return Explanation(
            key, UNREADABLE, "Another version of this package wrote it, or it is cut short.", size=len(raw)
        )
    pttl: Any = yield lambda client: client.pttl(key)
    told: dict[str, Any] = {
        "created": envelope.created, "cost": envelope.cost, "size": len(raw), "left": pttl / 1000 if pttl > 0 else None,
    }  # fmt: skip
    if envelope.digest == digest_of(tuple(version_keys), versions):
        return Explanation(key, HIT, "All its tags are what they were when it was computed.", **told)
    if envelope.digest == NO_DIGEST:
        reason = "It was stored while a writer was at its COMMIT, or by a transaction whose rows were its own."
        return Explanation(key, BORN_DEAD, reason, **told)
    state, reason, causes = yield from _death(envelope, version_keys, versions)
    return Explanation(key, state, reason, causes, **told)


def _death(
    envelope: Envelope, version_keys: Sequence[str], versions: Sequence[bytes | None]
) -> Exchange[tuple[str, str, tuple[Cause, ...]]]:
    began = envelope.created - envelope.cost / 1000 - SLACK
    causes, is_whole = yield from _causes(version_keys, versions, began)
    if not causes:
        reason = (
            "One of its tags has another version, and no log tells why: it was evicted, flushed, or voided long ago."
        )
        return DEAD, reason, ()
    if all(cause.at is not None and cause.at < envelope.created for cause in causes):
        return BORN_DEAD, "It was voided while it was computed:", causes
    if len(causes) == 1 and is_whole:
        return DEAD, "It has been voided:", causes
    reason = "It has been voided by one of these or several:"
    return DEAD, reason if is_whole else f"{reason[:-1]}, or by one that the log holds no more:", causes


def _causes(
    version_keys: Sequence[str], versions: Sequence[bytes | None], at: float
) -> Exchange[tuple[tuple[Cause, ...], bool]]:
    """What happened to the versions since ``at``: the last bump of each, the latest first; then those that are gone.

    The second tells whether the logs reach back that far.
    """
    mine: dict[str, dict[str, str]] = {}
    for key in version_keys:
        if log := bumplog.log_of(key):
            mine.setdefault(log, {})[scope_and_name(key)[1]] = scope_and_name(key)[0]
    found: dict[tuple[str, str], Cause] = {}
    is_whole = True
    for log, names in mine.items():
        bumps, reaches = yield from bumplog.since(log, at)
        is_whole &= reaches
        for bump in bumps:
            for name in _hit(bump, names):
                scope = names[name]
                tenant = None if scope == SHARED else scope
                found.setdefault((scope, name), Cause(name, tenant, bump.at, bump.who))
    gone = [scope_and_name(key) for key, version in zip(version_keys, versions, strict=True) if version is None]
    lost = [Cause(name, None if scope == SHARED else scope) for scope, name in gone if (scope, name) not in found]
    return (*sorted(found.values(), key=lambda cause: -(cause.at or 0)), *lost), is_whole


def _hit(bump: Bump, names: dict[str, str]) -> list[str]:
    """The entry's versions that the bump made anew. One with too many names to list may have been any of them."""
    return [name for name in names if name in bump.names or bump.unnamed]


def _deadline(version: bytes | None) -> float:
    """When the last fence on the version runs out, Unix seconds; 0 where none stands."""
    if version is None or len(version) == 8 or version[:1] != b"F":
        return 0.0
    return max(int.from_bytes(version[at + 8 : at + 16], "big") for at in range(1, len(version), 16)) / 1000
