"""Which sessions a user or a tenant has: zsets of sids by expiry, in slots of their own.

A session is listed before it is written and taken off the list after it has ended. So a crash between the steps
leaves at most a ghost (an entry without a session), never a live session that no list shows. Ghosts are found when a
list is read, and removed there. Anonymous sessions are not listed.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions.asking import Call, evaluate_all, raise_first
from bergizi_redis.sessions.record import INDEXED, USER, Record, is_barred, record_of

BATCH = 500  # sessions read or ended in one round trip
TENANT_KEPT = 24 * 3600 * 1000  # ms that a tenant's entry waits for the sweeper
TENANTS_NOTED = 40 * 24 * 3600 * 1000  # ms that a tenant without log-ins is swept


def drift_allowed() -> int:
    """ms that an index may be behind the session's expiry before it is written anew."""
    return int(config.TOUCH_EVERY * 1000)


def is_behind(base: Record, life: int) -> bool:
    """Whether a session of ``life`` ms from now on must be listed anew."""
    return abs(base.server_now + life - (base.number(INDEXED) or 0)) > drift_allowed()


def index_keys(user_id: str | None, tenant: str | None) -> list[str]:
    """The indices of a session of this user and tenant (of none: those share one). A damaged tenant id has none."""
    if user_id is None:
        return []
    is_damaged = tenant is not None and not keys.TENANT_PATTERN.fullmatch(tenant)
    return [keys.user_sessions(user_id), *([] if is_damaged else [keys.tenant_sessions(tenant or None)])]


def calls_to_add(sid: str, indices: list[str], life: int, *, is_there: bool = True, is_used: bool = True) -> list[Call]:
    """List a session that lives ``life`` ms more, and is used now. ``is_there``: it is written already."""
    return [
        Call(script("session_index"), key,
             [sid, life, kept_beyond(key), int(is_used and _notes_seen(key)), int(is_there)],
             [online_beside(key)])
        for key in indices
    ]  # fmt: skip


def online_beside(index: str) -> str:
    """Beside an index, in its slot: when its sessions were last seen."""
    return f"{index.removesuffix('sessions')}online"


def kept_beyond(index: str) -> int:
    """ms that an entry stays beyond its expiry: twice the drift, so that one that is behind is still found; a
    tenant's longer, until it is swept."""
    return TENANT_KEPT if is_tenants(index) else 2 * drift_allowed()


def is_tenants(index: str) -> bool:
    return index.removeprefix(keys.prefixed("")).startswith("tenant:")


def _notes_seen(index: str) -> bool:
    """Of a tenant to know who is online, of a user only where somebody must go first."""
    return is_tenants(index) or (bool(config.SESSION_LIMIT) and config.SESSION_LIMIT_POLICY == "evict")


def see(sid: str, record: Record) -> Exchange[bytes | None]:
    """Note a use, in the session and where it counts; nothing else moves. ms, None of a session that has ended."""
    where = [key for key in index_keys(record.user_id, record.tenant) if _notes_seen(key)]
    calls = [Call(script("session_online"), key, [sid], [online_beside(key)]) for key in where]
    noting = Call(script("session_see"), keys.session(sid), [record.raw[USER]], [keys.revoked(sid[:2])])
    replies = yield from evaluate_all([noting, *calls])
    raise_first(replies)
    return None if replies[0] is None else b"%d" % replies[0]


def add(sid: str, indices: list[str], life: int) -> Exchange[list[str]]:
    """List a session that was found; returns the indices that did not have it."""
    replies = yield from evaluate_all(adding(sid, indices, life, is_used=False))
    raise_first(replies)
    return fresh(indices, replies)


def fresh(indices: list[str], replies: list[Any]) -> list[str]:
    """Those that did not have the session before, by the replies of ``calls_to_add``.

    Where the session then turns out to have ended, they must forget it. The others may keep it: whoever has ended it
    takes it off, and the sweeper tells of one that ran out.
    """
    return [index for index, reply in zip(indices, replies, strict=False) if reply]


def verify(sid: str, fresh: list[str]) -> Exchange[None]:
    """Take a session off these indices if it does not live: 1 round trip, or 2."""
    if sid not in (yield from records([sid])):
        yield from remove([(sid, fresh)])


def adding(sid: str, indices: list[str], life: int, *, is_there: bool = True, is_used: bool = True) -> list[Call]:
    """As ``calls_to_add``, and note for the sweeper that these tenants have sessions."""
    tenants = [index.partition("{")[2].partition("}")[0] for index in indices if is_tenants(index)]
    note = script("session_note_tenant")
    noting = [Call(note, keys.session_tenants(), [tenant, TENANTS_NOTED]) for tenant in tenants]
    return [*calls_to_add(sid, indices, life, is_there=is_there, is_used=is_used), *noting]


def remove(ended: Iterable[tuple[str, list[str]]], along: Sequence[Call] = ()) -> Exchange[None]:
    """Take ended sessions off their lists, (sid, indices) each, and make the calls ``along``: one round trip."""
    by_index: dict[str, list[str]] = {}
    for sid, indices in ended:
        for index in indices:
            by_index.setdefault(index, []).append(sid)
    off = script("session_unlist")
    calls = [*(Call(off, index, sids, [online_beside(index)]) for index, sids in by_index.items()), *along]
    if calls:
        raise_first((yield from evaluate_all(calls)))


def records(sids: list[str], barred: set[str] | None = None) -> Exchange[dict[str, Record]]:
    """The sessions among ``sids`` that live, in one round trip; reading them is no activity of theirs.

    Those that a revocation has ended and not removed yet are added to ``barred``.
    """
    load = script("session_load")
    replies = yield from evaluate_all([Call(load, keys.session(sid), [], [keys.revoked(sid[:2])]) for sid in sids])
    found = {}
    for sid, reply in zip(sids, replies, strict=True):
        if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
            continue
        raise_first([reply])
        if record := record_of(reply):
            found[sid] = record
        elif barred is not None and is_barred(reply):
            barred.add(sid)
    return found


def listed(index: str, user_id: str | None = None, tenant: str | None = None) -> Exchange[dict[str, Record]]:
    """The live sessions of an index that are this user's or tenant's: 1 round trip, and 1 for each ``BATCH``.

    Entries without such a session are removed, unless they are so young that the session may be on its way.
    """
    members: list[bytes] = yield lambda client: client.zrange(index, 0, -1)
    found: dict[str, Record] = {}
    for sids in batches([member.decode() for member in members]):
        barred = set[str]()  # no ghosts: their clean-up will look for them here
        there = yield from records(sids, barred)
        theirs = {
            sid: record
            for sid, record in there.items()
            if user_id in (None, record.user_id) and tenant in (None, record.tenant)
        }
        found.update(theirs)
        if ghosts := [sid for sid in sids if sid not in theirs and sid not in barred]:
            grace = max(5, math.ceil(2 * config.REQUEST_BUDGET))
            raise_first((yield from evaluate_all([Call(script("session_prune"), index, [grace, *ghosts])])))
    return found


def batches(sids: list[str]) -> Iterator[list[str]]:
    return (sids[start : start + BATCH] for start in range(0, len(sids), BATCH))
