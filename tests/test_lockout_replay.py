"""What was counted while Redis was away is added to it once, and before the account's next attempt is counted.

Seen red: with a debt that is forgotten before it is known to be paid, without the nonce in the script, where the
attempt is counted before the debt is paid, and where a failure is added to an entry that is on its way already.
"""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bergizi_redis import connections
from bergizi_redis.security import counters, lockout
from bergizi_redis.security.account import Account, Limits
from bergizi_redis.security.local import limiter
from bergizi_redis.security.replay import Ledger, ledger, replay
from bergizi_redis.security.steps import RunScript, run
from tests.servers import PrivateServer


@pytest.fixture
def who() -> str:
    return f"eka-{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def nothing_owed() -> Iterator[None]:
    ledger._owed.clear()
    yield
    ledger._owed.clear()
    connections.disconnect_all()


def account(who: str) -> Account:
    return Account.of(who, None, "password")


def failures(who: str) -> int:
    return lockout.is_account_locked(who).failures


def checks(who: str, times: int) -> int:
    """How many of so many attempts were checked."""
    checked = 0
    for _ in range(times):
        try:
            with lockout.guard_login(who):
                checked += 1
        except lockout.AccountLocked:
            pass
    return checked


def forget_locally(who: str) -> None:
    """As if another process had counted: only what Redis knows is left."""
    limiter.settle(account(who).local, "")


def test_failures_of_an_outage_are_added_before_the_next_is_counted(who: str, server: PrivateServer) -> None:
    server.kill()
    assert checks(who, 3) == 3
    server.start()
    forget_locally(who)
    assert checks(who, 9) == 2
    assert lockout.is_account_locked(who).locked


def test_a_lock_of_an_outage_is_closed_when_it_ends(who: str, server: PrivateServer) -> None:
    server.kill()
    assert checks(who, 9) == 5
    server.start()
    forget_locally(who)
    assert checks(who, 9) == 0
    assert [row.identifier for row in lockout.locked_accounts()] == ["e…"]


def test_a_storm_at_the_end_of_an_outage_adds_them_once(who: str, server: PrivateServer) -> None:
    server.kill()
    checks(who, 3)
    server.start()
    forget_locally(who)
    with ThreadPoolExecutor(16) as pool:
        checked = sum(pool.map(lambda _: checks(who, 1), range(48)))
    assert checked == 2
    assert not ledger.of(account(who))


def test_a_storm_of_tasks_too(who: str, server: PrivateServer) -> None:
    server.kill()
    checks(who, 3)
    server.start()
    forget_locally(who)

    async def one() -> bool:
        try:
            async with lockout.guard_login(who):
                return True
        except lockout.AccountLocked:
            return False

    async def main() -> list[bool]:
        return await asyncio.gather(*(one() for _ in range(40)))

    assert sum(asyncio.run(main())) == 2


def test_an_answer_that_was_lost_adds_nothing_twice(who: str, server: PrivateServer) -> None:
    limits = Limits.in_force()
    for _ in range(2):
        ledger.owe(account(who))
    entries = ledger.of(account(who))
    steps = replay(entries, limits)
    step = next(steps)
    assert isinstance(step, RunScript)
    step.run()  # Redis has it, and its answer gets lost
    steps.close()
    assert failures(who) == 2
    assert checks(who, 1) == 1
    assert failures(who) == 3


def test_a_failure_meanwhile_is_owed_by_itself(who: str) -> None:
    ledger.owe(account(who))
    (first,) = ledger.of(account(who))
    ledger.owe(account(who))
    run(replay([first], Limits.in_force()))
    (second,) = ledger.of(account(who))
    assert (first.failures, second.failures) == (1, 1)
    run(replay([second, first], Limits.in_force()))
    assert failures(who) == 2


def test_a_success_during_the_outage_owes_nothing(who: str, server: PrivateServer) -> None:
    server.kill()
    checks(who, 4)
    with lockout.guard_login(who) as attempt:
        attempt.succeeded()
    server.start()
    checks(who, 1)
    assert failures(who) == 1


def test_debts_of_other_accounts_are_paid_along_a_few_at_a_time(who: str, server: PrivateServer) -> None:
    server.kill()
    for number in range(25):
        checks(f"{who}-{number}", 1)
    server.start()
    before = counters.counts().get("replayed", 0)
    for paid in (10, 20, 25):
        checks(f"another-{who}-{paid}", 1)
        assert counters.counts()["replayed"] - before == paid
    assert [failures(f"{who}-{number}") for number in range(25)] == [1] * 25


def test_debts_are_bounded(who: str) -> None:
    small = Ledger(capacity=3)
    dropped = counters.counts().get("replay.dropped", 0)
    for number in range(5):
        small.owe(account(f"{who}-{number}"))
    assert [entry.account.identifier[-1] for entry in small.some()] == ["2", "3", "4"]
    assert counters.counts()["replay.dropped"] - dropped == 2


def test_a_cap_that_the_outage_reached_holds(who: str, server: PrivateServer, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 4}
    checks(who, 2)
    server.kill()
    checks(who, 2)
    server.start()
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 4}
    forget_locally(who)
    assert checks(who, 3) <= 2
    assert lockout.is_account_locked(who).capped


@pytest.mark.parametrize(
    ("modes", "scope", "mode"),
    [
        ({}, "password", "degrade"),
        ({}, "otp", "closed"),
        ({}, "reset", "closed"),
        ({}, "own_name", "closed"),
        ({"LOCKOUT_ON_OUTAGE": "open"}, "otp", "open"),
        ({"LOCKOUT_ON_OUTAGE": {"otp": "degrade"}}, "otp", "degrade"),
        ({"LOCKOUT_ON_OUTAGE": {"*": "open"}}, "password", "open"),
        ({"LOCKOUT_ON_OUTAGE": {"password": "closed"}}, "password", "closed"),
    ],
)
def test_each_scope_has_its_mode_and_each_is_counted(
    who: str, server: PrivateServer, settings: Any, modes: dict[str, Any], scope: str, mode: str
) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **modes}
    server.kill()
    before = counters.counts().get(f"outage.{mode}", 0)
    checked, waits = 0, []
    for _ in range(7):
        try:
            with lockout.guard_login(who, scope=scope):
                checked += 1
        except lockout.LockoutUnavailable as unavailable:
            waits.append(unavailable.retry_after)
        except lockout.AccountLocked:
            pass
    assert waits == ([5] * 7 if mode == "closed" else [])
    assert checked == {"degrade": 5, "closed": 0, "open": 7}[mode]
    assert counters.counts()[f"outage.{mode}"] - before == 7


def test_the_admins_log_in_may_fail_closed_where_others_degrade(who: str, server: PrivateServer) -> None:
    class Match:
        app_names = ("admin",)

    class Request:
        resolver_match = Match()

    server.kill()
    with pytest.raises(lockout.LockoutUnavailable), lockout.guard_login(who, request=Request()):
        pass
    with lockout.guard_login(who):
        pass


def test_networks_are_limited_by_this_process_meanwhile(who: str, server: PrivateServer, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "NETWORK_LOCKOUT": {"address": (4, 900)}}
    server.kill()
    refused = []
    for number in range(6):
        try:
            with lockout.guard_login(f"{who}-{number}", ip="203.0.113.9") as attempt:
                if number == 0:
                    attempt.succeeded()
        except lockout.AccountLocked as refusal:
            refused.append(refusal.reason)
    assert refused == ["address"]
