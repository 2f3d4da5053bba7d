"""Account lockout: at most N password checks, however many are tried at once.

Promise: an attempt is paid for **before** the password is looked at and refunded when it was right, so parallel
guesses cannot slip between the check and the count. ``LOCKOUT_ATTEMPTS`` (5) checks, then the account is locked for
``LOCKOUT_SECONDS`` (30 min); trying never extends a lock; failures are remembered ``LOCKOUT_WINDOW`` (24 h) after the
last; a success, or the end of a lock, starts the count afresh. A crash or a cancelled task between paying and
settling counts as a failure. Every time is the server's. Unknown identifiers are counted like known ones.

Round trips: 1 an attempt, 1 more for a success, 1 more for the attempt that closes a lock.

When Redis is down, ``LOCKOUT_ON_OUTAGE`` decides, after at most ``REQUEST_BUDGET``: ``degrade`` counts in this
process, from where Redis left off; ``closed`` raises ``LockoutUnavailable`` (503); ``open`` counts nothing. When every
connection of the pool is in use, attempts are refused with ``LockoutUnavailable`` in each mode: the server is well.

``tenant`` None means the tenant in force, but not one that is only the visitor's or the host's (``tenancy``); else the
scope without a tenant, which ``"@"`` names explicitly. ``scope``
keeps counts apart: "password", "otp", "reset". Async twins begin with ``a`` and wait natively.

Sources: NIST SP 800-63B-4 §3.2.2 (limit consecutive failures), OWASP Authentication Cheat Sheet (account lockout).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from bergizi_redis import keys
from bergizi_redis.connections import is_outage
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.security import counters, counting, devices, telling
from bergizi_redis.security.account import Account, Debit, Limits, locked_accounts_key, tenant_or_shared
from bergizi_redis.security.gates import Passage
from bergizi_redis.security.guard import Attempt
from bergizi_redis.security.networks import networks_of
from bergizi_redis.security.resolvers import resolved
from bergizi_redis.security.status import AccountLocked, LockedAccount, LockoutUnavailable, LockStatus
from bergizi_redis.security.steps import Pipeline, Steps, arun, run

__all__ = [
    "AccountLocked", "Attempt", "LockStatus", "LockedAccount", "LockoutUnavailable",
    "aforget_devices", "ais_account_locked", "alocked_accounts", "arecord_login_attempt", "aunlock_account",
    "forget_devices", "guard_login", "is_account_locked", "locked_accounts", "record_login_attempt", "unlock_account",
]  # fmt: skip

PASSWORD = "password"  # noqa: S105 – the name of a scope
USER_AGENT = 200  # characters of it that a log line holds
logger = logging.getLogger("bergizi_redis.security")


def guard_login(
    identifier: object, ip: str | None = None, *, tenant: str | None = None, scope: str = PASSWORD, request: Any = None
) -> Attempt:
    """The safe primitive, for ``with`` and ``async with``::

        with guard_login(email, ip=address) as attempt:
            if user := check(email, password):
                attempt.succeeded(user)

    Entering pays; raises ``AccountLocked`` (a ``PermissionDenied``; ``retry_after`` in seconds) and
    ``LockoutUnavailable``. Leaving without ``succeeded``, also by an exception, leaves the failure counted.
    """
    return Attempt(Account.of(identifier, tenant, scope), ip, request)


def is_account_locked(identifier: object, *, tenant: str | None = None, scope: str = PASSWORD) -> LockStatus:
    """How the account stands, for showing it: to decide by it is a race, use ``guard_login``. One round trip.

    ``LockStatus(locked, retry_after, failures, remaining)``, seconds. Raises ``LockoutUnavailable``.
    """
    return run(_status(Account.of(identifier, tenant, scope)))


async def ais_account_locked(identifier: object, *, tenant: str | None = None, scope: str = PASSWORD) -> LockStatus:
    return await arun(_status(Account.of(identifier, tenant, scope)))


def _status(account: Account) -> Steps[LockStatus]:
    return (yield from counting.status((yield from resolved(account))))


def record_login_attempt(
    identifier: object,
    success: bool,
    ip: str | None = None,
    user_agent: str | None = None,
    *,
    tenant: str | None = None,
    scope: str = PASSWORD,
) -> LockStatus:
    """Count an attempt after it was made, and say how the account stands then. One round trip, two when it closes.

    For log-ins that this package does not make. Parallel guesses are all checked before the first is counted: where
    you can, use ``guard_login``. A failure while locked is not counted and extends nothing; a success forgets the
    failures, but opens no lock. ``ip`` and ``user_agent`` go to the log. Raises ``LockoutUnavailable``.
    """
    return run(_record(Account.of(identifier, tenant, scope), success, ip, user_agent))


async def arecord_login_attempt(
    identifier: object,
    success: bool,
    ip: str | None = None,
    user_agent: str | None = None,
    *,
    tenant: str | None = None,
    scope: str = PASSWORD,
) -> LockStatus:
    return await arun(_record(Account.of(identifier, tenant, scope), success, ip, user_agent))


def _record(account: Account, success: bool, ip: str | None, user_agent: str | None) -> Steps[LockStatus]:
    account = (yield from resolved(account)).seen_from(ip)
    if success:
        return (yield from counting.forget_failures(account))
    passage = Passage(account, networks_of(ip, account.scope), insists=True)
    paid: Debit = yield from counting.debit(passage, account.scope)
    for alert in paid.alerts:
        yield telling.spray(account, alert)
    if paid.closed:
        counters.add("locked")
        extra = {
            "action": "account_locked",
            "account": account.masked,
            "tenant": account.tenant,
            "scope": account.scope,
        }
        logger.warning(
            "An account was locked", extra={**extra, "ip": ip, "user_agent": (user_agent or "")[:USER_AGENT]}
        )
        yield telling.locked(account, paid, ip)
    return paid.status


def unlock_account(identifier: object, *, tenant: str | None = None, scope: str = PASSWORD) -> bool:
    """Open the lock and forget the failures; whether it was locked. Redis's errors are raised, in every mode."""
    return run(_unlock(Account.of(identifier, tenant, scope)))


async def aunlock_account(identifier: object, *, tenant: str | None = None, scope: str = PASSWORD) -> bool:
    return await arun(_unlock(Account.of(identifier, tenant, scope)))


def _unlock(account: Account, by: str = "administrator") -> Steps[bool]:
    account = yield from resolved(account)
    with unavailable_as_such():
        opened = yield from counting.unlock(account)
    if opened:
        yield telling.unlocked(account, by)
    return opened


def locked_accounts(tenant: str | None = None) -> list[LockedAccount]:
    """The accounts of a tenant that are locked now, soonest unlocked first, with masked identifiers. Two round trips.

    Raises ``RedisUnavailable``.
    """
    return run(_locked(tenant_or_shared(tenant)))


async def alocked_accounts(tenant: str | None = None) -> list[LockedAccount]:
    return await arun(_locked(tenant_or_shared(tenant)))


def _locked(tenant: str) -> Steps[list[LockedAccount]]:
    with unavailable_as_such():
        (members,) = yield Pipeline([("zrange", locked_accounts_key(tenant), 0, -1)])
        rows = counting.rows_of(members)
        # The list can be behind: a lock opened by a success, or gone with its slot. The locks themselves decide.
        left = (yield Pipeline([("pttl", keys.lockout(tag)) for tag, _, _ in rows])) if rows else []
    limits = Limits.in_force()
    stands = [(row, limits.status(0, pttl)) for row, pttl in zip(rows, left, strict=True)]
    return [
        LockedAccount(identifier, tag, scope, status.retry_after, status.capped)
        for (tag, scope, identifier), status in stands
        if status.locked
    ]


def forget_devices(user: Any, *, tenant: str | None = None) -> None:
    """Trust none of the user's browsers until they have signed in again: after a lost phone. One round trip.

    A changed password does so by itself. Raises ``RedisUnavailable``.
    """
    run(_forget_devices(user, tenant))


async def aforget_devices(user: Any, *, tenant: str | None = None) -> None:
    await arun(_forget_devices(user, tenant))


def _forget_devices(user: Any, tenant: str | None) -> Steps[None]:
    with unavailable_as_such():
        yield from devices.forget(user, tenant)


@contextmanager
def unavailable_as_such() -> Iterator[None]:
    """Driver errors of an outage as ``RedisUnavailable``; others as they are."""
    try:
        yield
    except RedisError as error:
        if not is_outage(error):
            raise
        raise RedisUnavailable("Redis cannot be asked; all is as it was.") from error
