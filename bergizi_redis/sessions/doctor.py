"""What has come apart – sessions and the lists of them – found by reading all, and put right in batches.

| found | what it means | put right |
| --- | --- | --- |
| ``unlisted`` | a live session that no list shows | listed |
| ``revoked`` | a session that a revocation has ended and that its clean-up did not find | removed |
| ``ghost`` | an entry of a list without its session | taken off |
| ``endless`` | a session or a list without a TTL, which never goes | given one |
| ``damaged`` | a key in the place of a session that is none | removed |

By SCAN, in batches of 500 and some 3 round trips each, while the site runs; a session that changes meanwhile is not
taken for drift. Putting right what is right changes nothing: after an interruption run it again. ``server_faults``
says what is wrong with the server itself. Redis down: ``RedisUnavailable``.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.conf import settings
from redis.exceptions import ResponseError

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.connections import client
from bergizi_redis.exchange import speak
from bergizi_redis.health import check_redis_health
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index
from bergizi_redis.sessions.asking import Call, evaluate_all, outage_told, raise_first
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.barriers import end_barred
from bergizi_redis.sessions.events import tell
from bergizi_redis.sessions.record import IDLE, TENANT, USER, VERSION

BATCH = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """``where``: the public id of a session, and of a ghost the list that shows it."""

    kind: str
    where: str
    repaired: bool


@dataclass(frozen=True, slots=True)
class Examined:
    """One batch: how many keys were looked at, and what was found."""

    keys: int
    findings: list[Finding] = field(default_factory=list)


def examine(*, repair: bool = False) -> Iterator[Examined]:
    """Every session, then every list, batch by batch."""
    with outage_told():
        for names in _batches("session:{*"):
            yield Examined(len(names), _sessions(names, repair))
        for pattern in ("user:{*}:sessions", "tenant:{*}:sessions"):
            for names in _batches(pattern):
                yield Examined(len(names), [found for name in names for found in _list(name, repair)])


def server_faults() -> list[str]:
    """What makes the server unfit to keep sessions, each in a sentence with its remedy."""
    alias = settings.SESSION_CACHE_ALIAS
    report = check_redis_health([alias])["aliases"][alias]
    if report["problem"]:
        return [f"{report['problem']['reason']} {report['problem']['remedy']}"]
    server, faults = report["server"], []
    if (policy := server.get("evictionPolicy", "noeviction")) != "noeviction":
        faults.append(
            f"The server evicts ({policy}): it logs people out when it is full. Set maxmemory-policy noeviction."
        )
    if server.get("persistence") == "none":
        faults.append("The server keeps nothing on disk: a restart logs everybody out. Set appendonly yes.")
    return faults


def _client() -> Any:
    return client(settings.SESSION_CACHE_ALIAS)


def _batches(pattern: str) -> Iterator[list[str]]:
    """Keys by pattern; SCAN may name one twice, which does no harm here."""
    prefix = keys.prefixed("")
    escaped = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in prefix)
    found = (name.decode() for name in _client().scan_iter(match=escaped + pattern, count=BATCH))
    while names := list(islice(found, BATCH)):
        yield names


def _asked(commands: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Commands, each on a key, in one round trip; errors stand among the replies."""
    pipeline = _client().pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    replies: list[Any] = pipeline.execute(raise_on_error=False)
    return replies


def _sessions(names: list[str], repair: bool) -> list[Finding]:
    replies = _asked(
        command for name in names for command in (("HMGET", name, VERSION, USER, TENANT, IDLE), ("PTTL", name))
    )
    damaged, endless, bound = [], [], []
    for name, meta, left in zip(names, replies[::2], replies[1::2], strict=True):
        if isinstance(meta, ResponseError) and "WRONGTYPE" in str(meta):
            damaged.append(name)
            continue
        raise_first([meta, left])
        if left == -2:  # gone meanwhile
            continue
        if meta[0] is None:
            damaged.append(name)
            continue
        if left == -1:
            endless.append((name, left := 1000 * int(meta[3] or settings.SESSION_COOKIE_AGE)))
        if indices := index.index_keys(*(_text(part) for part in meta[1:3])):
            bound.append((name, indices, left))
    return [
        *_settled("damaged", damaged, [("UNLINK", name) for name in damaged], repair),
        *_settled("endless", [name for name, _ in endless], [("PEXPIRE", *each) for each in endless], repair),
        *_unlisted(bound, repair),
    ]


def _unlisted(bound: list[tuple[str, list[str], int]], repair: bool) -> Iterator[Finding]:
    scores = iter(_asked(("ZSCORE", listing, sid_in(name)) for name, indices, _ in bound for listing in indices))
    missing = {}
    for name, indices, left in bound:
        replies = [next(scores) for _ in indices]
        raise_first(replies)
        if None in replies:
            missing[sid_in(name)] = indices, left
    barred = set[str]()
    live = speak(index.records(list(missing), barred), _client())
    for sid in live:
        if repair:
            speak(index.add(sid, *missing[sid]), _client())
        yield Finding("unlisted", sid, repair)
    if barred and repair:
        tell(SessionStore, speak(end_barred(sorted(barred)), _client()))
    yield from (Finding("revoked", sid, repair) for sid in sorted(barred))


def _list(name: str, repair: bool) -> Iterator[Finding]:
    """Ghosts among the entries that have not expired; the others are for the sweep, which tells of them."""
    now = 1000 * int(_asked([("EVAL", "return redis.call('TIME')[1]", 1, name)])[0])
    entries, left = _asked([("ZRANGEBYSCORE", name, now, "+inf"), ("PTTL", name)])
    if isinstance(entries, ResponseError):
        yield from _settled("damaged", [name], [("UNLINK", name)], repair)
        return
    if left == -1:
        yield from _settled("endless", [name], [("PEXPIRE", name, 1000 * settings.SESSION_COOKIE_AGE)], repair)
    for sids in index.batches([entry.decode("utf-8", "replace") for entry in entries]):
        owners = _asked(("HMGET", keys.session(sid), USER, TENANT) for sid in sids)
        ghosts = [
            sid
            for sid, owner in zip(sids, owners, strict=True)
            if isinstance(owner, ResponseError) or name not in index.index_keys(*(_text(part) for part in owner))
        ]
        yield from _ghosts(name, ghosts, repair)


def _ghosts(name: str, sids: list[str], repair: bool) -> Iterator[Finding]:
    if sids and repair:  # as reading the list does: younger entries stay, for their session may be on its way
        grace = max(5, math.ceil(2 * config.REQUEST_BUDGET))
        raise_first(speak(evaluate_all([Call(script("session_prune"), name, [grace, *sids])]), _client()))
    yield from (Finding("ghost", f"{sid} in {name}", repair) for sid in sids)


def _settled(kind: str, names: list[str], remedies: list[tuple[Any, ...]], repair: bool) -> Iterator[Finding]:
    if repair and remedies:
        raise_first(_asked(remedies))
    yield from (Finding(kind, sid_in(name), repair) for name in names)


def sid_in(name: str) -> str:
    """The public id in a session's key; of any other key the key."""
    shard, found, rest = name.removeprefix(keys.prefixed("session:{")).partition("}")
    return f"{shard}{rest}" if found and name.startswith(keys.prefixed("session:{")) else name


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode("utf-8", "replace")
