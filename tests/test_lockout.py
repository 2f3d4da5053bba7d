"""What lockout answers: counting, locking, unlocking, listing, on a real server. Nothing sleeps: TTLs are moved."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.core.exceptions import PermissionDenied
from django.dispatch import Signal
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis import keys, signals
from bergizi_redis.exceptions import BergiziRedisError, TenantError
from bergizi_redis.security import lockout
from bergizi_redis.security.account import Account
from bergizi_redis.tenancy import use_tenant
from tests.moments import left_of

Commands = Callable[[], AbstractContextManager[list[str]]]
HEALTHY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # on a busy machine


@pytest.fixture
def who() -> str:
    return f"budi-{uuid.uuid4().hex}@gizi.example"


@pytest.fixture
def heard() -> Iterator[list[tuple[Signal, dict[str, Any]]]]:
    """(signal, arguments) of what lockout told meanwhile."""
    told: list[tuple[Signal, dict[str, Any]]] = []

    def receiver(signal: Signal, **arguments: Any) -> None:
        told.append((signal, arguments))

    listened = (signals.login_refused, signals.account_locked, signals.account_unlocked)
    for signal in listened:
        signal.connect(receiver)
    yield told
    for signal in listened:
        signal.disconnect(receiver)


def fail(who: object, times: int = 1, **options: Any) -> None:
    for _ in range(times):
        with lockout.guard_login(who, **options):
            pass


def attempts_key(who: str) -> str:
    return Account.of(who, None, "password").counters[0]


def lock_key(who: str) -> str:
    return Account.of(who, None, "password").counters[1]


def expire_now(raw: "redis.Redis", key: str) -> None:
    raw.pexpire(key, 0)


def test_nobody_is_locked_at_first(who: str) -> None:
    assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, 0, 5)


def test_each_failure_is_counted_and_the_fifth_locks_for_half_an_hour(who: str) -> None:
    for failures in range(1, 5):
        fail(who)
        assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, failures, 5 - failures)
    fail(who)
    assert lockout.is_account_locked(who) == lockout.LockStatus(True, left_of(1800), 5, 0)


def test_an_attempt_knows_what_remains(who: str) -> None:
    with lockout.guard_login(who) as attempt:
        assert attempt.remaining == 4


def test_a_locked_account_is_refused_with_the_seconds_left(who: str) -> None:
    fail(who, 5)
    with pytest.raises(lockout.AccountLocked) as refusal, lockout.guard_login(who):
        raise AssertionError("no password may be looked at")
    assert refusal.value.retry_after == left_of(1800)
    assert isinstance(refusal.value, PermissionDenied)
    assert isinstance(refusal.value, BergiziRedisError)
    assert who not in str(refusal.value)


@pytest.mark.parametrize("before", range(5))
def test_a_success_forgets_the_failures_also_on_the_last_attempt(who: str, raw: "redis.Redis", before: int) -> None:
    fail(who, before)
    with lockout.guard_login(who) as attempt:
        attempt.succeeded("the user")
    assert attempt.user == "the user"
    assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, 0, 5)
    assert not raw.exists(attempts_key(who), lock_key(who))
    assert lockout.locked_accounts() == []


def test_an_error_inside_the_block_counts_as_a_failure(who: str) -> None:
    with pytest.raises(ZeroDivisionError), lockout.guard_login(who):
        raise ZeroDivisionError
    assert lockout.is_account_locked(who).failures == 1


def test_an_error_after_the_success_does_not_undo_it(who: str) -> None:
    def login() -> None:
        with lockout.guard_login(who) as attempt:
            attempt.succeeded()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        login()
    assert lockout.is_account_locked(who).failures == 0


def test_a_crash_between_paying_and_settling_counts_as_a_failure(who: str) -> None:
    for _ in range(5):
        lockout.guard_login(who).__enter__()
    assert lockout.is_account_locked(who).locked


def test_a_cancelled_task_counts_as_a_failure(who: str) -> None:
    async def main() -> None:
        inside = asyncio.Event()

        async def login() -> None:
            async with lockout.guard_login(who):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(login())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert lockout.is_account_locked(who).failures == 1


def test_one_attempt_is_entered_once(who: str) -> None:
    attempt = lockout.guard_login(who)
    with attempt:
        pass
    with pytest.raises(RuntimeError, match="guard_login"), attempt:
        pass
    assert lockout.is_account_locked(who).failures == 1


def test_an_attempt_that_was_not_entered_settles_nothing(who: str) -> None:
    attempt = lockout.guard_login(who)
    attempt.succeeded()
    assert attempt.remaining == 0
    attempt.__exit__(None, None, None)


def test_trying_never_extends_a_lock(who: str, raw: "redis.Redis") -> None:
    fail(who, 5)
    raw.pexpire(lock_key(who), 600_000)
    left = 600_000
    for _ in range(20):
        with pytest.raises(lockout.AccountLocked), lockout.guard_login(who):
            pass
        lockout.record_login_attempt(who, success=False)
        now: Any = raw.pttl(lock_key(who))
        assert 0 < now <= left
        left = now
    assert not raw.exists(attempts_key(who))


def test_when_a_lock_expires_the_count_starts_fresh(who: str, raw: "redis.Redis") -> None:
    fail(who, 5)
    expire_now(raw, lock_key(who))
    assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, 0, 5)
    assert lockout.locked_accounts() == []
    fail(who, 4)
    assert not lockout.is_account_locked(who).locked
    fail(who)
    assert lockout.is_account_locked(who).locked


def test_failures_are_remembered_for_a_day_after_the_last(who: str, raw: "redis.Redis") -> None:
    fail(who, 3)
    raw.pexpire(attempts_key(who), 600_000)
    fail(who)
    left: Any = raw.pttl(attempts_key(who))
    assert left / 1000 == left_of(24 * 3600)
    expire_now(raw, attempts_key(who))
    assert lockout.is_account_locked(who).failures == 0


@pytest.mark.parametrize("limit", [1, 3, 20])
def test_the_limit_is_a_setting(who: str, settings: Any, limit: int) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ATTEMPTS": limit, "LOCKOUT_SECONDS": 599.5}
    fail(who, limit - 1)
    assert not lockout.is_account_locked(who).locked
    with lockout.guard_login(who) as attempt:
        attempt.succeeded()
    fail(who, limit)
    assert lockout.is_account_locked(who) == lockout.LockStatus(True, left_of(599.5), limit, 0)


def test_a_limit_that_was_lowered_locks_without_a_check(who: str, settings: Any, heard: list[Any]) -> None:
    fail(who, 4)
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ATTEMPTS": 2}
    with pytest.raises(lockout.AccountLocked), lockout.guard_login(who):
        raise AssertionError("no password may be looked at")
    assert [signal for signal, _ in heard] == [signals.account_locked, signals.login_refused]


def test_a_lock_that_somebody_made_endless_holds(who: str, raw: "redis.Redis") -> None:
    fail(who, 5)
    raw.persist(lock_key(who))
    with pytest.raises(lockout.AccountLocked), lockout.guard_login(who):
        pass
    assert lockout.is_account_locked(who) == lockout.LockStatus(True, 1800, 5, 0)


def test_spellings_of_one_name_share_one_count(who: str) -> None:
    for spelling in (who, who.upper(), f" {who} ", who.replace("@", "\u200b@"), who.replace("@", "＠")):
        fail(spelling)
    assert lockout.is_account_locked(who).locked


AWKWARD = ["", "a" * 10_000, "budi\x00", ":{}*", "{x}:y", "@", "\ud800", "🍚", "a\nb", "*", "t:{sppg-1}"]


@pytest.mark.parametrize("identifier", AWKWARD)
def test_awkward_identifiers_lock_like_any_other(identifier: str) -> None:
    with use_tenant(f"t-{uuid.uuid4().hex}"):
        fail(identifier, 5)
        assert lockout.is_account_locked(identifier).locked
        assert not lockout.is_account_locked(identifier + "x").locked
        (row,) = lockout.locked_accounts()
        assert len(row.identifier) <= 4
        assert lockout.unlock_account(identifier) is True


@pytest.mark.usefixtures("prefix")
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=HEALTHY)
@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_any_text_is_an_identifier(text: str) -> None:
    with use_tenant(f"t-{uuid.uuid4().hex}"):
        with lockout.guard_login(text):
            pass
        assert lockout.is_account_locked(text).failures == 1


def test_tenants_are_counted_apart(who: str) -> None:
    with use_tenant("sppg-jakarta-001"):
        fail(who, 5)
        assert lockout.is_account_locked(who).locked
    assert not lockout.is_account_locked(who).locked
    assert not lockout.is_account_locked(who, tenant="sppg-bogor-002").locked
    assert lockout.is_account_locked(who, tenant="sppg-jakarta-001").locked
    with use_tenant("sppg-jakarta-001"):
        assert not lockout.is_account_locked(who, tenant="@").locked
        assert [row.identifier for row in lockout.locked_accounts()] == ["b…@g…"]
        assert lockout.locked_accounts("@") == []
    assert len(lockout.locked_accounts("sppg-jakarta-001")) == 1


def test_scopes_are_counted_apart(who: str) -> None:
    fail(who, 5, scope="otp")
    assert lockout.is_account_locked(who, scope="otp").locked
    assert not lockout.is_account_locked(who).locked
    assert not lockout.unlock_account(who)
    assert [row.scope for row in lockout.locked_accounts()] == ["otp"]
    assert lockout.unlock_account(who, scope="otp")


@pytest.mark.parametrize("scope", ["", "Password", "a:b", "x" * 33])
def test_a_bad_scope_is_an_error_that_says_so(who: str, scope: str) -> None:
    with pytest.raises(ValueError, match="is not a scope"):
        lockout.guard_login(who, scope=scope)


def test_a_bad_tenant_is_an_error_that_says_so(who: str) -> None:
    with pytest.raises(TenantError, match="is not a tenant id"):
        lockout.locked_accounts("{x}")
    with pytest.raises(TenantError, match="is not a tenant id"):
        lockout.is_account_locked(who, tenant="")


def test_unlocking_opens_the_lock_and_forgets_the_failures(who: str, heard: list[Any]) -> None:
    fail(who, 5)
    heard.clear()
    assert lockout.unlock_account(who.upper()) is True
    assert lockout.is_account_locked(who) == lockout.LockStatus(False, 0, 0, 5)
    assert lockout.locked_accounts() == []
    ((signal, arguments),) = heard
    assert signal is signals.account_unlocked
    assert (arguments["identifier"], arguments["tenant"]) == (who, keys.SHARED)


def test_unlocking_an_open_account_forgets_its_failures_and_says_false(who: str, heard: list[Any]) -> None:
    fail(who, 3)
    assert lockout.unlock_account(who) is False
    assert lockout.is_account_locked(who).failures == 0
    assert heard == []


def test_signals_tell_of_the_lock_and_of_each_refusal(who: str, heard: list[Any]) -> None:
    fail(who, 5)
    ((signal, arguments),) = heard
    assert signal is signals.account_locked
    assert (arguments["identifier"], arguments["tenant"], arguments["failures"]) == (who, keys.SHARED, 5)
    request: Any = SimpleNamespace()
    with pytest.raises(lockout.AccountLocked), lockout.guard_login(who, request=request):
        pass
    signal, arguments = heard[1]
    assert signal is signals.login_refused
    assert (arguments["identifier"], arguments["retry_after"], arguments["request"]) == (who, left_of(1800), request)
    assert request.login_refusal.retry_after == arguments["retry_after"]


def test_a_success_on_the_last_attempt_tells_of_no_lock(who: str, heard: list[Any]) -> None:
    fail(who, 4)
    with lockout.guard_login(who) as attempt:
        attempt.succeeded()
    assert heard == []


def test_a_success_opens_a_lock_that_others_closed_meanwhile(who: str, heard: list[Any]) -> None:
    """The lock counted this attempt as a failure, in advance; without it there were but four."""
    with lockout.guard_login(who) as attempt:
        fail(who, 4)
        assert lockout.is_account_locked(who).locked
        attempt.succeeded()
    assert not lockout.is_account_locked(who).locked
    assert [signal for signal, _ in heard] == [signals.account_locked, signals.account_unlocked]


def test_a_success_of_an_earlier_round_opens_no_later_lock(who: str) -> None:
    """Goes red when the settling script does not compare generations."""
    with lockout.guard_login(who) as attempt:
        lockout.unlock_account(who)
        fail(who, 5)
        attempt.succeeded()
    assert lockout.is_account_locked(who).locked


def test_a_success_of_an_earlier_round_forgets_no_later_failures(who: str, raw: "redis.Redis") -> None:
    with lockout.guard_login(who) as attempt:
        expire_now(raw, attempts_key(who))
        fail(who, 3)
        attempt.succeeded()
    assert lockout.is_account_locked(who).failures == 3


def test_a_broken_receiver_changes_no_answer(who: str, caplog: pytest.LogCaptureFixture) -> None:
    def broken(**arguments: Any) -> None:
        raise ZeroDivisionError

    signals.account_locked.connect(broken)
    try:
        fail(who, 5)
    finally:
        signals.account_locked.disconnect(broken)
    assert lockout.is_account_locked(who).locked
    assert "send_robust" in caplog.text


class TestRecordedAttempts:
    def test_failures_count_and_lock(self, who: str, heard: list[Any]) -> None:
        answers = [
            lockout.record_login_attempt(who, success=False, ip="192.0.2.1", user_agent="x" * 999) for _ in range(5)
        ]
        assert [answer.remaining for answer in answers] == [4, 3, 2, 1, 0]
        assert answers[-1].locked
        assert [signal for signal, _ in heard] == [signals.account_locked]
        assert len(lockout.locked_accounts()) == 1

    def test_a_failure_while_locked_counts_and_extends_nothing(self, who: str, raw: "redis.Redis") -> None:
        fail(who, 5)
        raw.pexpire(lock_key(who), 600_000)
        assert lockout.record_login_attempt(who, success=False) == lockout.LockStatus(True, left_of(600), 5, 0)
        assert not raw.exists(attempts_key(who))

    def test_a_success_forgets_the_failures(self, who: str) -> None:
        fail(who, 4)
        assert lockout.record_login_attempt(who, success=True) == lockout.LockStatus(False, 0, 0, 5)
        assert lockout.is_account_locked(who).failures == 0

    def test_a_success_opens_no_lock(self, who: str) -> None:
        fail(who, 5)
        assert lockout.record_login_attempt(who, success=True).locked
        assert lockout.is_account_locked(who).locked

    def test_the_log_line_names_nobody(self, who: str, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(5):
            lockout.record_login_attempt(who, success=False, ip="192.0.2.1", user_agent="Mozilla/5.0 " * 99)
        (record,) = [record for record in caplog.records if getattr(record, "action", "") == "account_locked"]
        assert (record.account, record.ip) == ("b…@g…", "192.0.2.1")  # type: ignore[attr-defined]
        assert len(record.user_agent) == 200  # type: ignore[attr-defined]
        assert not any(who in str(vars(record)) for record in caplog.records)


class TestTheListOfLockedAccounts:
    def test_it_lists_what_is_locked_now_masked(self, who: str, raw: "redis.Redis") -> None:
        others = [f"{letter}-{who}" for letter in "xyz"]
        for other in others:
            fail(other, 5)
        raw.pexpire(lock_key(others[1]), 0)
        raw.pexpire(lock_key(others[2]), 600_000)
        rows = lockout.locked_accounts()
        assert [row.identifier for row in rows] == ["x…@g…", "z…@g…"]
        assert [row.retry_after for row in rows] == [left_of(1800), left_of(600)]
        assert rows[0].tag == Account.of(others[0], None, "password").tag

    def test_it_lives_a_day_and_drops_what_has_passed(self, who: str, raw: "redis.Redis") -> None:
        fail(who, 5)
        key = keys.locked_accounts(None)
        raw.zadd(key, {"gone:password:g…": 1.0})
        fail(f"other-{who}", 5)
        assert raw.zcard(key) == 2
        left: Any = raw.pttl(key)
        assert left / 1000 == left_of(24 * 3600)

    def test_it_is_bounded(self, who: str, raw: "redis.Redis", monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bergizi_redis.security.counting.LISTED", 2)
        for number in range(4):
            fail(f"{number}-{who}", 5)
        assert raw.zcard(keys.locked_accounts(None)) == 2


class TestRoundTrips:
    @pytest.fixture(autouse=True)
    def scripts_known(self, who: str) -> None:
        fail(f"warm-{who}", 5)
        lockout.unlock_account(f"warm-{who}")
        lockout.is_account_locked(f"warm-{who}")

    def test_a_failure_is_one_command(self, who: str, commands: Commands) -> None:
        with commands() as log:
            fail(who)
        assert [command.split()[0] for command in log] == ["EVALSHA"]

    def test_a_success_is_two(self, who: str, commands: Commands) -> None:
        with commands() as log, lockout.guard_login(who) as attempt:
            attempt.succeeded()
        assert [command.split()[0] for command in log] == ["EVALSHA", "EVALSHA"]

    def test_a_refusal_is_one(self, who: str, commands: Commands) -> None:
        fail(who, 5)
        with commands() as log, pytest.raises(lockout.AccountLocked), lockout.guard_login(who):
            pass
        assert [command.split()[0] for command in log] == ["EVALSHA"]

    def test_closing_a_lock_lists_it_in_one_more(self, who: str, commands: Commands) -> None:
        fail(who, 4)
        with commands() as log:
            fail(who)
        names = [command.split()[0] for command in log]
        listing = ["ZREMRANGEBYSCORE", "ZADD", "PEXPIRE", "PEXPIRE"]  # of the tenants that have any; of its accounts:
        assert names == ["EVALSHA", *listing[:2], "ZREMRANGEBYRANK", *listing[2:], *listing]

    def test_a_status_is_one(self, who: str, commands: Commands) -> None:
        with commands() as log:
            lockout.is_account_locked(who)
        assert [command.split()[0] for command in log] == ["EVALSHA"]

    def test_async_sends_the_same(self, who: str, commands: Commands) -> None:
        async def login() -> None:
            async with lockout.guard_login(who) as attempt:
                attempt.succeeded()

        with commands() as log:
            asyncio.run(login())
        assert [command.split()[0] for command in log] == ["EVALSHA", "EVALSHA"]


def test_no_key_and_no_value_holds_a_name_or_a_password(who: str, raw: "redis.Redis", prefix: str) -> None:
    fail(who, 3)
    fail(f"other-{who}", 5, ip="192.0.2.77")
    lockout.record_login_attempt(who, success=False, ip="192.0.2.77", user_agent="Mozilla/5.0")
    found = {key for key in raw.scan_iter(match=f"{prefix}*", count=1000) if not key.endswith(b":epoch")}
    # The cache's epoch is made with a new connection; of a network each (account, log, accounts) one.
    parts = sorted(key.split(b"security:")[1].split(b":")[0].decode() for key in found)
    assert parts == [
        "accounts", "attempts", "locking", "lockout", "network", "origins", "origins", "outcomes", "record", "record",
        "spray",
    ]  # fmt: skip
    kept = b" ".join(found)
    for key in found:
        kept += b" " + (raw.dump(key) or b"")
    for secret in (who, who.split("@")[0], "gizi", "192.0.2.77", "Mozilla"):
        assert secret.encode() not in kept


def test_the_two_keys_of_an_account_share_a_slot(who: str) -> None:
    attempts, lock = Account.of(who, None, "password").counters
    assert attempts.split("{")[1] == lock.split("{")[1]


def test_the_async_twins_say_the_same(who: str, heard: list[Any]) -> None:
    async def main() -> None:
        for _ in range(4):
            async with lockout.guard_login(who):
                pass
        assert (await lockout.arecord_login_attempt(who, success=False)).locked
        assert (await lockout.ais_account_locked(who)).locked
        with pytest.raises(lockout.AccountLocked):
            async with lockout.guard_login(who):
                raise AssertionError("no password may be looked at")
        assert [row.identifier for row in await lockout.alocked_accounts()] == ["b…@g…"]
        assert await lockout.aunlock_account(who) is True
        assert (await lockout.arecord_login_attempt(who, success=True)).failures == 0
        assert await lockout.alocked_accounts() == []

    async_to_sync(main)()
    assert [signal for signal, _ in heard] == [signals.account_locked, signals.login_refused, signals.account_unlocked]
