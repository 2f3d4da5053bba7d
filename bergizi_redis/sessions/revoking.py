"""End sessions from outside: one, a user's, a tenant's, everybody's.

A revocation of many holds with its first round trip, for sessions that are in no list too: see ``barriers``. Then the
sessions are removed in batches, and ``session_ended`` is sent for each. Killed in between, it holds all the same;
the next ``resume_revocations``, in any process, removes the rest. A log-in that begins after a revocation has
returned is not touched by it; one that was done before its call is over, whatever the clocks say. When Redis is down:
``RedisUnavailable``; then it may hold or not, and may be called again.

``reason`` and ``actor``, an id of who did it, are for the signal ``sessions_revoked``. ``wait_replicas``: see
``NotReplicated``.
"""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.conf import settings
from django_redis.client.default import glob_escape

from bergizi_redis import keys, signals
from bergizi_redis.aconnections import aclient
from bergizi_redis.conf import config
from bergizi_redis.connections import client
from bergizi_redis.exceptions import BergiziRedisError
from bergizi_redis.exchange import Exchange
from bergizi_redis.keys import validated_tenant
from bergizi_redis.sessions import barriers, index, steps
from bergizi_redis.sessions.asking import aask, ask, outage_told
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.barriers import Revocation
from bergizi_redis.sessions.events import Event, atell, tell
from bergizi_redis.sessions.identity import is_sid, sid_of


class NotReplicated(BergiziRedisError):
    """Fewer replicas than asked for have the revocation. It holds; a fail-over right now might forget it."""


def revoke(public_id: str, tenant: str | None = None, *, reason: str = "", actor: str = "") -> bool:
    """End the session with this public id. False where there is none – or none of ``tenant``, when one is given."""
    scope = validated_tenant(tenant) if tenant is not None else ""
    if not is_sid(public_id):
        return False
    there, events = ask(steps.end(public_id, "revoked", tenant=scope))
    tell(SessionStore, events)
    if there:
        signals.sessions_revoked.send_robust(SessionStore, **_one(public_id, events, actor, reason))
    return there


async def arevoke(public_id: str, tenant: str | None = None, *, reason: str = "", actor: str = "") -> bool:
    """As ``revoke``."""
    scope = validated_tenant(tenant) if tenant is not None else ""
    if not is_sid(public_id):
        return False
    there, events = await aask(steps.end(public_id, "revoked", tenant=scope))
    await atell(SessionStore, events)
    if there:
        await signals.sessions_revoked.asend_robust(SessionStore, **_one(public_id, events, actor, reason))
    return there


def revoke_user(
    user_id: object, keep: str | None = None, tenant: str | None = None, *, reason: str = "", actor: str = "",
    wait_replicas: int = 0,
) -> int:  # fmt: skip
    """End the user's sessions, but for ``keep`` (a key or a public id); returns how many. ``tenant``: only there."""
    return _revoke(_of_user(user_id, tenant, actor, reason), keep, wait_replicas)


async def arevoke_user(
    user_id: object, keep: str | None = None, tenant: str | None = None, *, reason: str = "", actor: str = "",
    wait_replicas: int = 0,
) -> int:  # fmt: skip
    """As ``revoke_user``."""
    return await _arevoke(_of_user(user_id, tenant, actor, reason), keep, wait_replicas)


def revoke_tenant(
    tenant: str, keep: str | None = None, *, reason: str = "", actor: str = "", wait_replicas: int = 0
) -> int:
    """End every session of the tenant but ``keep``; returns how many. Raises ``TenantError``."""
    return _revoke(Revocation(_new_id(), None, validated_tenant(tenant), actor, reason), keep, wait_replicas)


async def arevoke_tenant(
    tenant: str, keep: str | None = None, *, reason: str = "", actor: str = "", wait_replicas: int = 0
) -> int:
    """As ``revoke_tenant``."""
    return await _arevoke(Revocation(_new_id(), None, validated_tenant(tenant), actor, reason), keep, wait_replicas)


def revoke_everybody(keep: str | None = None, *, reason: str = "", actor: str = "", wait_replicas: int = 0) -> int:
    """End every session that somebody is logged in to, but ``keep``; returns how many.

    It holds after the first round trip; the clean-up reads the names of all sessions and takes its time.
    """
    return _revoke(Revocation(_new_id(), None, None, actor, reason), keep, wait_replicas)


async def arevoke_everybody(
    keep: str | None = None, *, reason: str = "", actor: str = "", wait_replicas: int = 0
) -> int:
    """As ``revoke_everybody``."""
    return await _arevoke(Revocation(_new_id(), None, None, actor, reason), keep, wait_replicas)


def resume_revocations() -> int:
    """Do the clean-up that killed processes have left, or that others are at; returns how many sessions it removed.

    Any process may call it at any time, and as often as it likes: each session is ended, and told, by one of them.
    """
    return sum(_clean(revocation) for revocation in ask(barriers.noted(), budget=config.COMMAND_TIMEOUT))


async def aresume_revocations() -> int:
    """As ``resume_revocations``."""
    noted = await aask(barriers.noted(), budget=config.COMMAND_TIMEOUT)
    return sum([await _aclean(revocation) for revocation in noted])


def resume_small() -> None:
    """The same for listings of one batch at most, in a bounded time: behind a response."""
    for revocation in ask(barriers.noted()):
        if revocation.listing is not None and len(ask(barriers.members(revocation))) <= index.BATCH:
            _clean(revocation)


def _revoke(this: Revocation, keep: str | None, replicas: int) -> int:
    told = ask(_putting_up(this, keep, replicas), budget=config.COMMAND_TIMEOUT)
    ended = _clean(this)
    _check_replicas(told, replicas)
    return ended


async def _arevoke(this: Revocation, keep: str | None, replicas: int) -> int:
    told = await aask(_putting_up(this, keep, replicas), budget=config.COMMAND_TIMEOUT)
    ended = await _aclean(this)
    _check_replicas(told, replicas)
    return ended


def _clean(this: Revocation) -> int:
    ended = 0
    for sids in _batches(this):
        events = ask(barriers.end_barred(sids), budget=config.COMMAND_TIMEOUT)
        tell(SessionStore, events)
        ended += len(events)
    ask(barriers.cleaned(this), budget=config.COMMAND_TIMEOUT)
    signals.sessions_revoked.send_robust(SessionStore, **_many(this, ended))
    return ended


async def _aclean(this: Revocation) -> int:
    ended = 0
    async for sids in _abatches(this):
        events = await aask(barriers.end_barred(sids), budget=config.COMMAND_TIMEOUT)
        await atell(SessionStore, events)
        ended += len(events)
    await aask(barriers.cleaned(this), budget=config.COMMAND_TIMEOUT)
    await signals.sessions_revoked.asend_robust(SessionStore, **_many(this, ended))
    return ended


def _batches(this: Revocation) -> Iterator[list[str]]:
    if this.listing is not None:
        yield from index.batches(ask(barriers.members(this), budget=config.COMMAND_TIMEOUT))
        return
    some: list[str] = []
    with outage_told():
        for key in client(settings.SESSION_CACHE_ALIAS).scan_iter(match=_every_session(), count=1000):
            some.append(_sid_in(key))
            if len(some) >= index.BATCH:
                yield some
                some = []
    yield some


async def _abatches(this: Revocation) -> AsyncIterator[list[str]]:
    if this.listing is not None:
        for sids in index.batches(await aask(barriers.members(this), budget=config.COMMAND_TIMEOUT)):
            yield sids
        return
    some: list[str] = []
    with outage_told():
        async for key in aclient(settings.SESSION_CACHE_ALIAS).scan_iter(match=_every_session(), count=1000):
            some.append(_sid_in(key))
            if len(some) >= index.BATCH:
                yield some
                some = []
    yield some


def _every_session() -> str:
    pattern: str = glob_escape(keys.session(""))
    return pattern.replace("{}", "{??}*")


def _sid_in(key: bytes) -> str:
    return key.decode()[-34:].replace("{", "").replace("}", "")


def _new_id() -> str:
    return uuid.uuid4().hex


def _of_user(user_id: object, tenant: str | None, actor: str, reason: str) -> Revocation:
    return Revocation(_new_id(), str(user_id), None if tenant is None else validated_tenant(tenant), actor, reason)


def _putting_up(this: Revocation, keep: str | None, replicas: int) -> Exchange[int | None]:
    kept = None if not keep else keep if is_sid(keep) else sid_of(keep)
    return barriers.put_up(this, kept, replicas, int(500 * config.REQUEST_BUDGET))


def _check_replicas(told: int | None, asked: int) -> None:
    if told is not None and told < asked:
        raise NotReplicated(
            f"The revocation holds, but {told} of {asked} replicas have confirmed it within "
            f"{config.REQUEST_BUDGET / 2:g} s. See that they are connected, and call it again."
        )


def _one(sid: str, events: list[Event], actor: str, reason: str) -> dict[str, Any]:
    user_id, tenant = (events[0].user_id, events[0].tenant) if events else (None, None)
    return {"sid": sid, "user_id": user_id, "tenant": tenant, "actor": actor, "reason": reason, "ended": 1}


def _many(this: Revocation, ended: int) -> dict[str, Any]:
    return {"sid": None, "user_id": this.user_id, "tenant": this.tenant, "actor": this.actor, "reason": this.reason,
            "ended": ended}  # fmt: skip
