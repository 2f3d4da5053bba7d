"""The sweeper: tells of sessions that ran out, each exactly once, and takes them off their tenant's list.

Any number of processes may run it at any time: an expired entry is claimed by one of them, in the step that counts it.
No keyspace events, no CONFIG. It runs once a minute behind a response, in whatever process that is, and with
``manage.py redis_sessions sweep``. ``session_expired`` is sent after the claim: a process that is killed between the
two has counted a session and told nobody; none is told twice. Whose session it was is gone with it; the tenant's
activity still tells, unless the log-in is beyond its last entries (``ACTIVITY_LENGTH``, five times) or was none: a
session that moved in, or without a tenant. Then the user is None.

Round trips: 1 where another process is at it; else 2, and 2 to 5 for each batch. When Redis is down: ``sweep`` raises
``RedisUnavailable``; behind a response it is logged, and tried again a minute later.
"""

import logging
import time
from collections.abc import Iterator
from typing import Any

from bergizi_redis import keys, signals
from bergizi_redis.conf import config
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import activity, index, statistics
from bergizi_redis.sessions.asking import Call, aask, ask, evaluate_all, raise_first
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.events import Event
from bergizi_redis.sessions.owners import owners_of
from bergizi_redis.sessions.revoking import aresume_revocations, resume_revocations, resume_small

logger = logging.getLogger("bergizi_redis.sessions")

EVERY = 60  # seconds
LEASE = 45_000  # ms
TENANTS_AT_ONCE = 100
ENTRIES_AT_ONCE = 200  # of each tenant in one go
AT_REQUEST = 0.3  # seconds that one round of sweeping may take behind a response

Expired = list[tuple[str | None, str, str | None]]  # tenant, sid, user


def sweep() -> int:
    """Tell of all sessions that have run out; returns how many were this caller's to tell. Ends clean-ups, too."""
    told = 0
    for tenants in _some(ask(tenants_noted(0), budget=config.COMMAND_TIMEOUT)):
        while True:
            expired, more = ask(_claimed(tenants), budget=config.COMMAND_TIMEOUT)
            _tell(expired)
            told += len(expired)
            if not more:
                break
    resume_revocations()
    return told


async def asweep() -> int:
    """As ``sweep``."""
    told = 0
    for tenants in _some(await aask(tenants_noted(0), budget=config.COMMAND_TIMEOUT)):
        while True:
            expired, more = await aask(_claimed(tenants), budget=config.COMMAND_TIMEOUT)
            for tenant, sid, user_id in expired:
                await signals.session_expired.asend_robust(SessionStore, sid=sid, user_id=user_id, tenant=tenant)
            told += len(expired)
            if not more:
                break
    await aresume_revocations()
    return told


class Sweeper:
    """Sweeps once in ``EVERY`` seconds behind a response of this process, unless another one has just done so."""

    def __init__(self) -> None:
        self.due = time.monotonic() + EVERY

    def at_request(self, **_: Any) -> None:
        """A receiver of ``request_finished``: one round, of a bounded time."""
        if time.monotonic() < self.due:
            return
        self.due = time.monotonic() + EVERY
        try:
            for tenants in _some(ask(tenants_noted(LEASE), budget=AT_REQUEST)):
                _tell(ask(_claimed(tenants), budget=AT_REQUEST)[0])
            resume_small()
        except RedisUnavailable as error:
            logger.warning("Could not sweep sessions: %s", error, extra={"action": "sessions_not_swept"})


SWEEPER = Sweeper()


def _tell(expired: Expired) -> None:
    for tenant, sid, user_id in expired:
        signals.session_expired.send_robust(SessionStore, sid=sid, user_id=user_id, tenant=tenant)


def _some(tenants: list[str | None]) -> Iterator[list[str | None]]:
    return (tenants[start : start + TENANTS_AT_ONCE] for start in range(0, len(tenants), TENANTS_AT_ONCE))


def tenants_noted(lease: int) -> Exchange[list[str | None]]:
    """Tenants that have sessions, None for those without one; nothing where somebody else holds the lease."""
    found = yield from evaluate(
        script("session_tenants"), [keys.session_tenants(), keys.sessions_swept()], [lease, index.TENANTS_NOTED]
    )
    names = [] if found is None else [name.decode() for name in found]
    return [None if name == keys.SHARED else name for name in names]


def _claimed(tenants: list[str | None]) -> Exchange[tuple[Expired, bool]]:
    """Claim what has run out at these tenants; and whether there may be more.

    An index may be behind its session: what still lives is listed anew instead.
    """
    beyond = 2 * index.drift_allowed()
    due = script("session_due")
    asked = [Call(due, keys.tenant_sessions(tenant), [beyond, ENTRIES_AT_ONCE]) for tenant in tenants]
    replies = yield from evaluate_all(asked)
    raise_first(replies)
    over = [(tenant, sid.decode()) for tenant, sids in zip(tenants, replies, strict=True) for sid in sids]
    is_full = any(len(sids) == ENTRIES_AT_ONCE for sids in replies)
    if not over:
        return [], False
    live = yield from index.records([sid for _, sid in over])
    claims, behind, calls = dict[str | None, list[str]](), list[tuple[str, str]](), list[Call]()
    for tenant, sid in over:
        if sid not in live or live[sid].user_id is None or (live[sid].tenant or None) != tenant:
            claims.setdefault(tenant, []).append(sid)
        else:
            left = max(1, live[sid].expiry - live[sid].now) if live[sid].expiry > 0 else 86_400_000
            behind.append((sid, keys.tenant_sessions(tenant)))
            calls += index.calls_to_add(sid, [keys.tenant_sessions(tenant)], left, is_used=False)
    replies = yield from evaluate_all([*(_claim(tenant, sids, beyond) for tenant, sids in claims.items()), *calls])
    raise_first(replies)
    # Those that somebody has taken off meanwhile have ended.
    relisted = zip(behind, replies[len(claims) :], strict=True)
    yield from index.remove((sid, index.fresh([listing], [reply])) for (sid, listing), reply in relisted)
    ended = {tenant: [sid.decode() for sid in sids] for tenant, sids in zip(claims, replies, strict=False)}
    return (yield from _with_owners(ended)), is_full


def _with_owners(ended: dict[str | None, list[str]]) -> Exchange[Expired]:
    """Say whose they were, and note it in the trails: 2 round trips."""
    if not any(ended.values()):
        return []
    owners = yield from owners_of(ended)
    expired = [(tenant, sid, owners.get(sid)) for tenant, sids in ended.items() for sid in sids]
    events = [Event(False, sid, user_id or "", tenant, "expired") for tenant, sid, user_id in expired]
    if calls := activity.calls_for(events):
        yield from evaluate_all(calls)
    return expired


def _claim(tenant: str | None, sids: list[str], beyond: int) -> Call:
    days, first, kept = statistics.day_keys(tenant)
    listing = keys.tenant_sessions(tenant)
    return Call(script("session_claim"), listing, [beyond, first, kept, *sids], [index.online_beside(listing), *days])
