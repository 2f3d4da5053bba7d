"""The server fails between any two commands of what makes, uses, changes and ends a session: told, never taken for "no
session" or for success; and right again after it, or after ``doctor --repair`` where it has lost something.
"""

import copy
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from bergizi_redis import connections, keys, scripts
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions import sweeping
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.info import Session
from bergizi_redis.sessions.quotas import SessionLimitReached
from tests.interruptions import interrupted
from tests.servers import PrivateServer, private_server
from tests.sessionacts import ACTS, PROFILE, TENANT, repair
from tests.sessionsite import SARI, Site

MOST = 60  # commands; an act that sends more does not end
NOBODY = "127.0.0.1", "1"  # a port that is no server's
each_act = pytest.mark.parametrize("act", ["log in by form", "use", "save", "change key", "log out", "revoke user"])


@pytest.fixture
def lasting(settings: Any) -> Iterator[PrivateServer]:
    """A server that comes back with all that it has acknowledged: written, but not to a disk, which may stand still."""
    with private_server("--appendonly", "yes", "--appendfsync", "no") as running:
        caches = copy.deepcopy(settings.CACHES)
        caches["default"]["LOCATION"] = running.url
        settings.CACHES = caches
        yield running
        connections.disconnect_all()


@pytest.fixture
def site(lasting: PrivateServer, settings: Any) -> Iterator[Site]:
    with lasting.client() as raw:
        for path in Path(scripts.__file__).parent.glob("session_*.lua"):
            raw.script_load(script(path.stem).text)
        yield Site(raw, settings)


def made() -> Session:
    return sessions.create_session(SARI, TENANT, **PROFILE)


def begun(site: Site, after: int, **config: Any) -> Session:
    site.open(f"n{after}", **config)
    one = made()
    name = keys.session(one.sid)
    site.raw.hset(name, mapping={"@seen": int(site.raw.hget(name, "@seen")) - 120_000, "@idx": 1})  # a touch is due
    return one


def does(act: str, one: Session) -> bool:
    """Whether it says that it is done; False: that it could not."""
    try:
        ACTS[act](SARI if act in ("log in by form", "revoke user") else one.key)
    except RedisUnavailable:
        return False
    return True


def kept_its_word(act: str, one: Session) -> None:
    """What has said that it is done is done."""
    if act == "save":
        assert SessionStore(one.key)["n"] == 1
    if act in ("log out", "revoke user"):
        assert sessions.validate_session(one.key) is None


def each_moment(
    site: Site, act: str, fault: Callable[[], Any], over: Callable[[], Any] | None = None, **config: Any
) -> list[bool]:
    """For each command, the fault before it; returns what each try has said."""
    said = []
    for after in range(MOST):
        one = begun(site, after, **config)
        with interrupted(after, fault) as hit:
            said.append(does(act, one))
        if over is not None:
            over()
        if said[-1]:
            kept_its_word(act, one)
        site.nothing_hides()
        site.later()
        assert does("log in by form" if act == "change key" else act, one)
        sweeping.sweep()
        site.is_right()
        if not hit:
            return said
    raise AssertionError(f"{act} does not end within {MOST} commands")


@each_act
def test_a_server_that_forgets_its_scripts_is_not_noticed(site: Site, act: str) -> None:
    """In the midst of a pipeline too. Red without the second time in ``asking.evaluate_all`` and ``barriers._bar``."""
    assert all(each_moment(site, act, site.raw.script_flush))


@each_act
def test_a_full_server_says_so_and_the_next_try_is_right(site: Site, act: str) -> None:
    def full() -> None:
        site.raw.config_set("maxmemory-policy", "noeviction")
        site.raw.config_set("maxmemory", 1)

    said = each_moment(site, act, full, lambda: site.raw.config_set("maxmemory", 0))
    if act in ("log in by form", "save"):
        assert not said[0]
    if act == "log out":
        assert all(said)  # ending needs no room


@each_act
def test_a_server_that_becomes_a_replica_says_so_and_the_next_try_is_right(site: Site, act: str) -> None:
    site.raw.config_set("replica-serve-stale-data", "yes")

    def demoted() -> None:
        site.raw.replicaof(*NOBODY)

    said = each_moment(site, act, demoted, lambda: site.raw.replicaof("NO", "ONE"))
    assert not said[0]


@each_act
def test_a_server_that_is_killed_and_comes_back_has_all_it_acknowledged(
    site: Site, lasting: PrivateServer, act: str
) -> None:
    """The link is broken, and mended within the budget: nobody notices."""

    def killed() -> None:
        lasting.kill()
        lasting.start()
        while site.raw.info("persistence")["loading"]:
            os.sched_yield()

    each_moment(site, act, killed)


@each_act
def test_a_server_that_is_flushed_loses_sessions_and_nothing_else(site: Site, act: str) -> None:
    """Of a log-in the first half may be gone: then no list shows the session, until it is used or repaired."""
    for after in range(MOST):
        one = begun(site, after, SESSION_LIMIT=2)
        with interrupted(after, site.raw.flushall) as hit, suppress(UpdateError, SessionInterrupted):
            does(act, one)
        repair()
        site.nothing_hides()
        site.later()
        for _ in range(2 - len([1 for found in site.live().values() if found.user_id == SARI])):
            made()
        with pytest.raises(SessionLimitReached):
            made()
        site.is_right()
        if not hit:
            return


def test_flushed_lists_let_more_in_until_the_doctor_has_been(site: Site) -> None:
    """The limit is kept by the user's list alone. It comes back by use, or at once by ``doctor --repair``."""
    site.open("lost", SESSION_LIMIT=2)
    first = [made(), made()]
    site.raw.delete(keys.user_sessions(SARI), keys.user_online(SARI), keys.tenant_sessions(TENANT))
    more = [made(), made()]
    with pytest.raises(SessionLimitReached):
        made()
    assert all(sessions.validate_session(one.key) for one in (*first, *more))
    repair()
    site.is_right()
    assert {info.public_id for info in sessions.sessions_for_user(SARI)} == {one.sid for one in (*first, *more)}
    for one in first:
        sessions.revoke(one.sid)
    with pytest.raises(SessionLimitReached):
        made()
    sessions.revoke(more[0].sid)
    assert made().user_id == SARI


def test_a_flushed_list_comes_back_by_use(site: Site) -> None:
    one = begun(site, 0, SESSION_LIMIT=1)
    site.raw.delete(keys.user_sessions(SARI), keys.tenant_sessions(TENANT))
    assert sessions.validate_session(one.key) is not None
    assert sid_of(one.key) in site.listed(keys.user_sessions(SARI))
    with pytest.raises(SessionLimitReached):
        made()


@contextmanager
def all_paused(site: Site, server: PrivateServer) -> Iterator[None]:
    """Nobody is answered meanwhile. Who looks on is never paused, and can end it."""
    with socket.create_connection(("127.0.0.1", server.port)) as onlooker:
        onlooker.sendall(b"MONITOR\r\n")
        assert onlooker.recv(5) == b"+OK\r\n"
        site.raw.client_pause(3_600_000, all=True)
        yield
        onlooker.sendall(b"CLIENT UNPAUSE\r\n")
        site.raw.ping()  # answered when it is over


@each_act
def test_a_server_whose_clients_all_are_paused_is_unavailable_and_then_right(
    site: Site, lasting: PrivateServer, settings: Any, act: str
) -> None:
    """Reading, too."""
    one = begun(site, 0)
    patient = settings.BERGIZI_REDIS
    with all_paused(site, lasting):
        settings.BERGIZI_REDIS = {**patient, "REQUEST_BUDGET": 0.1, "COMMAND_TIMEOUT": 0.1}
        assert not does(act, one)
    settings.BERGIZI_REDIS = patient
    connections.disconnect_all()
    site.nothing_hides()
    site.later()
    assert does("log in by form" if act == "change key" else act, one)
    kept_its_word(act, one)
    site.is_right()
