"""Redis killed, hung, flushed, full or forgetful: never more than another N checks in a process, and never a hang."""

import asyncio
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth import aauthenticate, authenticate
from django.test import Client
from django.urls import path
from redis.exceptions import (
    ConnectionError,
    MaxConnectionsError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from bergizi_redis import connections, keys
from bergizi_redis.budget import within
from bergizi_redis.connections import is_outage
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.security import lockout
from bergizi_redis.security.account import Account, Debit, Limits
from bergizi_redis.security.local import LocalLimiter
from bergizi_redis.security.status import LockStatus
from bergizi_redis.security.turnstile import AsyncTurnstile, Turnstile, turnstile
from tests import passwordcount
from tests.allowances import granted
from tests.deadlines import ends_within
from tests.moments import left_of
from tests.passwordcount import RIGHT, OneUserBackend
from tests.servers import PrivateServer, free_port

GUARDED = "tests.test_lockout_races.GuardedBackend"


def sign_in(request: Any) -> Any:
    raise AssertionError(authenticate(request, username=request.POST["username"], password=RIGHT))


urlpatterns = [path("sign-in/", sign_in)]


@pytest.fixture
def who() -> str:
    return f"dewi-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def counted(settings: Any) -> Iterator[None]:
    settings.PASSWORD_HASHERS = ["tests.passwordcount.CountingHasher"]
    settings.AUTHENTICATION_BACKENDS = [GUARDED]
    OneUserBackend.prepare()
    yield
    connections.disconnect_all()


def choose(settings: Any, mode: str) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ON_OUTAGE": mode}


def guess(who: str, times: int = 1, password: str = "wrong") -> Any:
    return [authenticate(None, username=who, password=password) for _ in range(times)][-1]


class TestKilled:
    @pytest.fixture(autouse=True)
    def killed(self, server: PrivateServer) -> None:
        server.kill()

    def test_degrading_allows_as_many_checks_in_this_process(self, who: str, caplog: pytest.LogCaptureFixture) -> None:
        guess(who, 8)
        assert passwordcount.checks() == 5
        status = lockout.is_account_locked(who)
        assert (status.locked, status.failures, status.remaining) == (True, 5, 0)
        assert status.retry_after == left_of(1800)
        assert "Redis cannot count attempts" in caplog.text
        assert who not in caplog.text

    def test_degrading_is_exact_for_threads(self, who: str) -> None:
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda _: guess(who), range(64)))
        assert passwordcount.checks() == 5

    def test_degrading_is_exact_for_tasks(self, who: str) -> None:
        async def main() -> None:
            await asyncio.gather(*(aauthenticate(None, username=who, password="wrong") for _ in range(64)))

        asyncio.run(main())
        assert passwordcount.checks() == 5

    def test_degrading_lets_the_right_password_in_and_forgets_the_failures(self, who: str) -> None:
        guess(who, 4)
        assert guess(who, password=RIGHT)
        assert lockout.is_account_locked(who).failures == 0

    def test_recorded_attempts_are_counted_here_too(self, who: str) -> None:
        for _ in range(4):
            lockout.record_login_attempt(who, success=False)
        assert lockout.record_login_attempt(who, success=True).failures == 0
        for _ in range(5):
            lockout.record_login_attempt(who, success=False)
        assert lockout.record_login_attempt(who, success=True).locked

    def test_failing_closed_checks_nothing(self, who: str, settings: Any) -> None:
        choose(settings, "closed")
        with pytest.raises(lockout.LockoutUnavailable) as refusal:
            guess(who, password=RIGHT)
        assert isinstance(refusal.value, RedisUnavailable)
        assert isinstance(refusal.value.__cause__, RedisError)
        assert refusal.value.retry_after > 0
        assert passwordcount.checks() == 0
        with pytest.raises(lockout.LockoutUnavailable):
            lockout.is_account_locked(who)
        with pytest.raises(lockout.LockoutUnavailable):
            lockout.record_login_attempt(who, success=True)

    def test_failing_open_counts_nothing(self, who: str, settings: Any) -> None:
        choose(settings, "open")
        guess(who, 7)
        assert passwordcount.checks() == 7
        assert guess(who, password=RIGHT)
        assert lockout.is_account_locked(who) == LockStatus(False, 0, 0, 5)
        assert lockout.record_login_attempt(who, success=True) == LockStatus(False, 0, 0, 5)

    @pytest.mark.urls(__name__)
    def test_failing_closed_answers_503(self, who: str, settings: Any) -> None:
        choose(settings, "closed")
        settings.MIDDLEWARE = ["bergizi_redis.security.middleware.LockoutMiddleware"]
        response = Client().post("/sign-in/", {"username": who}, headers={"Accept": "application/json"})
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        assert response.json()["code"] == "login_unavailable"

    @pytest.mark.parametrize("mode", ["degrade", "closed", "open"])
    def test_an_administrator_is_told_that_nothing_was_unlocked(self, who: str, settings: Any, mode: str) -> None:
        choose(settings, mode)
        with pytest.raises(RedisUnavailable):
            lockout.unlock_account(who)
        with pytest.raises(RedisUnavailable):
            lockout.locked_accounts()


def test_an_outage_begins_where_redis_left_off(who: str, server: PrivateServer) -> None:
    guess(who, 3)
    server.kill()
    guess(who, 6)
    assert passwordcount.checks() == 5


def test_a_lock_that_redis_told_of_holds_through_the_outage(who: str, server: PrivateServer) -> None:
    guess(who, 6)
    server.kill()
    assert guess(who, password=RIGHT) is None
    assert lockout.is_account_locked(who).retry_after == left_of(1800)


def test_when_redis_is_back_it_counts_again_and_knows_of_the_outage(who: str, server: PrivateServer) -> None:
    server.kill()
    guess(who)
    server.start()
    guess(who, 2)
    assert lockout.is_account_locked(who).failures == 3


def test_a_success_that_cannot_be_settled_logs_in_and_stays_counted(
    who: str, server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    with lockout.guard_login(who) as attempt:
        server.kill()
        attempt.succeeded()
    assert "stays counted" in caplog.text


def test_a_lock_that_cannot_be_listed_is_closed(
    who: str, server: PrivateServer, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    guess(who, 4)
    with server.client() as client:
        client.set(keys.locked_accounts(None), "not a zset")
        guess(who)
        assert lockout.is_account_locked(who).locked
        assert "was not listed" in caplog.text
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            lockout.locked_accounts()
        assert lockout.unlock_account(who) is True
        assert "stays listed" in caplog.text


class TestHung:
    @pytest.fixture(autouse=True)
    def hung(self, server: PrivateServer, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr("bergizi_redis.security.turnstile.WIDTH", 4)
        monkeypatch.setattr("bergizi_redis.security.turnstile._by_process", {})
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 0.3}
        guess("warm")
        OneUserBackend.prepare()
        server.pause()
        yield
        server.resume()

    def test_one_attempt_waits_for_one_budget(self, who: str) -> None:
        with ends_within():
            guess(who)
        assert passwordcount.checks() == 1

    def test_a_storm_does_not_wait_in_line(self, who: str) -> None:
        """Would be 30 s in all, and goes red, when those in the queue do not share the fate of those before them, and
        no circuit opens either: each of the two is enough."""
        with granted() as waits, ThreadPoolExecutor(100) as pool:
            list(pool.map(lambda _: guess(who), range(100)))
        assert passwordcount.checks() == 5
        assert sum(waits) < 15

    def test_a_storm_of_tasks_does_not_either(self, who: str) -> None:
        async def main() -> None:
            await asyncio.gather(*(aauthenticate(None, username=who, password="wrong") for _ in range(300)))

        with granted() as waits:
            asyncio.run(main())
        assert passwordcount.checks() == 5
        assert sum(waits) < 30, "one by one it would be 90 s in all"


def test_a_flushed_server_starts_the_count_afresh(who: str, server: PrivateServer) -> None:
    guess(who, 6)
    with server.client() as client:
        client.flushall()
    assert guess(who, password=RIGHT)


def test_a_server_that_forgot_the_scripts_is_told_them_again(who: str, server: PrivateServer) -> None:
    guess(who, 2)
    with server.client() as client:
        client.script_flush()
        guess(who, 2)
        client.script_flush()
        with lockout.guard_login(who) as attempt:
            client.script_flush()
            attempt.succeeded()
    assert lockout.is_account_locked(who).failures == 0


def test_a_server_out_of_memory_counts_as_down(who: str, server: PrivateServer) -> None:
    guess(who, 2)
    with server.client() as client:
        client.config_set("maxmemory", "1")
        guess(who, 6)
        client.config_set("maxmemory", "0")
    assert passwordcount.checks() == 5


def test_a_replica_counts_as_down(who: str, server: PrivateServer) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", free_port())
        guess(who, 7)
        client.replicaof("NO", "ONE")
    assert passwordcount.checks() == 5


def test_a_wrong_password_of_redis_counts_as_down(who: str, server: PrivateServer) -> None:
    with server.client() as client:
        guess(who)
        client.config_set("requirepass", "another")
        connections.disconnect_all()
        guess(who, 7)
    assert passwordcount.checks() == 5


def test_an_error_that_is_no_outage_is_raised(who: str, server: PrivateServer) -> None:
    attempts, _ = Account.of(who, None, "password").counters
    with server.client() as client:
        client.set(attempts, "not a hash")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            guess(who)
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            lockout.is_account_locked(who)
        client.acl_setuser("default", enabled=True, nopass=True, keys="*", commands=["+@all", "-unlink", "-evalsha"])
        for forbidden in (lockout.unlock_account, lambda name: lockout.record_login_attempt(name, success=True)):
            with pytest.raises(ResponseError, match="permission"):
                forbidden(who)
    assert passwordcount.checks() == 0


@pytest.mark.parametrize("mode", ["degrade", "closed", "open"])
def test_a_full_pool_is_no_outage_and_checks_nothing(who: str, settings: Any, mode: str) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ON_OUTAGE": mode, "MAX_CONNECTIONS": 1}
    connections.disconnect_all()
    pool = connections.client().connection_pool
    taken = pool.get_connection()
    try:
        with within(0.2), pytest.raises(lockout.LockoutUnavailable) as refusal:
            guess(who, password=RIGHT)
    finally:
        pool.release(taken)
    assert isinstance(refusal.value.__cause__, MaxConnectionsError)
    assert passwordcount.checks() == 0


@pytest.mark.parametrize(
    ("error", "refuses"),
    [
        (OutOfMemoryError("command not allowed"), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), True),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), True),
        (ResponseError("WRONGTYPE Operation against a key"), False),
    ],
)
def test_which_errors_mean_that_nothing_can_be_counted(error: RedisError, refuses: bool) -> None:
    assert is_outage(error) is refuses


class TestTheLocalLimiter:
    limits = Limits(attempts=3, lock_ms=60_000, window_ms=600_000)

    @pytest.fixture
    def clock(self) -> list[float]:
        return [1000.0]

    @pytest.fixture
    def limiter(self, clock: list[float]) -> LocalLimiter:
        return LocalLimiter(capacity=3, clock=lambda: clock[0])

    def fail(self, limiter: LocalLimiter, tag: str = "a", times: int = 1) -> Debit:
        return [limiter.debit(tag, self.limits) for _ in range(times)][-1]

    def test_the_last_debit_closes_the_lock_and_the_next_is_refused(self, limiter: LocalLimiter) -> None:
        last = self.fail(limiter, times=3)
        assert (last.allowed, last.closed, last.status) == (True, True, LockStatus(True, 60, 3, 0))
        refused = self.fail(limiter)
        assert (refused.allowed, refused.closed, refused.status.retry_after) == (False, False, 60)

    def test_trying_does_not_extend_and_the_end_starts_fresh(self, limiter: LocalLimiter, clock: list[float]) -> None:
        self.fail(limiter, times=3)
        clock[0] += 59
        assert self.fail(limiter).status.retry_after == 1
        clock[0] += 1
        assert self.fail(limiter).status == LockStatus(False, 0, 1, 2)

    def test_failures_are_forgotten_after_the_window(self, limiter: LocalLimiter, clock: list[float]) -> None:
        self.fail(limiter, times=2)
        clock[0] += 600
        assert limiter.status("a", self.limits) == LockStatus(False, 0, 0, 3)

    def test_a_success_settles_its_own_round_only(self, limiter: LocalLimiter) -> None:
        first = self.fail(limiter)
        assert limiter.settle("a", first.generation) is False
        self.fail(limiter, times=3)
        assert limiter.settle("a", first.generation) is False
        assert limiter.status("a", self.limits).locked
        assert limiter.settle("a", "") is True
        assert not limiter.status("a", self.limits).locked

    def test_the_account_touched_longest_ago_goes_first(self, limiter: LocalLimiter) -> None:
        for tag in "abcad":
            self.fail(limiter, tag)
        failures = {tag: limiter.status(tag, self.limits).failures for tag in "abcd"}
        assert failures == {"a": 2, "b": 0, "c": 1, "d": 1}

    def test_a_limit_that_was_lowered_locks_without_a_check(self, limiter: LocalLimiter) -> None:
        self.fail(limiter, times=2)
        debit = limiter.debit("a", Limits(1, 60_000, 600_000))
        assert (debit.allowed, debit.closed) == (False, True)

    def test_what_redis_said_is_remembered(self, limiter: LocalLimiter) -> None:
        limiter.note("a", Debit(True, LockStatus(False, 0, 2, 1), False, "g"), self.limits)
        assert self.fail(limiter).closed
        limiter.note("b", Debit(False, LockStatus(True, 30, 3, 0), False, ""), self.limits)
        assert self.fail(limiter, "b").status.retry_after == 30

    def test_a_refusal_does_not_hide_which_round_closed_the_lock(self, limiter: LocalLimiter) -> None:
        limiter.note("a", Debit(True, LockStatus(True, 60, 3, 0), True, "g"), self.limits)
        limiter.note("a", Debit(False, LockStatus(True, 60, 3, 0), False, ""), self.limits)
        assert limiter.settle("a", "g") is True


class TestTheTurnstile:
    def test_it_lets_no_more_than_its_width_ask_at_a_time(self) -> None:
        gate, lock, inside, most = Turnstile(width=3), threading.Lock(), 0, 0

        def ask() -> None:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            threading.Event().wait(0.001)
            with lock:
                inside -= 1

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: gate.run(ask), range(64)))
        assert 1 <= most <= 3

    def test_who_waited_behind_an_outage_does_not_meet_it_again(self) -> None:
        async def main() -> None:
            gate = AsyncTurnstile(width=1)

            async def time_out() -> None:
                await asyncio.sleep(0)
                raise TimeoutError("no answer")

            async def well() -> str:
                return "well again"

            first, second = await asyncio.gather(gate.run(time_out), gate.run(well), return_exceptions=True)
            assert isinstance(first, TimeoutError)
            assert isinstance(second, ConnectionError)
            assert second.__cause__ is first
            assert await gate.run(well) == "well again"

        asyncio.run(main())

    def test_an_error_that_is_no_outage_is_its_own(self) -> None:
        async def main() -> None:
            gate = AsyncTurnstile(width=1)

            async def wrong() -> None:
                await asyncio.sleep(0)
                raise ResponseError("WRONGTYPE")

            answers = await asyncio.gather(gate.run(wrong), gate.run(wrong), return_exceptions=True)
            assert [type(answer) for answer in answers] == [ResponseError, ResponseError]

        asyncio.run(main())

    def test_there_is_one_a_process(self) -> None:
        assert turnstile() is turnstile()
