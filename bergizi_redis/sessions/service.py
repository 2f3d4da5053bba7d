"""Sessions as a service: make, check, list and end them, with or without a request.

A session made here is one of ``SESSION_ENGINE``: its key may stand in Django's cookie, and Django's sessions are
checked and listed here just so. Lists and links carry the public id (sid), never the key. Async twins begin with ``a``.
No SQL anywhere. When Redis is down: ``RedisUnavailable``, which is not "no session".

| function | round trips |
| --- | --- |
| ``create_session`` | 3; 4 with a ``SESSION_LIMIT`` |
| ``validate_session`` | 1; once in ``TOUCH_EVERY`` 1 more |
| ``sessions_for_user``, ``sessions_for_tenant`` | 2; 1 more for each further 500 sessions |
| ``page_for_user``, ``page_for_tenant`` | 2 |
| ``revoke`` | 2 |
| ``revoke_user``, ``revoke_tenant``, ``revoke_everybody`` | holds after 1; 2, and 2 for each 500 sessions |
| ``stats`` | 1 |
"""

from collections.abc import Iterable

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exceptions import TenantRequired
from bergizi_redis.exchange import Exchange
from bergizi_redis.sessions import index, quotas, statistics, steps
from bergizi_redis.sessions.activity import Activity as Activity
from bergizi_redis.sessions.activity import aactivity as aactivity
from bergizi_redis.sessions.activity import activity as activity
from bergizi_redis.sessions.asking import aask, ask
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.belonging import atell_mismatch, mismatch_of, tell_mismatch
from bergizi_redis.sessions.events import atell, tell
from bergizi_redis.sessions.expiry import limits
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.sessions.info import Session, SessionInfo, info_of, login_record, moment
from bergizi_redis.sessions.moving import amove_in, move_in
from bergizi_redis.sessions.paging import Page as Page
from bergizi_redis.sessions.paging import apage_for_tenant as apage_for_tenant
from bergizi_redis.sessions.paging import apage_for_user as apage_for_user
from bergizi_redis.sessions.paging import page_for_tenant as page_for_tenant
from bergizi_redis.sessions.paging import page_for_user as page_for_user
from bergizi_redis.sessions.paging import scope_of
from bergizi_redis.sessions.permissions import apermissions_changed as apermissions_changed
from bergizi_redis.sessions.permissions import arefresh, refresh
from bergizi_redis.sessions.permissions import permissions_changed as permissions_changed
from bergizi_redis.sessions.quotas import SessionLimitReached as SessionLimitReached
from bergizi_redis.sessions.record import ABSOLUTE, LOGGED_IN, Record
from bergizi_redis.sessions.revoking import NotReplicated as NotReplicated
from bergizi_redis.sessions.revoking import aresume_revocations as aresume_revocations
from bergizi_redis.sessions.revoking import arevoke as arevoke
from bergizi_redis.sessions.revoking import arevoke_everybody as arevoke_everybody
from bergizi_redis.sessions.revoking import arevoke_tenant as arevoke_tenant
from bergizi_redis.sessions.revoking import arevoke_user as arevoke_user
from bergizi_redis.sessions.revoking import resume_revocations as resume_revocations
from bergizi_redis.sessions.revoking import revoke as revoke
from bergizi_redis.sessions.revoking import revoke_everybody as revoke_everybody
from bergizi_redis.sessions.revoking import revoke_tenant as revoke_tenant
from bergizi_redis.sessions.revoking import revoke_user as revoke_user
from bergizi_redis.sessions.statistics import SessionStats
from bergizi_redis.sessions.sweeping import asweep as asweep
from bergizi_redis.sessions.sweeping import sweep as sweep
from bergizi_redis.tenancy import current_tenant, find_tenant


def create_session(
    user_id: object, tenant: str, role: str, user_type: str, email: str, name: str, permissions: Iterable[str],
    ip: str | None = None, user_agent: str | None = None,
) -> Session:  # fmt: skip
    """Make a session: it ends after ``SESSION_IDLE`` s without a request, ``SESSION_ABSOLUTE`` s after now at most.

    Its permissions are a snapshot that ``validate_session`` asks. Raises ``TenantError``, ``TypeError``, ``ValueError``
    for arguments that cannot be, ``SessionLimitReached``, ``RedisUnavailable``.
    """
    key, this = _creation(
        login_record(user_id=user_id, tenant=tenant, role=role, user_type=user_type, email=email, name=name,
                     permissions=permissions, ip=ip, user_agent=user_agent, idle=limits().idle)
    )  # fmt: skip
    this.quota = quotas.quota_for(str(user_id), role, tenant)
    record, events = ask(steps.save(this))
    tell(SessionStore, events)
    return _session(key, record)


async def acreate_session(
    user_id: object, tenant: str, role: str, user_type: str, email: str, name: str, permissions: Iterable[str],
    ip: str | None = None, user_agent: str | None = None,
) -> Session:  # fmt: skip
    """As ``create_session``."""
    key, this = _creation(
        login_record(user_id=user_id, tenant=tenant, role=role, user_type=user_type, email=email, name=name,
                     permissions=permissions, ip=ip, user_agent=user_agent, idle=limits().idle)
    )  # fmt: skip
    this.quota = await quotas.aquota_for(str(user_id), role, tenant)
    record, events = await aask(steps.save(this))
    await atell(SessionStore, events)
    return _session(key, record)


def _creation(login: Record) -> tuple[str, steps.Save]:
    key = new_key()
    moments = {LOGGED_IN: 0, ABSOLUTE: int(1000 * limits().absolute)}
    life = int(1000 * limits().first)
    return key, steps.Save(sid_of(key), {}, login, life, create=True, moments=moments)


def _session(key: str, record: Record) -> Session:
    return Session(key, sid_of(key), record.user_id or "", record.tenant or "", moment(record.expiry))


def validate_session(key: str | None, permission: str | None = None, tenant: str | None = None) -> SessionInfo | None:
    """The session of this key, if it lives, somebody is logged in, and the snapshot has the permission; else None.

    None too for the session of another tenant than ``tenant``: the one in force unless given; see ``belonging``.
    During a move, a key that only the old store knows is answered as a request would be: see ``moving``.
    Counts as activity. A snapshot that is out of date is made anew, see ``permissions``: the only SQL. Whether the
    password has changed since is for ``request.user`` to say, which asks the database.
    """
    if not key:
        return None
    record, sid = ask(steps.load(sid_of(key))) or move_in(SessionStore(key)), sid_of(key)
    if strange := mismatch_of(sid, record, tenant or find_tenant()):
        tell_mismatch(SessionStore, strange)
        return None
    if record is not None and record.is_stale:
        refresh(sid, record)
    return None if record is None or record.is_held else info_of(sid, record, permission)


async def avalidate_session(
    key: str | None, permission: str | None = None, tenant: str | None = None
) -> SessionInfo | None:
    """As ``validate_session``."""
    if not key:
        return None
    record, sid = await aask(steps.load(sid_of(key))) or await amove_in(SessionStore(key)), sid_of(key)
    if strange := mismatch_of(sid, record, tenant or find_tenant()):
        await atell_mismatch(SessionStore, strange)
        return None
    if record is not None and record.is_stale:
        await arefresh(sid, record)
    return None if record is None or record.is_held else info_of(sid, record, permission)


def sessions_for_user(user_id: object) -> list[SessionInfo]:
    """The user's live sessions, the latest log-in first."""
    return _infos(ask(index.listed(keys.user_sessions(user_id), user_id=str(user_id)), budget=config.COMMAND_TIMEOUT))


async def asessions_for_user(user_id: object) -> list[SessionInfo]:
    """As ``sessions_for_user``."""
    listed = index.listed(keys.user_sessions(user_id), user_id=str(user_id))
    return _infos(await aask(listed, budget=config.COMMAND_TIMEOUT))


def sessions_for_tenant(tenant: str) -> list[SessionInfo]:
    """The tenant's live sessions, the latest log-in first; "@": those of no tenant. Raises ``TenantError``."""
    return _infos(ask(_of_tenant(scope_of(tenant)), budget=config.COMMAND_TIMEOUT))


async def asessions_for_tenant(tenant: str) -> list[SessionInfo]:
    """As ``sessions_for_tenant``."""
    return _infos(await aask(_of_tenant(scope_of(tenant)), budget=config.COMMAND_TIMEOUT))


def _of_tenant(tenant: str | None) -> Exchange[dict[str, Record]]:
    return index.listed(keys.tenant_sessions(tenant), tenant=tenant)


def _infos(found: dict[str, Record]) -> list[SessionInfo]:
    infos = (info_of(sid, record) for sid, record in found.items())
    return sorted((info for info in infos if info), key=lambda info: (info.authenticated, info.public_id), reverse=True)


def stats(tenant: str | None = None, days: int = 1) -> SessionStats:
    """Counts of a tenant, of the one in force unless given, over the last ``days`` days (UTC), 1 to 40.

    ``"@"`` is for the sessions of no tenant: all, in a project without tenants.

    Raises ``TenantRequired``, ``TenantError``, ``ValueError``.
    """
    return ask(statistics.report(_whose(tenant), days))


async def astats(tenant: str | None = None, days: int = 1) -> SessionStats:
    """As ``stats``."""
    return await aask(statistics.report(_whose(tenant), days))


def _whose(tenant: str | None) -> str | None:
    if tenant is not None:
        return scope_of(tenant)
    try:
        return current_tenant()
    except TenantRequired as error:
        raise TenantRequired(
            "No tenant is known here: name one, such as stats('sppg-jakarta-001'), or \"@\" for the sessions of none."
        ) from error
