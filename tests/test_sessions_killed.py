"""``kill -9`` of a real process before its first command, and after each one it sends, of what makes, ends or moves a
session: no live session that no list shows, others untouched, and after another try and a sweep the lists, the counts
and the limit are right.

Seen red: without the UNLINK of ``session_evict.lua``; with those that must go taken off the index at once in
``session_admit.lua``; without the look at ghosts in ``quotas.admit`` (a dead log-in locks the user out); with the old
key ended before the new one is there in ``cycle_key``; without the look at the entry in ``session_claim.lua``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions import sweeping
from bergizi_redis.sessions.info import Session
from bergizi_redis.sessions.quotas import SessionLimitReached
from tests.mortals import Mortals, mortals
from tests.servers import PrivateServer, private_server
from tests.sessionacts import ACTS, PROFILE, TENANT, log_in_by_form
from tests.sessionsite import OTHER, SARI, Site, counted

MOST = 60  # commands; an act that sends more does not end
HEALING = ("log out", "sweep")  # without a look at a list
DONE_ALREADY = (KeyError, UpdateError, SessionInterrupted, SessionLimitReached)


@pytest.fixture(scope="module")
def own() -> Iterator[PrivateServer]:
    with private_server() as running:
        yield running


@pytest.fixture(scope="module")
def zygote(own: PrivateServer) -> Iterator[Mortals]:
    with mortals(own.url) as running:
        yield running


@dataclass
class MortalSite(Site):
    zygote: Mortals = field(kw_only=True)

    def die(self, act: str, *args: Any, after: int, backwards: bool) -> bool:
        config = self.settings.BERGIZI_REDIS
        return self.zygote.die(act, *args, after=after, config=config, prefix=self.prefix, backwards=backwards)


@pytest.fixture
def site(own: PrivateServer, settings: Any, zygote: Mortals) -> Iterator[MortalSite]:
    with MortalSite.at(own, settings, zygote=zygote) as one:
        yield one


Begin = Callable[[], tuple[Any, ...]]


def each_death(site: MortalSite, act: str, begin: Begin, again: Callable[..., None], **config: Any) -> None:
    """Every moment of dying, one after the other, until the act ends before it can die."""
    for backwards in (False, True):
        for after in range(MOST):
            site.open(f"{'b' if backwards else 'f'}{after}", **config)
            args = begin()
            was_killed = site.die(act, *args, after=after, backwards=backwards)
            site.nothing_hides()
            site.later()
            again(*args)
            sweeping.sweep()
            site.is_exact() if act in HEALING else site.is_right()
            assert (site.bystander.sid in site.live()) == (act != "revoke everybody")
            if not was_killed:
                break
        else:
            raise AssertionError(f"{act} does not end within {MOST} commands")


def made() -> Session:
    return sessions.create_session(SARI, TENANT, **PROFILE)


def tried() -> bool:
    try:
        made()
    except SessionLimitReached:
        return False
    return True


def alive(site: Site) -> int:
    return len([1 for one in site.live().values() if one.user_id == SARI])


@pytest.mark.parametrize(
    ("act", "most", "policy"), [("log in", 1, "evict"), ("log in by form", 1, "deny"), ("log in by form", 2, "evict")]
)
def test_a_log_in_that_is_killed_takes_no_place(site: MortalSite, act: str, most: int, policy: str) -> None:
    def begin() -> tuple[Any, ...]:
        for _ in range(most if policy == "evict" else 0):
            made()
        return (SARI,)

    def again(user_id: str) -> None:
        before = alive(site)
        assert tried() is (policy == "evict" or before < most)
        assert 0 < alive(site) <= most

    each_death(site, act, begin, again, SESSION_LIMIT=most, SESSION_LIMIT_POLICY=policy)


@pytest.mark.parametrize("act", ["log out", "log out within", "revoke user", "revoke everybody"])
def test_what_ends_a_session_and_is_killed_leaves_it_whole_or_ended(site: MortalSite, act: str) -> None:
    def begin() -> tuple[Any, ...]:
        named: dict[str, tuple[str, ...]] = {"revoke user": (SARI,), "revoke everybody": ()}
        key = log_in_by_form(SARI)
        return named.get(act, (key,))

    def again(*args: Any) -> None:
        try:
            ACTS[act](*args)
        except DONE_ALREADY:
            assert act == "log out within"
        assert alive(site) == 0
        assert tried()

    each_death(site, act, begin, again, SESSION_LIMIT=1)


@pytest.mark.parametrize("act", ["change key", "log in again", "save", "use"])
def test_who_is_killed_while_a_session_is_used_or_gets_a_new_key_logs_nobody_out(site: MortalSite, act: str) -> None:
    """The answer with the new key may be lost: then that session has no browser, and the old one goes on or is over."""

    def begin() -> tuple[Any, ...]:
        one = made()
        return (one.key, SARI) if act == "log in again" else (one.key,)

    def again(*args: Any) -> None:
        assert 1 <= alive(site) <= 2
        try:
            ACTS[act](*args)
        except DONE_ALREADY:
            assert act not in ("save", "use")
        assert alive(site) >= 1
        sessions.revoke_user(SARI)
        assert tried()

    each_death(site, act, begin, again, SESSION_LIMIT=1)


def test_a_sweeper_that_is_killed_leaves_the_rest_to_the_next(site: MortalSite) -> None:
    def begin() -> tuple[Any, ...]:
        gone, other = made(), sessions.create_session(OTHER, TENANT, **PROFILE)
        site.run_out(gone.sid)
        site.run_out(other.sid)
        return ()

    def again() -> None:
        sweeping.sweep()
        assert counted(TENANT).expired == 2

    each_death(site, "sweep", begin, again)


def test_four_sweepers_tell_of_each_session_once(site: MortalSite, prefix: str) -> None:
    """Processes, at the same time."""
    site.open(prefix)
    gone = [made().sid for _ in range(60)]
    for sid in gone:
        site.run_out(sid)
    site.zygote.do("sweep and note", 4, config=site.settings.BERGIZI_REDIS, prefix=prefix, many=4)
    assert sorted(sid.decode() for sid in site.raw.lrange(f"{prefix}:noted", 0, -1)) == sorted(gone)
    assert counted(TENANT).expired == 60
    site.is_exact()
