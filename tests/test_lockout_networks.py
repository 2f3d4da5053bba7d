"""What a network may try, for all accounts together: before the account, in one round trip, refunded by a success.

Seen red: without the look at the network's log, with the account paid before the networks, where a success clears the
whole log, and where the log is not cut to its window.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from django.contrib.auth import authenticate
from django.dispatch import Signal
from django.test import RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis import signals
from bergizi_redis.security import lockout
from bergizi_redis.security.networks import networks_of
from bergizi_redis.tenancy import use_tenant
from tests import passwordcount
from tests.moments import left_of
from tests.passwordcount import OneUserBackend

Commands = Callable[[], AbstractContextManager[list[str]]]
IP = "203.0.113.7"
HEALTHY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # on a busy machine


@pytest.fixture
def who() -> str:
    return f"wati-{uuid.uuid4().hex}"


def limit_to(settings: Any, **limits: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "NETWORK_LOCKOUT": limits}


@pytest.fixture(autouse=True)
def limited(settings: Any) -> None:
    limit_to(settings, address=(8, 900), network48=(12, 900))


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []

    def receiver(signal: Signal, **arguments: Any) -> None:
        heard.append(arguments)

    listened = (signals.spray_detected, signals.success_after_failures, signals.login_refused)
    for signal in listened:
        signal.connect(receiver)
    yield heard
    for signal in listened:
        signal.disconnect(receiver)


def tried(who: str, ip: str | None = IP, succeeds: bool = False, **options: Any) -> str:
    """``checked``, or why it was refused."""
    try:
        with lockout.guard_login(who, ip=ip, **options) as attempt:
            if succeeds:
                attempt.succeeded()
    except lockout.AccountLocked as refusal:
        return refusal.reason
    return "checked"


def spray(who: str, times: int, ip: str = IP, **options: Any) -> list[str]:
    return [tried(f"{who}-{number}", ip, **options) for number in range(times)]


def log_of(ip: str, place: int = 0) -> str:
    return networks_of(ip, "password")[place].keys[0]


def test_one_address_may_fail_so_often_whoever_it_tries(who: str) -> None:
    answers = spray(who, 12)
    assert answers == ["checked"] * 8 + ["address"] * 4
    assert tried(who, "203.0.113.8") == "checked", "its neighbour is another"


def test_a_refused_network_costs_the_account_nothing(who: str, raw: "redis.Redis", prefix: str) -> None:
    spray(who, 8)
    before = set(raw.scan_iter(match=f"{prefix}*", count=1000))
    for _ in range(20):
        assert tried(who) == "address"
    assert lockout.is_account_locked(who).failures == 0
    assert set(raw.scan_iter(match=f"{prefix}*", count=1000)) == before


def test_a_refused_account_costs_the_network_nothing(who: str, raw: "redis.Redis") -> None:
    for _ in range(20):
        tried(who)
    assert raw.zcard(log_of(IP)) == 5
    assert tried(f"other-{who}") == "checked"


def test_a_success_takes_its_own_attempt_off_the_log_and_no_other(who: str, raw: "redis.Redis") -> None:
    spray(who, 7)
    for _ in range(30):
        assert tried("somebody-of-their-own", succeeds=True) == "checked"
    assert raw.zcard(log_of(IP)) == 7
    assert spray(f"more-{who}", 3) == ["checked", "address", "address"]


def test_an_office_that_signs_in_at_eight_is_not_slowed_down(who: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: tried(f"{who}-{n}", succeeds=True), range(200)))
    assert set(answers) <= {"checked", "address"}
    assert answers.count("checked") >= 192  # no more than the limit are under way at a time, so next to none is refused
    assert tried(who) == "checked"


def test_addresses_of_one_64_are_one_and_those_of_one_48_share_a_wider_limit(who: str) -> None:
    assert [tried(f"{who}-{n}", f"2001:db8:1:1::{n:x}") for n in range(10)] == ["checked"] * 8 + ["address"] * 2
    assert [tried(f"{who}-x{n}", f"2001:db8:1:2::{n:x}") for n in range(6)] == ["checked"] * 4 + ["network"] * 2
    assert tried(f"{who}-y", "2001:db8:2::1") == "checked"


def test_all_addresses_of_one_64_are_one(who: str, raw: "redis.Redis", prefix: str) -> None:
    spent = spray(who, 8, "2001:db8:1:1::1")
    before = set(raw.scan_iter(match=f"{prefix}*", count=1000))
    assert spent == ["checked"] * 8
    assert {tried(f"{who}-{n}", f"2001:db8:1:1::{n:x}") for n in range(1, 300)} == {"address"}
    assert set(raw.scan_iter(match=f"{prefix}*", count=1000)) == before


def test_mapped_addresses_are_those_of_ipv4(who: str) -> None:
    spray(who, 8, f"::ffff:{IP}")
    assert tried(who) == "address"


@pytest.mark.shows_secrets("a name that is the tag of another key")
def test_a_name_that_looks_like_an_address_is_a_name(who: str) -> None:
    spray(who, 8)
    for name in (IP, f"{IP}/32", networks_of(IP, "password")[0].tag):
        assert lockout.is_account_locked(name).failures == 0
        assert tried(name, None) == "checked"


def test_who_leaves_the_name_out_is_counted_by_address(settings: Any) -> None:
    limit_to(settings)
    with use_tenant(f"t-{uuid.uuid4().hex}"):
        assert [tried("", "2001:db8::1") for _ in range(5)] == ["checked"] * 5
        assert lockout.record_login_attempt("\u200b ", False, ip="2001:db8::2").locked
        assert tried("\N{ZERO WIDTH SPACE} ", "2001:db8::2") == "account"  # of the same /64
        assert tried("", "2001:db8:0:1::1") == tried("", IP) == tried("", None) == "checked"


def test_scopes_are_apart(who: str) -> None:
    spray(who, 8)
    assert tried(who, scope="otp") == "checked"
    assert tried(who) == "address"


def test_ipv4_networks_can_be_limited_too(who: str, settings: Any) -> None:
    limit_to(settings, network24=(3, 900))
    assert [tried(f"{who}-{n}", f"203.0.113.{n}") for n in range(5)] == ["checked"] * 3 + ["network"] * 2


def test_networks_need_not_be_limited_at_all(who: str, settings: Any) -> None:
    limit_to(settings)
    assert set(spray(who, 20)) == {"checked"}


def test_the_refusal_says_when_the_oldest_attempt_is_forgotten(who: str, raw: "redis.Redis") -> None:
    spray(who, 8)
    rows: Any = raw.zrange(log_of(IP), 0, 0, withscores=True)
    ((first, at),) = rows
    raw.zadd(log_of(IP), {first: at - 600_000})
    with pytest.raises(lockout.AccountLocked) as refusal, lockout.guard_login(who, ip=IP):
        pass
    assert refusal.value.retry_after == left_of(300)
    raw.zadd(log_of(IP), {first: at - 900_000})
    assert [tried(who), tried(who)] == ["checked", "address"]


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=HEALTHY)
@given(gaps=st.lists(st.integers(0, 400_000), min_size=5, max_size=30))
def test_no_window_ever_holds_more_than_the_limit(raw: "redis.Redis", settings: Any, gaps: list[int]) -> None:
    """The log is moved into the past instead of waiting: each gap, in ms, is time that has gone by."""
    limit_to(settings, address=(4, 900))
    who, ip = uuid.uuid4().hex, f"10.{'.'.join(str(part) for part in uuid.uuid4().bytes[:3])}"
    moved, checked = 0, []

    def now() -> int:
        seconds, us = raw.time()
        return int(seconds) * 1000 + int(us) // 1000 + moved

    for number, gap in enumerate(gaps):
        moved += gap
        rows: Any = raw.zrange(log_of(ip), 0, -1, withscores=True)
        aged = {member: score - gap for member, score in rows}
        if aged:
            raw.zadd(log_of(ip), aged)
        before = now()
        if tried(f"{who}-{number}", ip) == "checked":
            checked.append((before, now()))
    # Each was paid at some time from before to after: those that were within 15 minutes of another at any rate.
    assert all(len([1 for b, a in checked if start <= b and a < start + 900_000]) <= 4 for start, _ in checked)


@pytest.mark.parametrize("names", [200, pytest.param(20_000, marks=pytest.mark.soak)])
def test_of_made_up_names_no_more_keys_stay_than_the_limit_allows(
    who: str, raw: "redis.Redis", prefix: str, settings: Any, names: int
) -> None:
    limit_to(settings, address=(100, 900))

    async def one(number: int) -> None:
        try:
            async with lockout.guard_login(f"{who}-{number}", ip=IP):
                pass
        except lockout.AccountLocked:
            pass

    async def main() -> None:
        for start in range(0, names, 500):
            await asyncio.gather(*(one(number) for number in range(start, start + 500)))

    asyncio.run(main())
    kept = set(raw.scan_iter(match=f"{prefix}*", count=1000))
    assert len(kept) <= 100 * 3 + 6
    assert raw.zcard(log_of(IP)) == 100


class TestRoundTrips:
    @pytest.fixture(autouse=True)
    def scripts_known(self, who: str) -> None:
        tried(f"warm-{who}", "198.51.100.1", succeeds=True)

    @pytest.mark.parametrize("ip", [IP, "2001:db8::1"])
    def test_networks_and_account_are_one_and_a_success_one_more(self, who: str, commands: Commands, ip: str) -> None:
        with commands() as log:
            tried(who, ip)
        assert [command.split()[0] for command in log] == ["EVALSHA"]
        with commands() as log:
            tried(who, ip, succeeds=True)
        assert [command.split()[0] for command in log] == ["EVALSHA", "EVALSHA"]

    def test_a_refused_network_is_one(self, who: str, commands: Commands) -> None:
        spray(who, 8)
        with commands() as log:
            assert tried(who) == "address"
        assert [command.split()[0] for command in log] == ["EVALSHA"]


class TestExactly:
    def test_a_storm_of_threads_over_many_accounts_is_the_limit(self, who: str, settings: Any) -> None:
        settings.PASSWORD_HASHERS = ["tests.passwordcount.CountingHasher"]
        settings.AUTHENTICATION_BACKENDS = ["tests.test_lockout_races.GuardedBackend"]
        OneUserBackend.prepare()
        request = RequestFactory().post("/login/", REMOTE_ADDR=IP)

        def guess(number: int) -> Any:
            return authenticate(request, username=f"{who}-{number % 100}", password="wrong")

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(guess, range(300)))
        assert passwordcount.checks() == 8

    def test_a_storm_of_tasks_is_the_limit(self, who: str) -> None:
        checked = 0

        async def one(number: int) -> None:
            nonlocal checked
            async with lockout.guard_login(f"{who}-{number}", ip=IP):
                checked += 1
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(*(one(n) for n in range(100)), return_exceptions=True)

        asyncio.run(main())
        assert checked == 8


class TestDetection:
    @pytest.fixture(autouse=True)
    def watched(self, settings: Any) -> None:
        limit_to(settings, address=(100, 900))
        alerts = {"spray": 6, "distributed": 4, "failures": 90, "success": 3}
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ALERTS": alerts}

    def test_many_accounts_from_one_network_are_told_of_once(self, who: str, told: list[dict[str, Any]]) -> None:
        spray(who, 20)
        (alert,) = told
        assert (alert["kind"], alert["network"], alert["count"], alert["limit"]) == ("spray", f"{IP}/32", 6, 6)
        assert (alert["identifier"], alert["tenant"], alert["scope"]) == (None, "@", "password")

    def test_an_office_where_many_sign_in_is_no_spray(self, who: str, told: list[dict[str, Any]]) -> None:
        spray(who, 20, succeeds=True)
        spray(f"typo-{who}", 5)
        assert told == []

    def test_one_account_from_many_networks_is_told_of_once(self, who: str, told: list[dict[str, Any]]) -> None:
        for number in range(8):
            tried(who, f"198.51.100.{number}")
        alert, *others = [one for one in told if "kind" in one]
        assert (alert["kind"], alert["identifier"], alert["network"], alert["count"]) == ("distributed", who, None, 4)
        assert others == []

    def test_a_tenant_where_most_log_ins_fail_is_told_of_once(self, who: str, told: list[dict[str, Any]]) -> None:
        for number in range(60):
            tried(f"{who}-{number}", None)
        (alert,) = told
        assert (alert["kind"], alert["tenant"], alert["count"], alert["limit"]) == ("failures", "@", 100, 90)

    def test_a_tenant_where_most_succeed_is_not(self, who: str, told: list[dict[str, Any]]) -> None:
        for number in range(60):
            tried(f"{who}-{number}", None, succeeds=number % 2 == 0)
        assert told == []

    def test_a_success_after_failures_is_told_of(self, who: str, told: list[dict[str, Any]]) -> None:
        for _ in range(2):
            tried(who)
        tried(who, succeeds=True)
        assert told == []
        for _ in range(3):
            tried(who)
        tried(who, succeeds=True)
        (arguments,) = told
        assert (arguments["identifier"], arguments["failures"], arguments["ip"]) == (who, 3, IP)


def test_attempts_that_were_recorded_count_for_the_network_too_and_are_never_refused(
    who: str, raw: "redis.Redis"
) -> None:
    for number in range(20):
        assert lockout.record_login_attempt(f"{who}-{number}", success=False, ip=IP).failures == 1
    assert raw.zcard(log_of(IP)) == 8
    assert tried(who) == "address"


def test_they_say_nothing_of_the_tenants_share_of_failures(who: str, settings: Any, told: list[dict[str, Any]]) -> None:
    """Successes that were recorded are not counted anywhere."""
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_ALERTS": {"failures": 90}}
    for number in range(60):
        lockout.record_login_attempt(f"{who}-{number}", success=False)
    assert told == []


def test_the_address_is_that_of_the_client_behind_trusted_proxies(who: str, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TRUSTED_PROXIES": ["10.0.0.0/8"]}

    def through(forwarded: str) -> str:
        request = RequestFactory().post("/", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=forwarded)
        return tried(f"{who}-{uuid.uuid4().hex}", None, request=request)

    assert [through(f"192.0.2.{n}, {IP}") for n in range(9)] == ["checked"] * 8 + ["address"]
    assert through("198.51.100.4") == "checked"


def test_the_right_password_is_in_while_another_address_is_refused(who: str) -> None:
    spray(who, 9)
    assert tried(who, "198.51.100.4", succeeds=True) == "checked"
