"""Which sessions a user or a tenant has: zsets of sids by expiry, in slots of their own.

A session is listed before it is written and taken off the list after it has ended. So a crash between the steps
leaves at most a ghost (an entry without a session), never a live session that no list shows. Ghosts are found when a
list is read, and removed there. Anonymous sessions are not listed.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

from redis.exceptions import ResponseError

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions.asking import Call, evaluate_all, raise_first
from bergizi_redis.sessions.record import Record, record_of

BATCH = 500  # sessions read or ended in one round trip


def drift_allowed() -> int:
    """ms that an index may be behind the session's expiry before it is written anew."""
    return int(config.TOUCH_EVERY * 1000)


def index_keys(user_id: str | None, tenant: str | None) -> list[str]:
    """The indices of a session of this user and tenant. A damaged tenant id, read back, has none."""
    if user_id is None:
        return []
    in_tenant = tenant is not None and keys.TENANT_PATTERN.fullmatch(tenant)
    return [keys.user_sessions(user_id), *([keys.tenant_sessions(tenant)] if tenant and in_tenant else [])]


def calls_to_add(sid: str, indices: list[str], life: int) -> list[Call]:
    """List a session that lives ``life`` ms more."""
    # Kept beyond the expiry by twice the drift, so that an entry that is behind is still found.
    return [Call(script("session_index"), key, [sid, life, 2 * drift_allowed()]) for key in indices]


def add(sid: str, indices: list[str], life: int) -> Exchange[None]:
    raise_first((yield from evaluate_all(calls_to_add(sid, indices, life))))


def remove(ended: Iterable[tuple[str, list[str]]]) -> Exchange[None]:
    """Take ended sessions off their lists, (sid, indices) each: one round trip, none where nothing is listed."""
    by_index: dict[str, list[str]] = {}
    for sid, indices in ended:
        for index in indices:
            by_index.setdefault(index, []).append(sid)

    def ask(client: Any) -> Any:
        pipeline = client.pipeline(transaction=False)
        for index, sids in by_index.items():
            pipeline.zrem(index, *sids)
        return pipeline.execute()

    if by_index:
        yield ask


def records(sids: list[str]) -> Exchange[dict[str, Record]]:
    """The sessions among ``sids`` that live, in one round trip; reading them is no activity of theirs."""
    load = script("session_load")
    replies = yield from evaluate_all([Call(load, keys.session(sid), [], [keys.revoked(sid[:2])]) for sid in sids])
    found = {}
    for sid, reply in zip(sids, replies, strict=True):
        if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
            continue
        raise_first([reply])
        if record := record_of(reply):
            found[sid] = record
    return found


def listed(index: str, user_id: str | None = None, tenant: str | None = None) -> Exchange[dict[str, Record]]:
    """The live sessions of an index that are this user's or tenant's: 1 round trip, and 1 for each ``BATCH``.

    Entries without such a session are removed, unless they are so young that the session may be on its way.
    """
    members: list[bytes] = yield lambda client: client.zrange(index, 0, -1)
    found: dict[str, Record] = {}
    for sids in batches([member.decode() for member in members]):
        there = yield from records(sids)
        theirs = {
            sid: record
            for sid, record in there.items()
            if user_id in (None, record.user_id) and tenant in (None, record.tenant)
        }
        found.update(theirs)
        if ghosts := [sid for sid in sids if sid not in theirs]:
            grace = max(5, math.ceil(2 * config.REQUEST_BUDGET))
            raise_first((yield from evaluate_all([Call(script("session_prune"), index, [grace, *ghosts])])))
    return found


def batches(sids: list[str]) -> Iterator[list[str]]:
    return (sids[start : start + BATCH] for start in range(0, len(sids), BATCH))


def count(index: str) -> Exchange[int]:
    """Entries that have not expired, by the server's clock; ghosts count until a list has been read."""
    return int((yield from evaluate(script("session_count"), [index])))
