"""A thousand at once, killed, cancelled, with a clock of their own, and with Redis failing between debit and refund.

Seen red: with the count read in one command and written in another, and where a refund that fails ends the log-in.
"""

import asyncio
import random
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

import pytest

from bergizi_redis import connections
from bergizi_redis.security import lockout
from bergizi_redis.security.account import Account
from tests.servers import PrivateServer, free_port


@pytest.fixture
def who() -> str:
    return f"rudi-{uuid.uuid4().hex}"


def use(settings: Any, **given: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **given}


@pytest.mark.parametrize("limit", [1, 3, 5, 20])
def test_a_thousand_threads_at_one_moment_are_limit_checks(who: str, settings: Any, limit: int) -> None:
    use(settings, LOCKOUT_ATTEMPTS=limit)
    checked, go = [], threading.Event()

    def guess() -> None:
        go.wait(60)
        try:
            with lockout.guard_login(who, ip="203.0.113.7"):
                checked.append(1)
        except lockout.AccountLocked:
            pass

    threads = [threading.Thread(target=guess) for _ in range(1000)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(checked) == limit


@pytest.mark.parametrize("limit", [20, *(pytest.param(limit, marks=pytest.mark.soak) for limit in (1, 3))])
def test_three_hundred_tasks_are_limit_checks(who: str, settings: Any, limit: int) -> None:
    use(settings, LOCKOUT_ATTEMPTS=limit)
    checked = 0

    async def guess() -> None:
        nonlocal checked
        async with lockout.guard_login(who, ip="203.0.113.7"):
            checked += 1
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(guess() for _ in range(300)), return_exceptions=True)

    asyncio.run(main())
    assert checked == limit


def test_a_storm_of_one_time_codes_is_five_and_locks_no_password(who: str) -> None:
    checked = []
    for number in range(300):
        try:
            with lockout.guard_login(who, scope="otp"):
                checked.append(f"{number:06}")
        except lockout.AccountLocked:
            pass
    assert len(checked) == 5
    assert not lockout.is_account_locked(who).locked


def test_tasks_that_are_cancelled_at_any_moment_never_make_it_more(who: str) -> None:
    """A cancelled attempt may be counted or not; it is never checked without being counted."""
    checked, chance = 0, random.Random(7)

    async def guess() -> None:
        nonlocal checked
        async with lockout.guard_login(who):
            checked += 1
            await asyncio.sleep(0)

    async def main() -> None:
        tasks = [asyncio.create_task(guess()) for _ in range(100)]
        for task in chance.sample(tasks, 60):
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(guess() for _ in range(40)), return_exceptions=True)

    asyncio.run(main())
    assert checked <= 5
    assert lockout.is_account_locked(who).locked


CHILD = """
import sys, threading
import django
from django.conf import settings
url, prefix, who = sys.argv[1:]
settings.configure(
    SECRET_KEY="for tests only",
    CACHES={"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}},
    BERGIZI_REDIS={"KEY_PREFIX": prefix, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0},
)
django.setup()
from bergizi_redis.security import lockout
attempts = [lockout.guard_login(who) for _ in range(4)]
for attempt in attempts:
    attempt.__enter__()
    attempt.succeeded()
print("checking", flush=True)
threading.Event().wait(240)
"""


def test_a_process_that_is_killed_between_debit_and_refund_leaves_failures(
    who: str, redis_url: str, prefix: str
) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, redis_url, prefix, who], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "checking\n"
    finally:
        child.kill()
        child.communicate()
    assert lockout.is_account_locked(who).failures == 4
    with lockout.guard_login(who) as attempt:
        attempt.succeeded()
    assert lockout.is_account_locked(who).failures == 0


@pytest.mark.parametrize("days", [-1, 1])
def test_this_machines_clock_counts_for_nothing(who: str, monkeypatch: pytest.MonkeyPatch, raw: Any, days: int) -> None:
    for _ in range(4):
        lockout.record_login_attempt(who, success=False, ip="203.0.113.7")
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + days * 86_400)
    assert lockout.is_account_locked(who).failures == 4
    assert lockout.record_login_attempt(who, success=False).locked
    left = [lockout.is_account_locked(who).retry_after, *(row.retry_after for row in lockout.locked_accounts())]
    assert len(left) == 2
    assert all(1500 < each <= 1800 for each in left)
    assert 1_500_000 < raw.pttl(Account.of(who, None, "password").counters[1]) <= 1_800_000
    with pytest.raises(lockout.AccountLocked), lockout.guard_login(who, ip="203.0.113.7"):
        pass


class TestRedisFailsInTheMiddle:
    """Between the debit and its refund: the log-in goes on, and what could not be refunded stays counted."""

    def test_flushed(self, who: str, server: PrivateServer) -> None:
        with lockout.guard_login(who, ip="203.0.113.7") as attempt, server.client() as client:
            client.flushall()
            client.script_flush()
            attempt.succeeded()
        assert lockout.is_account_locked(who).failures == 0

    def test_a_replica_now(self, who: str, server: PrivateServer, caplog: pytest.LogCaptureFixture) -> None:
        with server.client() as client:
            with lockout.guard_login(who) as attempt:
                client.replicaof("127.0.0.1", free_port())
                attempt.succeeded()
            assert "stays counted" in caplog.text
            client.replicaof("NO", "ONE")
        assert lockout.is_account_locked(who).failures == 1

    def test_out_of_memory(self, who: str, server: PrivateServer) -> None:
        """A refund only deletes, so it needs no memory."""
        with server.client() as client:
            with lockout.guard_login(who) as attempt:
                client.config_set("maxmemory", "1")
                attempt.succeeded()
            client.config_set("maxmemory", "0")
        assert lockout.is_account_locked(who).failures <= 1

    def test_the_scripts_forgotten_in_a_storm(self, who: str, server: PrivateServer) -> None:
        checked, stop = [], threading.Event()

        def forget() -> None:
            with server.client() as client:
                while not stop.is_set():
                    client.script_flush()

        def guess() -> None:
            try:
                with lockout.guard_login(who, ip="203.0.113.7"):
                    checked.append(1)
            except lockout.AccountLocked:
                pass

        forgetting = threading.Thread(target=forget)
        forgetting.start()
        try:
            threads = [threading.Thread(target=guess) for _ in range(60)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        finally:
            stop.set()
            forgetting.join(60)
        assert len(checked) == 5

    def test_killed_and_started_again_empty(self, who: str, server: PrivateServer) -> None:
        with lockout.guard_login(who) as attempt:
            server.kill()
            server.start()
            connections.disconnect_all()
            attempt.succeeded()
        assert lockout.is_account_locked(who).failures == 0
