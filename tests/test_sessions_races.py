"""Two requests for one session, in every order: one is held between two of its commands, the other does all of its own.

Afterwards, without a sweep or anybody's look at a list, lists and counts are exact, and what was ended has ended.

Seen red: without what ``steps.touch``, ``steps.save``, the sweeper and the doctor do about indices that did not have
the session before (a ghost, for as long as a session may live); without the barrier in ``session_save.lua`` and the
end of the old key in ``cycle_key`` (a revoked or ended session lives on).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from bergizi_redis import keys, scripts
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.identity import sid_of
from tests.interruptions import interrupted
from tests.servers import PrivateServer
from tests.sessionacts import ACTS, PROFILE, TENANT
from tests.sessionsite import SARI, Site

MOST = 60  # commands; an act that sends more does not end
ENDED_MEANWHILE = (UpdateError, SessionInterrupted, KeyError)
OF_NOBODY = ("revoke everybody", "sweep", "resume", "repair")
ENDS = ("log out", "revoke", "revoke user", "revoke tenant")


@pytest.fixture(autouse=True)
def known_scripts(raw: "redis.Redis") -> None:
    known(raw)


def known(raw: Any) -> None:
    """So that a command is a step."""
    for path in Path(scripts.__file__).parent.glob("session_*.lua"):
        raw.script_load(script(path.stem).text)


@pytest.fixture
def site(raw: "redis.Redis", settings: Any) -> Site:
    return Site(raw, settings)


def doing(act: str, key: str) -> Callable[[], Any]:
    of_user, of_tenant = (
        ("log in", "log in by form", "revoke user", "list user"),
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
    raw.hset(name, mapping={"@seen": seen - 120_000, "@idx": 1})
    if held == "sweep":
        raw.zadd(keys.tenant_sessions(TENANT), {sid: 1000.0})
    if held == "repair":
        raw.zrem(keys.user_sessions(SARI), sid)
        raw.zrem(keys.tenant_sessions(TENANT), sid)


def race(site: Site, prefix: str, held: str, other: str) -> bool:
    """One race for each command of ``held``."""
    for backwards in (False, True):
        for after in range(MOST):
            site.open(f"{prefix}{'b' if backwards else 'f'}{after}")
            made = sessions.create_session(SARI, TENANT, **PROFILE)
            long_seen(site, made.sid, held)
            with interrupted(after, doing(other, made.key), backwards=backwards) as hit:
                doing(held, made.key)()
            if not hit:
                break
            site.is_exact()
            live = {sid for sid, one in site.live().items() if one.user_id == SARI}
            assert made.sid not in live or other not in ENDS
            if other in ("revoke user", "revoke tenant"):
                assert held in ("log in", "log in by form", "log in again") or not live
        else:
            raise AssertionError(f"{held} does not end within {MOST} commands")
    return True


@pytest.mark.parametrize(
    ("held", "other"),
    [
        ("use", "log out"), ("use", "revoke user"), ("use", "change key"),
        ("save", "log out"), ("save", "revoke tenant"), ("save", "change key"),
        ("change key", "log out"), ("change key", "revoke user"), ("change key", "change key"),
        ("log in again", "log out"), ("log in", "revoke user"),
        ("log out", "use"), ("log out within", "log out"), ("revoke user", "change key"),
        ("sweep", "log out"), ("page", "log out"), ("list user", "use"),
    ],
)  # fmt: skip
def test_whatever_comes_between_lists_and_counts_are_exact(site: Site, prefix: str, held: str, other: str) -> None:
    assert race(site, prefix, held, other)


def test_what_the_doctor_lists_anew_and_ends_meanwhile_is_not_listed(server: PrivateServer, settings: Any) -> None:
    """On a server of its own: the doctor reads every key."""
    with server.client() as raw:
        known(raw)
        assert race(Site(raw, settings), "own", "repair", "log out")


@pytest.mark.soak
@pytest.mark.parametrize("held", [*ACTS])
def test_and_so_for_every_pair(site: Site, prefix: str, held: str) -> None:
    for number, other in enumerate(ACTS):
        assert race(site, f"{prefix}n{number}", held, other)
