"""Locks that grow, and the cap on failures in a row that only an unlock opens. Times are moved, never waited for.

Seen red: with the record of locks and failures deleted when a lock closes, with a cap that is looked at only where the
round's own limit is reached, and where a refusal counts as a failure in a row.
"""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.dispatch import Signal

from bergizi_redis import keys, signals
from bergizi_redis.security import lockout
from bergizi_redis.security.account import Account
from tests.moments import left_of

SCHEDULE = [1800, 3600, 14400, 86400]


@pytest.fixture
def who() -> str:
    return f"yuni-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def scheduled(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_SCHEDULE": SCHEDULE}


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []

    def receiver(signal: Signal, **arguments: Any) -> None:
        heard.append(arguments)

    signals.account_locked.connect(receiver)
    yield heard
    signals.account_locked.disconnect(receiver)


def fail(who: str, times: int = 5) -> None:
    for _ in range(times):
        with lockout.guard_login(who):
            pass


def end_lock(who: str, raw: "redis.Redis") -> None:
    assert raw.delete(Account.of(who, None, "password").counters[1]) == 1


def fail_to_the_cap(who: str, raw: "redis.Redis") -> None:
    for rounds in range(20):
        fail(who)
        if rounds < 19:
            end_lock(who, raw)


def test_each_lock_is_longer_than_the_last_until_the_schedules_end(
    who: str, raw: "redis.Redis", told: list[dict[str, Any]]
) -> None:
    left = []
    for _ in range(6):
        fail(who)
        left.append(lockout.is_account_locked(who).retry_after)
        end_lock(who, raw)
    lengths = [*SCHEDULE, 86400, 86400]
    assert left == [left_of(seconds) for seconds in lengths]
    assert [lock["level"] for lock in told] == [0, 1, 2, 3, 4, 5]
    assert [lock["retry_after"] for lock in told] == lengths


def test_trying_extends_no_lock_and_lifts_no_level(who: str, raw: "redis.Redis") -> None:
    fail(who)
    lock = Account.of(who, None, "password").counters[1]
    raw.pexpire(lock, 600_000)
    for _ in range(30):
        with pytest.raises(lockout.AccountLocked), lockout.guard_login(who):
            pass
    assert raw.pttl(lock) / 1000 == left_of(600)
    end_lock(who, raw)
    fail(who)
    assert lockout.is_account_locked(who).retry_after == left_of(3600)


def test_a_success_starts_the_schedule_afresh(who: str, raw: "redis.Redis") -> None:
    fail(who)
    end_lock(who, raw)
    with lockout.guard_login(who) as attempt:
        attempt.succeeded()
    fail(who)
    assert lockout.is_account_locked(who).retry_after == left_of(1800)


def test_the_schedule_is_remembered_as_long_as_the_setting_says(who: str, raw: "redis.Redis", settings: Any) -> None:
    fail(who)
    record = Account.of(who, None, "password").record
    assert 89 * 24 * 3600 < raw.ttl(record) <= 90 * 24 * 3600
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_MEMORY": 60}
    end_lock(who, raw)
    fail(who)
    assert 86000 < raw.ttl(record) <= 86400, "not shorter than the longest lock"
    raw.delete(record)
    end_lock(who, raw)
    fail(who)
    assert lockout.is_account_locked(who).retry_after == left_of(1800)


def test_a_hundred_failures_in_a_row_lock_until_it_is_unlocked(
    who: str, raw: "redis.Redis", told: list[dict[str, Any]]
) -> None:
    fail_to_the_cap(who, raw)
    status = lockout.is_account_locked(who)
    assert (status.locked, status.capped, status.retry_after) == (True, True, 1800)
    assert raw.ttl(Account.of(who, None, "password").counters[1]) == -1
    assert [lock["capped"] for lock in told] == [False] * 19 + [True]
    with pytest.raises(lockout.AccountLocked) as refusal, lockout.guard_login(who):
        pass
    assert refusal.value.reason == "capped"
    assert [row.identifier for row in lockout.locked_accounts()] == ["y…"]
    assert raw.ttl(keys.locked_accounts(None)) > 300 * 24 * 3600
    assert lockout.unlock_account(who) is True
    assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, 0, 5)
    fail(who)
    assert not lockout.is_account_locked(who).capped, "the unlock has forgotten the hundred"


def test_the_cap_is_exact_in_the_middle_of_a_round(who: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 3}
    fail(who, 3)
    assert lockout.is_account_locked(who).capped
    with pytest.raises(lockout.AccountLocked), lockout.guard_login(who):
        raise AssertionError("no password may be looked at")


def test_the_cap_is_exact_in_a_storm(who: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 7, "LOCKOUT_ATTEMPTS": 50}
    checked = []

    def guess(number: int) -> None:
        try:
            with lockout.guard_login(who):
                checked.append(number)
        except lockout.AccountLocked:
            pass

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(guess, range(100)))
    assert len(checked) == 7
    assert lockout.is_account_locked(who).capped


def test_the_right_password_on_the_last_attempt_before_the_cap_is_in(who: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 4}
    fail(who, 3)
    with lockout.guard_login(who) as attempt:
        attempt.succeeded()
    assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, 0, 5)
    fail(who, 3)
    assert not lockout.is_account_locked(who).locked


def test_a_success_forgets_the_failures_in_a_row(who: str, settings: Any, raw: "redis.Redis") -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 8}
    for _ in range(3):
        fail(who, 4)
        with lockout.guard_login(who) as attempt:
            attempt.succeeded()
    assert not lockout.is_account_locked(who).locked
    for _ in range(3):
        fail(who, 4)
        assert not lockout.record_login_attempt(who, success=True).locked
    assert not raw.exists(Account.of(who, None, "password").record)


def test_failures_in_a_row_survive_their_window(who: str, settings: Any, raw: "redis.Redis") -> None:
    """Four a day, for ever, would otherwise never be too many."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 12}
    for _ in range(3):
        fail(who, 4)
        raw.delete(Account.of(who, None, "password").counters[0])
    assert lockout.is_account_locked(who).capped


def test_a_refusal_is_no_failure_in_a_row(who: str, settings: Any, raw: "redis.Redis") -> None:
    """Or anybody who goes on trying while it is locked would bring the cap about."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 10}
    fail(who)
    for _ in range(30):
        with pytest.raises(lockout.AccountLocked), lockout.guard_login(who):
            pass
    end_lock(who, raw)
    fail(who, 4)
    assert not lockout.is_account_locked(who).locked
    fail(who, 1)
    assert lockout.is_account_locked(who).capped


def test_without_a_cap_there_is_none(who: str, settings: Any, raw: "redis.Redis") -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 0}
    fail_to_the_cap(who, raw)
    assert not lockout.is_account_locked(who).capped


def test_async_counts_the_same(who: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 2}

    async def main() -> None:
        for _ in range(2):
            async with lockout.guard_login(who):
                pass
        assert (await lockout.ais_account_locked(who)).capped

    asyncio.run(main())
