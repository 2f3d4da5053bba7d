"""The count itself, in Redis or, when Redis is down, as ``LOCKOUT_ON_OUTAGE`` says. Procedures of steps.

| step | round trips |
| --- | --- |
| a debit, a refusal | 1; on a cluster 1 for each network, 1 for the account, 1 for the tenant's share of failures |
| a debit that closes the lock | 1 more: the list of locked accounts is on another slot |
| settling a success | 1, and 1 more when it opens a lock; on a cluster as many as the debit |
| settling a failure | 0: it was counted before the check |
| the first attempt after an outage | 1 more for what the account owes, up to 10 for others |
"""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from bergizi_redis import lockoutkeys
from bergizi_redis.security import gates
from bergizi_redis.security.account import NOT_LOCKED, Account, Debit, Limits, in_ms, locked_accounts_key
from bergizi_redis.security.gates import Passage, text
from bergizi_redis.security.local import limiter
from bergizi_redis.security.networks import Network
from bergizi_redis.security.outage import degrades, mode_of
from bergizi_redis.security.replay import ledger, replay, replay_others
from bergizi_redis.security.status import LockStatus
from bergizi_redis.security.steps import Pipeline, RunScript, Steps

logger = logging.getLogger("bergizi_redis.security")

LISTED = 10_000  # locked accounts that a tenant's list holds, so that made-up names cannot fill the memory
LIST_MS = 24 * 3600 * 1000
CAPPED_MS = in_ms(365 * 24 * 3600)  # how long an account that only an unlock opens stays listed


def debit(passage: Passage, purpose: str) -> Steps[Debit]:
    """Pay for one check. ``purpose``: the scope, or ``staff``, for outages. Raises ``LockoutUnavailable``."""
    limits, account = Limits.in_force(), passage.account
    try:
        locked = yield from replay(ledger.of(account), limits)
        paid = yield from gates.pay(passage, limits)
    except RedisError as error:
        if not degrades(error, "lockout.debit", purpose):
            raise
        return _debit_without_redis(passage, purpose, limits)
    if paid.reason not in ("address", "network"):
        limiter.note(account.local, paid, limits)
    locked += yield from replay_others(limits)
    for owing, left_ms, now_ms in locked:
        yield from _list(owing, left_ms, now_ms)
    if paid.closed and account.device:
        yield from _note_device(account, CAPPED_MS if paid.status.capped else paid.status.retry_after * 1000)
    elif paid.closed:
        yield from _list(account, -1 if paid.status.capped else paid.status.retry_after * 1000, paid.now_ms)
    return paid


def _debit_without_redis(passage: Passage, purpose: str, limits: Limits) -> Debit:
    if mode_of(purpose) == "open":
        return Debit(True, limits.status(0, NOT_LOCKED), False, "", local=True)
    for network in () if passage.insists else passage.networks:
        if limiter.is_full(network.tag, network.limit):
            refused = limiter.debit(network.tag, _limits_of(network))
            return Debit(False, refused.status, False, "", local=True, reason=network.reason)
    paid = limiter.debit(passage.account.local, limits)
    if paid.allowed:
        ledger.owe(passage.account)
        for network in passage.networks:
            limiter.debit(network.tag, _limits_of(network))
    return paid


def _limits_of(network: Network) -> Limits:
    return Limits(network.limit, network.window_ms, network.window_ms)


def _list(account: Account, left_ms: int, now_ms: int) -> Steps[None]:
    """``left_ms``: of the lock, -1 for one that only an unlock opens."""
    key, tenants = locked_accounts_key(account.tenant), lockoutkeys.locking()
    stays_ms = CAPPED_MS if left_ms < 0 else left_ms
    life_ms = max(LIST_MS, stays_ms)
    try:
        yield Pipeline([
            ("zremrangebyscore", key, "-inf", now_ms),
            ("zadd", key, {account.member: now_ms + stays_ms}),
            ("zremrangebyrank", key, 0, -LISTED - 1),
            *_lasting(key, life_ms),
            ("zremrangebyscore", tenants, "-inf", now_ms),
            ("zadd", tenants, {account.tenant: now_ms + stays_ms}, False, False, False, False, True),  # GT
            *_lasting(tenants, life_ms),
        ])  # fmt: skip
    except RedisError as error:  # the lock itself is closed; only the list lacks it
        logger.warning("A locked account was not listed: %s", error, extra={"action": "lockout.list"})


def _lasting(key: str, life_ms: int) -> tuple[tuple[Any, ...], ...]:
    """Commands by which a key lives at least so long."""
    return ("pexpire", key, life_ms, True), ("pexpire", key, life_ms, False, False, True)  # NX, and GT


def _note_device(account: Account, stays_ms: int) -> Steps[None]:
    key = lockoutkeys.locked_devices(account.tag)
    try:
        yield Pipeline([("sadd", key, account.device), *_lasting(key, stays_ms)])
    except RedisError as error:  # it opens by itself
        logger.warning("A locked device was not noted: %s", error, extra={"action": "lockout.list"})


def open_devices(account: Account) -> Steps[None]:
    """Unlock the account's trusted devices too. One round trip, and one for each. Raises Redis's errors."""
    key = lockoutkeys.locked_devices(account.tag)
    (devices,) = yield Pipeline([("smembers", key)])
    for device in map(text, devices):
        opening = replace(account, device=device)
        yield RunScript("lockout_settle", gates.counters_of(opening), [1, 0, 0, "", ""])
        yield Pipeline([("srem", key, device)])
        limiter.settle(opening.local, "")
        ledger.forgive(opening)


def unlist(account: Account) -> Steps[None]:
    try:
        yield Pipeline([("zrem", locked_accounts_key(account.tenant), account.member)])
    except RedisError as error:  # the list is checked against the locks when it is read
        logger.warning("An unlocked account stays listed: %s", error, extra={"action": "lockout.unlist"})


def settle(passage: Passage, paid: Debit) -> Steps[tuple[bool, str | None]]:
    """Refund a success: whether that opened a lock, and the epoch of the account's devices where Redis told it.

    An outage here only leaves the debit standing, as a failure: the log-in goes on.
    """
    account = passage.account
    opened = limiter.settle(account.local, paid.generation)
    if paid.local:
        ledger.forgive(account)
        limiter.give_back([network.tag for network in passage.networks])
        return opened, None
    try:
        opened, epoch = yield from gates.settle(passage, paid)
    except RedisError as error:
        logger.warning("A success stays counted as a failure: %s", error, extra={"action": "lockout.settle"})
        return False, None
    if opened and not account.device:
        yield from unlist(account)
    return opened, epoch


def status(account: Account) -> Steps[LockStatus]:
    limits = Limits.in_force()
    try:
        failures, pttl = yield RunScript("lockout_status", account.counters)
    except RedisError as error:
        if not degrades(error, "lockout.status", account.scope):
            raise
        return _status_without_redis(account, limits)
    return limits.status(failures, pttl)


def forget_failures(account: Account) -> Steps[LockStatus]:
    """What a success recorded afterwards does: the failures go, a lock stays, since it was not this attempt's."""
    limits = Limits.in_force()
    try:
        # The method `unlink` of redis-py's asynchronous cluster pipeline loses its reply.
        _, pttl = yield Pipeline([
            ("execute_command", "UNLINK", account.counters[0], account.record), ("pttl", account.counters[1]),
        ])  # fmt: skip
    except RedisError as error:
        if not degrades(error, "lockout.record", account.scope):
            raise
        if not limiter.status(account.local, limits).locked:
            limiter.settle(account.local, "")
            ledger.forgive(account)
        return _status_without_redis(account, limits)
    if pttl == NOT_LOCKED:
        limiter.settle(account.local, "")
        ledger.forgive(account)
    return limits.status(0, pttl)


def _status_without_redis(account: Account, limits: Limits) -> LockStatus:
    is_open = mode_of(account.scope) == "open"
    return limits.status(0, NOT_LOCKED) if is_open else limiter.status(account.local, limits)


def unlock(account: Account) -> Steps[bool]:
    """Forget all that is held against the account; whether it was locked. Raises Redis's errors."""
    opened = yield from open_lock(account)
    if opened:
        yield from unlist(account)
    return opened


def open_lock(account: Account) -> Steps[bool]:
    """``unlock``, which leaves the row in the list of locked accounts to the caller."""
    keys = gates.counters_of(account)
    opened, _ = yield RunScript("lockout_settle", keys, [1, 0, 0, "", ""])
    limiter.settle(account.local, "")
    ledger.forgive(account)
    yield from open_devices(account)
    return bool(opened)


def rows_of(members: Iterable[Any]) -> list[list[str]]:
    return [text(member).split(":", 2) for member in members]
