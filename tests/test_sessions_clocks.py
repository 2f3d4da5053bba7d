"""Two application processes, one ten minutes ahead, one behind: time is Redis's, and nothing depends on theirs.

Their clocks are those of ``tests/skewed/sitecustomize.py``. Red with ``time.time()`` in ``Record.server_now``.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bergizi_redis import keys
from bergizi_redis.sessions.identity import sid_of
from tests.mortals import Mortals, mortals
from tests.servers import PrivateServer, private_server
from tests.sessionacts import TENANT
from tests.sessionsite import SARI, Site, counted

SLACK = 200  # seconds that a busy machine may take; the clocks are 600 off
TOUCH_EVERY = 300  # seconds: nothing is due before its time, however long the machine stands still


@pytest.fixture(scope="module")
def own() -> Iterator[PrivateServer]:
    with private_server() as running:
        yield running


@pytest.fixture(scope="module")
def pair(own: PrivateServer) -> Iterator[list[Mortals]]:
    with ExitStack() as stack:
        yield [stack.enter_context(mortals(own.url, skew)) for skew in (600, -600)]


@pytest.fixture
def site(own: PrivateServer, settings: Any) -> Iterator[Site]:
    with Site.at(own, settings) as one:
        one.open("clocks", SESSION_LIMIT=2, SESSION_LIMIT_POLICY="deny", TOUCH_EVERY=TOUCH_EVERY)
        yield one


def say(site: Site, who: Mortals, act: str, *args: Any) -> str:
    """What the process notes when it has done it; "" for nothing."""
    who.do(act, *args, config=site.settings.BERGIZI_REDIS, prefix=site.prefix)
    return (site.raw.lpop(f"{site.prefix}:noted") or b"").decode()


@pytest.mark.parametrize("order", [1, -1])
def test_ten_minutes_more_or_less_change_nothing(site: Site, pair: list[Mortals], order: int) -> None:
    one, other = pair[::order]
    raw, idle = site.raw, 8 * 3600
    first, second = say(site, one, "try to log in", SARI), say(site, other, "try to log in", SARI)
    assert (say(site, one, "try to log in", SARI), say(site, other, "try to log in", SARI)) == ("refused", "refused")
    site.is_exact()

    for key in (first, second):
        name = keys.session(sid_of(key))
        seen = raw.hget(name, "@seen")
        for who in (one, other):
            assert int(say(site, who, "note life", key)) == pytest.approx(raw.pttl(name) / 1000, abs=SLACK)
        assert raw.pttl(name) / 1000 == pytest.approx(idle, abs=SLACK)
        assert raw.hget(name, "@seen") == seen  # no touch was due
        raw.hset(name, "@seen", int(seen) - 1000 * (TOUCH_EVERY + 1))
        raw.pexpire(name, 3_600_000)
        assert int(say(site, other, "note life", key)) == pytest.approx(idle, abs=SLACK)  # now it was
        assert raw.pttl(name) / 1000 == pytest.approx(idle, abs=SLACK)
    assert say(site, one, "sweep and note") == say(site, other, "sweep and note") == ""

    raw.pexpire(keys.session(sid_of(first)), 1)
    site.run_out(sid_of(first))
    assert say(site, one, "note life", first) == say(site, other, "note life", first) == "none"
    assert say(site, other, "sweep and note") == sid_of(first)
    assert say(site, one, "sweep and note") == ""
    third = say(site, one, "try to log in", SARI)
    assert third != "refused"

    say(site, other, "revoke user", SARI)
    assert say(site, one, "note life", third) == say(site, other, "note life", second) == "none"
    after = [say(site, who, "try to log in", SARI) for who in (one, other)]
    assert [say(site, who, "note life", key) != "none" for who in (one, other) for key in after] == [True] * 4
    counts = counted(TENANT)
    assert (counts.logins, counts.denied, counts.expired, counts.revoked) == (6, 2, 1, 2)
    site.is_exact()


def test_the_absolute_deadline_is_redis_own(site: Site, pair: list[Mortals]) -> None:
    key = say(site, pair[0], "try to log in", SARI)
    name = keys.session(sid_of(key))
    seconds, _ = site.raw.time()
    site.raw.hset(name, mapping={"@abs": (seconds + 300) * 1000, "@seen": (seconds - TOUCH_EVERY - 1) * 1000})
    for who in pair:
        assert int(say(site, who, "note life", key)) == pytest.approx(300, abs=SLACK)
    assert site.raw.pttl(name) / 1000 == pytest.approx(300, abs=SLACK)
    site.raw.hset(name, "@abs", (seconds - 1) * 1000)
    assert [say(site, who, "note life", key) for who in pair] == ["none", "none"]
