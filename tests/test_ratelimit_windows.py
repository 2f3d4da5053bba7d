"""How many calls any window sees, at any times: property tests against a model, by moving time and not by waiting.

Tried against mutants of ratelimit.lua: ``>=`` for ``>`` in either comparison, a window that is 1 s short, a log that is
not trimmed or trimmed by one too many, a cost that is charged once, and stamps out of order turn these tests red.
"""

import time
from dataclasses import replace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis.security.limiting.charging import charge
from bergizi_redis.security.limiting.fallback import LocalLimits
from bergizi_redis.security.limiting.limits import Quota, Verdict
from tests.ratelimits import packed, pass_time, quota, server_us, stamp_of

SECOND = 1_000_000
thorough = hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)  # fmt: skip
# (µs that go by, units asked for), close to the edges of a window of 10 s
moments = st.lists(
    st.tuples(
        st.one_of(
            st.just(0),
            st.integers(0, 12 * SECOND),
            st.sampled_from([SECOND, 5 * SECOND, 10 * SECOND - 1000, 10 * SECOND, 10 * SECOND + 1000]),
        ),
        st.sampled_from([1, 1, 1, 1, 2, 3, 0]),
    ),
    min_size=1,
    max_size=25,
)


def one(asked: Quota) -> Verdict:
    (verdict,) = charge([asked])
    return verdict


class Story:
    """Calls at moments of our choosing: ``admitted`` holds (µs, units) of those that were let through."""

    def __init__(self, raw: "redis.Redis", asked: Quota) -> None:
        self.raw = raw
        self.quota = asked
        self.moved = 0
        self.admitted: list[tuple[int, int]] = []

    def call(self, after: int, cost: int) -> tuple[Verdict, int, int]:
        """The verdict, and between which moments it was spoken."""
        pass_time(self.raw, after, self.quota.key)
        self.moved += after
        begun = server_us(self.raw) + self.moved
        verdict = one(replace(self.quota, cost=cost))
        if not verdict.refused and cost and (stamp := stamp_of(self.raw, self.quota.key)) is not None:
            self.admitted.append((stamp + self.moved, cost))  # else so much time went by that it counts no more
        return verdict, begun, server_us(self.raw) + self.moved

    def units(self, begin: int, end: int) -> int:
        return sum(cost for at, cost in self.admitted if begin <= at <= end)

    def worst(self, period: int) -> int:
        return max((self.units(at, at + period) for at, _ in self.admitted), default=0)


@thorough
@given(limit=st.integers(1, 6), story=moments)
def test_no_window_sees_more_than_the_limit_in_exact_mode(
    raw: "redis.Redis", limit: int, story: list[tuple[int, int]]
) -> None:
    told = Story(raw, quota(limit, 10))
    for after, cost in story:
        before = list(told.admitted)
        verdict, begun, ended = told.call(after, cost)
        most, least = (sum(units for at, units in before if at + 10 * SECOND >= moment) for moment in (begun, ended))
        if most == least:  # no edge lies between the two moments
            assert verdict.refused == (most + cost > limit)
            assert verdict.count == most + (0 if verdict.refused else cost)
    assert told.worst(10 * SECOND) <= limit


@thorough
@given(limit=st.integers(1, 6), story=moments)
def test_no_window_sees_more_than_twice_the_limit_in_gcra_mode(
    raw: "redis.Redis", limit: int, story: list[tuple[int, int]]
) -> None:
    told = Story(raw, quota(limit, 10, "gcra"))
    for after, cost in story:
        told.call(after, cost)
    assert told.worst(10 * SECOND) <= 2 * limit
    for begin, _ in told.admitted:
        for end, _ in told.admitted:
            assert told.units(begin, end) <= limit + limit * max(0, end - begin) / (10 * SECOND) + 1e-6


@thorough
@given(limit=st.integers(1, 6), story=moments, algorithm=st.sampled_from(["exact", "gcra"]))
def test_who_comes_back_when_told_to_is_let_through(
    raw: "redis.Redis", limit: int, story: list[tuple[int, int]], algorithm: str
) -> None:
    told = Story(raw, quota(limit, 10, algorithm))
    for after, cost in story:
        verdict, *_ = told.call(after, cost)
        assert 0 <= verdict.count <= limit
        assert 0 <= verdict.wait_us <= 10 * SECOND + 1
        assert 0 <= verdict.reset_us <= 10 * SECOND
        if verdict.refused and cost <= limit:
            assert not told.call(int(verdict.wait_us), cost)[0].refused


@pytest.mark.parametrize("algorithm", ["exact", "gcra"])
def test_a_window_that_is_full_is_so_until_its_last_moment(raw: "redis.Redis", algorithm: str) -> None:
    asked = quota(3, 3600, algorithm)
    assert [one(asked).refused for _ in range(4)] == [False, False, False, True]
    free = 3600 if algorithm == "exact" else 1200  # of gcra one in three
    pass_time(raw, (free - 120) * SECOND, asked.key)
    assert one(asked).refused
    pass_time(raw, 120 * SECOND, asked.key)
    assert not one(asked).refused


def test_a_burst_at_the_edge_of_two_windows_is_one_burst_in_exact_mode(raw: "redis.Redis") -> None:
    asked = quota(5, 3600)
    one(asked)
    pass_time(raw, 3300 * SECOND, asked.key)
    assert sum(not one(asked).refused for _ in range(10)) == 4
    pass_time(raw, 600 * SECOND, asked.key)  # another hour has begun
    assert sum(not one(asked).refused for _ in range(10)) == 1


def test_a_refused_call_is_not_held_against_its_client(raw: "redis.Redis") -> None:
    asked = quota(2, 3600)
    assert [one(asked).refused for _ in range(50)].count(False) == 2
    pass_time(raw, 3600 * SECOND, asked.key)
    assert not one(asked).refused


@pytest.mark.parametrize(("cost", "passes"), [(1, 10), (3, 3), (5, 2), (10, 1), (11, 0)])
@pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])
def test_a_cost_is_so_many_units(algorithm: str, cost: int, passes: int) -> None:
    asked = quota(10, 3600, algorithm, cost)
    assert [one(asked).refused for _ in range(12)].count(False) == passes


@pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])
def test_a_cost_of_nothing_asks_and_charges_nothing(raw: "redis.Redis", algorithm: str) -> None:
    asked = quota(2, 3600, algorithm)
    free = replace(asked, cost=0)
    assert not one(free).refused
    one(asked)
    one(asked)
    assert one(free).count == 2


def test_a_cost_above_the_limit_can_never_pass_and_says_so() -> None:
    verdict = one(quota(3, 60, cost=4))
    assert (verdict.refused, verdict.retry_after) == (True, 60)


def test_a_large_cost_is_charged_whole(raw: "redis.Redis") -> None:
    asked = quota(20_000, 3600, cost=12_345)
    assert one(asked).count == 12_345
    assert one(asked).refused
    assert raw.llen(asked.key) == 12_345


@pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])
def test_looking_changes_nothing(raw: "redis.Redis", algorithm: str) -> None:
    asked = quota(2, 3600, algorithm)
    assert [charge([asked], count=False)[0].count for _ in range(3)] == [0, 0, 0]
    assert not raw.exists(asked.key)
    one(asked)
    before = raw.dump(asked.key)
    assert [charge([asked], count=False)[0].count for _ in range(3)] == [1, 1, 1]
    assert raw.dump(asked.key) == before


@pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])
def test_a_key_lives_as_long_as_it_can_matter(raw: "redis.Redis", algorithm: str) -> None:
    asked, begun = quota(5, 3600, algorithm), server_us(raw)
    for _ in range(8):
        one(asked)
    ended = server_us(raw)
    assert begun + 3600 * SECOND - 1000 <= raw.pexpiretime(asked.key) * 1000 <= ended + 3600 * SECOND + 2000
    pass_time(raw, 1800 * SECOND, asked.key)
    assert raw.pttl(asked.key) <= 1_800_001


def test_a_log_holds_no_more_than_the_limit_and_forgets_what_is_past(raw: "redis.Redis") -> None:
    asked = quota(5, 3600)
    for _ in range(20):
        one(asked)
    assert raw.llen(asked.key) == 5
    pass_time(raw, 3601 * SECOND, asked.key)
    one(asked)
    assert raw.llen(asked.key) == 1


def test_a_log_whose_beginning_is_past_holds_on_to_the_rest(raw: "redis.Redis") -> None:
    asked = quota(9, 3600)
    one(asked)
    pass_time(raw, 600 * SECOND, asked.key)
    one(asked)
    pass_time(raw, 3300 * SECOND, asked.key)
    assert charge([asked], count=False)[0].count == 1


def test_a_log_is_trimmed_of_the_past_alone(raw: "redis.Redis") -> None:
    asked = quota(9, 3600)
    for _ in range(3):
        for _ in range(3):
            one(asked)
        pass_time(raw, 1500 * SECOND, asked.key)
    assert charge([asked], count=False)[0].count == 6  # those of 75 minutes ago are past
    one(asked)
    assert raw.llen(asked.key) == 7


def test_gcra_is_sixteen_bytes_a_client(raw: "redis.Redis") -> None:
    asked = quota(7, 3600, "gcra")
    for _ in range(9):
        one(asked)
    assert raw.strlen(asked.key) == 16


@pytest.mark.parametrize(
    ("limit", "seconds"), [(7, 601), (7, 366 * 24 * 3600), (700_000, 24 * 3600), (7_000_000, 3600)]
)
def test_gcra_lets_a_burst_of_just_the_limit_through(raw: "redis.Redis", limit: int, seconds: int) -> None:
    asked = quota(limit, seconds, "gcra", cost=limit // 7)
    assert [one(asked).refused for _ in range(8)] == [False] * 7 + [True]
    kept = packed(raw, asked.key)
    assert kept is not None
    assert kept[1] <= limit * seconds * SECOND


def test_a_clock_that_was_set_back_is_strict_and_keeps_the_log_in_order(raw: "redis.Redis") -> None:
    asked = quota(3, 3600)
    one(asked)
    ahead = (stamp_of(raw, asked.key) or 0) + 1200 * SECOND
    raw.lset(asked.key, 0, str(ahead))
    assert [one(asked).refused for _ in range(3)] == [False, False, True]
    assert raw.lrange(asked.key, 0, -1) == [str(ahead).encode()] * 3


@pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])
@pytest.mark.parametrize("shift", [-86_400, 86_400])
def test_the_clock_of_the_application_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, shift: int
) -> None:
    asked, clock = quota(1, 3600, algorithm), time.time
    assert not one(asked).refused
    monkeypatch.setattr("time.time", lambda: clock() + shift)
    assert one(asked).refused


@pytest.mark.parametrize("algorithm", ["exact", "gcra", "fixed"])
def test_where_one_limit_refuses_none_is_charged(algorithm: str) -> None:
    narrow, wide = quota(1, 3600, algorithm), quota(10, 3600, algorithm)
    assert [verdict.refused for verdict in charge([wide, narrow])] == [False, False]
    assert [verdict.refused for verdict in charge([wide, narrow])] == [False, True]
    counted = 2 if algorithm == "fixed" else 1  # as django-ratelimit, which counts what it refuses
    assert charge([wide], count=False)[0].count == counted


def test_a_limit_that_does_not_block_leaves_the_others_charged() -> None:
    narrow, wide = quota(1, 3600, blocks=False), quota(10, 3600)
    charge([wide, narrow])
    charge([wide, narrow])
    verdicts = charge([wide, narrow])
    assert [verdict.refused for verdict in verdicts] == [False, True]
    assert [verdict.count for verdict in verdicts] == [3, 1]


class TestTheLimitsOfAProcess:
    @pytest.fixture
    def clock(self) -> list[float]:
        return [1000.0]

    @pytest.fixture
    def local(self, clock: list[float]) -> LocalLimits:
        return LocalLimits(capacity=3, clock=lambda: clock[0])

    @given(limit=st.integers(1, 6), story=moments)
    def test_no_window_sees_more_than_twice_the_limit(self, limit: int, story: list[tuple[int, int]]) -> None:
        now = [0.0]
        local, asked = LocalLimits(clock=lambda: now[0]), quota(limit, 10)
        admitted: list[tuple[float, int]] = []
        for after, cost in story:
            now[0] += after / SECOND
            (verdict,) = local.take([replace(asked, cost=cost)], True)
            if not verdict.refused:
                admitted.append((now[0], cost))
            elif cost <= limit:
                now[0] += verdict.wait_us / SECOND
                assert not local.take([replace(asked, cost=cost)], True)[0].refused
                admitted.append((now[0], cost))
        for begin, _ in admitted:
            assert sum(cost for at, cost in admitted if begin <= at <= begin + 10) <= 2 * limit

    def test_it_goes_on_from_what_redis_said(self, local: LocalLimits, clock: list[float]) -> None:
        asked = quota(4, 60)
        local.note([Verdict(asked, False, 3, 0, 0)])
        assert [local.take([asked], True)[0].refused for _ in range(2)] == [False, True]
        clock[0] += 60
        assert [local.take([asked], True)[0].refused for _ in range(5)] == [False] * 4 + [True]

    def test_it_knows_so_many_and_forgets_the_one_touched_longest_ago(self, local: LocalLimits) -> None:
        first, *others = (quota(1, 60) for _ in range(4))
        local.take([first], True)
        for asked in others:
            local.take([asked], True)
        assert len(local) == 3
        assert not local.take([first], True)[0].refused
        assert local.take([others[-1]], True)[0].refused

    def test_a_blocked_call_charges_nothing_and_a_look_neither(self, local: LocalLimits) -> None:
        narrow, wide = quota(1, 60), quota(5, 60)
        local.take([wide, narrow], True)
        local.take([wide, narrow], True)
        assert local.take([wide], False)[0].count == 1

    def test_a_limit_of_nothing_refuses(self, local: LocalLimits) -> None:
        verdict: Any = local.take([quota(0, 60)], True)[0]
        assert verdict.refused
