"""Two requests for one session, in every order: one is held between two of its commands, the other does all of its own.

Afterwards, without a sweep or anybody's look at a list, lists and counts are exact, and what was ended has ended.

Seen red: without what ``steps.touch``, ``steps.save`` and the sweeper do about indices that did not have the session
before (a ghost, for as long as a session may live), and without what ``cycle_key`` does about an old key that has ended
meanwhile (a revoked session lives on).
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from bergizi_redis import keys
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.identity import sid_of
from tests.interruptions import interrupted
from tests.servers import PrivateServer, private_server
from tests.sessionacts import ACTS, PROFILE, TENANT
from tests.sessionsite import SARI, Site

MOST = 60  # commands; an act that sends more does not end
ENDED_MEANWHILE = (UpdateError, SessionInterrupted, KeyError)
OF_NOBODY = ("revoke everybody", "sweep", "sweep and note", "resume", "repair")
ENDS = ("log out", "revoke", "bar user", "revoke user", "revoke tenant")


@pytest.fixture(scope="module")
def own() -> Iterator[PrivateServer]:
    with private_server() as running:
        yield running


@pytest.fixture
def site(own: PrivateServer, settings: Any) -> Iterator[Site]:
    with Site.at(own, settings) as one:
        yield one


def doing(act: str, key: str) -> Callable[[], Any]:
    of_user, of_tenant = (
        ("log in", "log in by form", "try to log in", "bar user", "revoke user", "list user"),
        ("revoke tenant", "list tenant", "page"),
    )
    args: tuple[str, ...] = (
        (SARI,) if act in of_user else (TENANT,) if act in of_tenant else () if act in OF_NOBODY
        else (sid_of(key),) if act == "revoke" else (key, SARI) if act == "log in again" else (key,)
    )  # fmt: skip

    def do() -> None:
        try:
            ACTS[act](*args)
        except ENDED_MEANWHILE:
            assert key in args

    return do


def long_seen(site: Site, sid: str, held: str) -> None:
    """Everything is due: the session's touch, its place in the lists, and what the sweeper and the doctor find."""
    name, raw = keys.session(sid), site.raw
    seen = int(raw.hget(name, "@seen") or 0)
    raw.hset(name, mapping={"@seen": seen - (0 if held == "save" else 120_000), "@idx": 1})  # a touch lists it, too
    if held == "sweep":
        raw.zadd(keys.tenant_sessions(TENANT), {sid: (raw.time()[0] - 3600) * 1000})
    if held == "repair":
        raw.zrem(keys.user_sessions(SARI), sid)
        raw.zrem(keys.tenant_sessions(TENANT), sid)


def race(site: Site, held: str, other: str) -> bool:
    """One race for each command of ``held``."""
    for backwards in (False, True):
        for after in range(MOST):
            site.open("races")
            made = sessions.create_session(SARI, TENANT, **PROFILE)
            long_seen(site, made.sid, held)
            with interrupted(after, doing(other, made.key), backwards=backwards) as hit:
                doing(held, made.key)()
            if not hit:
                break
            sessions.resume_revocations()
            site.is_exact()
            live = {sid for sid, one in site.live().items() if one.user_id == SARI}
            assert made.sid not in live or other not in ENDS
            if other in ("bar user", "revoke user", "revoke tenant"):
                assert held in ("log in", "log in by form", "try to log in", "log in again") or not live
        else:
            raise AssertionError(f"{held} does not end within {MOST} commands")
    return True


@pytest.mark.parametrize(
    ("held", "other"),
    [
        ("use", "bar user"), ("save", "bar user"), ("change key", "bar user"),
        ("use", "log out"), ("use", "revoke user"), ("use", "change key"),
        ("save", "log out"), ("save", "revoke tenant"), ("save", "change key"),
        ("change key", "log out"), ("change key", "revoke user"), ("change key", "change key"),
        ("log in again", "log out"), ("log in", "revoke user"),
        ("log out", "use"), ("log out within", "log out"), ("revoke user", "change key"),
        ("sweep", "log out"), ("repair", "log out"), ("page", "log out"), ("list user", "use"),
    ],
)  # fmt: skip
def test_whatever_comes_between_lists_and_counts_are_exact(site: Site, held: str, other: str) -> None:
    assert race(site, held, other)


# A revocation that is resumed before its barrier stands and then killed; a doctor who must come once more.
TWO_FAULTS = [("bar user", other) for other in ("resume", "sweep", "sweep and note")] + [
    ("repair", other) for other in ("revoke user", "revoke tenant", "revoke everybody")
]


@pytest.mark.soak
@pytest.mark.parametrize("held", [*ACTS])
def test_and_so_for_every_pair(site: Site, held: str) -> None:
    for other in ACTS:
        if (held, other) in TWO_FAULTS:
            continue
        assert race(site, held, other)
