"""The count itself, in Redis or, when Redis is down, as ``LOCKOUT_ON_OUTAGE`` says. Procedures of steps.

| step | round trips |
| --- | --- |
| a debit, a refusal | 1 |
| a debit that closes the lock | 2: the list of locked accounts is on another slot |
| settling a success | 1, and 1 more when it opens a lock |
| settling a failure | 0: it was counted before the check |
"""

import logging
from typing import Any

from redis.exceptions import MaxConnectionsError, RedisError

from bergizi_redis.conf import config
from bergizi_redis.connections import is_outage
from bergizi_redis.security.account import NOT_LOCKED, Account, Debit, Limits, locked_accounts_key, new_generation
from bergizi_redis.security.local import limiter
from bergizi_redis.security.status import LockoutUnavailable, LockStatus
from bergizi_redis.security.steps import Pipeline, RunScript, Steps

logger = logging.getLogger("bergizi_redis.security")

LISTED = 10_000  # locked accounts that a tenant's list holds, so that made-up names cannot fill the memory
LIST_MS = 24 * 3600 * 1000


def degrades(error: RedisError, action: str) -> bool:
    """Whether to go on without Redis. ``LockoutUnavailable`` where attempts must not go on; False: not an outage."""
    if isinstance(error, MaxConnectionsError):  # the server may be well: going on would count in two places
        raise LockoutUnavailable("Every connection is in use; attempts cannot be counted.", retry_after=1) from error
    if not is_outage(error):
        return False
    mode = config.LOCKOUT_ON_OUTAGE
    logger.error("Redis cannot count attempts (%s): %s", error, mode, extra={"action": action, "mode": mode})
    if mode == "closed":
        raise LockoutUnavailable("Redis cannot be asked, and LOCKOUT_ON_OUTAGE is 'closed'.") from error
    return True


def debit(account: Account) -> Steps[Debit]:
    """Pay for one check. Raises ``LockoutUnavailable``."""
    limits = Limits.in_force()
    arguments = (limits.attempts, limits.lock_ms, limits.window_ms, new_generation())
    try:
        reply = yield RunScript("lockout_debit", account.counters, arguments)
    except RedisError as error:
        if not degrades(error, "lockout.debit"):
            raise
        return _debit_without_redis(account, limits)
    paid = _from_reply(reply, limits)
    limiter.note(account.tag, paid, limits)
    if paid.closed:
        yield from _list(account, paid, limits)
    return paid


def _debit_without_redis(account: Account, limits: Limits) -> Debit:
    if config.LOCKOUT_ON_OUTAGE == "open":
        return Debit(True, limits.status(0, NOT_LOCKED), False, "", local=True)
    return limiter.debit(account.tag, limits)


def _from_reply(reply: list[Any], limits: Limits) -> Debit:
    allowed, failures, pttl, closed, generation, now_ms = reply
    return Debit(bool(allowed), limits.status(failures, pttl), bool(closed), text(generation), now_ms)


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _list(account: Account, paid: Debit, limits: Limits) -> Steps[None]:
    key = locked_accounts_key(account.tenant)
    try:
        yield Pipeline([
            ("zremrangebyscore", key, "-inf", paid.now_ms),
            ("zadd", key, {account.member: paid.now_ms + limits.lock_ms}),
            ("zremrangebyrank", key, 0, -LISTED - 1),
            ("pexpire", key, max(LIST_MS, limits.lock_ms)),
        ])  # fmt: skip
    except RedisError as error:  # the lock itself is closed; only the list lacks it
        logger.warning("A locked account was not listed: %s", error, extra={"action": "lockout.list"})


def unlist(account: Account) -> Steps[None]:
    try:
        yield Pipeline([("zrem", locked_accounts_key(account.tenant), account.member)])
    except RedisError as error:  # the list is checked against the locks when it is read
        logger.warning("An unlocked account stays listed: %s", error, extra={"action": "lockout.unlist"})


def settle(account: Account, paid: Debit) -> Steps[bool]:
    """Refund the round of a successful attempt; whether that opened a lock.

    An outage here only leaves the debit standing, as a failure: the log-in goes on.
    """
    opened = limiter.settle(account.tag, paid.generation)
    if paid.local:
        return opened
    try:
        reply = yield RunScript("lockout_settle", account.counters, [paid.generation])
    except RedisError as error:
        logger.warning("A success stays counted as a failure: %s", error, extra={"action": "lockout.settle"})
        return False
    if reply:
        yield from unlist(account)
    return bool(reply)


def status(account: Account) -> Steps[LockStatus]:
    limits = Limits.in_force()
    try:
        failures, pttl = yield RunScript("lockout_status", account.counters)
    except RedisError as error:
        if not degrades(error, "lockout.status"):
            raise
        return _status_without_redis(account, limits)
    return limits.status(failures, pttl)


def forget_failures(account: Account) -> Steps[LockStatus]:
    """What a success recorded afterwards does: the failures go, a lock stays, since it was not this attempt's."""
    limits = Limits.in_force()
    try:
        # The method `unlink` of redis-py's asynchronous cluster pipeline loses its reply.
        _, pttl = yield Pipeline([("execute_command", "UNLINK", account.counters[0]), ("pttl", account.counters[1])])
    except RedisError as error:
        if not degrades(error, "lockout.record"):
            raise
        if not limiter.status(account.tag, limits).locked:
            limiter.settle(account.tag, "")
        return _status_without_redis(account, limits)
    if pttl == NOT_LOCKED:
        limiter.settle(account.tag, "")
    return limits.status(0, pttl)


def _status_without_redis(account: Account, limits: Limits) -> LockStatus:
    is_open = config.LOCKOUT_ON_OUTAGE == "open"
    return limits.status(0, NOT_LOCKED) if is_open else limiter.status(account.tag, limits)
