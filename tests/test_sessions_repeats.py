"""A link that breaks after the server has carried out a command, and before its answer has come: it is sent again.

What it did the first time must not be taken for somebody else's doing. Red without the mark in ``session_end.lua`` (the
session stays on the lists, its log-out is neither counted nor told, and a change of key logs the user out), and without
``repeats.own_creation`` (a session that no list shows and that has no browser).
"""

import copy
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.base import CreateError

from bergizi_redis import connections, keys, scripts, signals
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.info import Session
from tests.interruptions import interrupted
from tests.proxies import proxy
from tests.servers import PrivateServer
from tests.sessionacts import ACTS, PROFILE, TENANT
from tests.sessionsite import SARI, Site, counted

MOST = 60  # commands; an act that sends more does not end
Lose = Callable[[], None]


@pytest.fixture
def lose(server: PrivateServer, settings: Any) -> Iterator[Lose]:
    """Let the next answer be lost, and the link with it."""
    losing = threading.Event()

    def serve(link: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as back:
            while True:  # a command, and an answer, may come in pieces
                ready, _, _ = select.select([link, back], [], [])
                if link in ready:
                    if not (asked := link.recv(65536)):
                        return
                    back.sendall(asked)
                if back in ready:
                    answer = back.recv(65536)
                    if losing.is_set():
                        losing.clear()
                        return
                    link.sendall(answer)

    with proxy(serve) as running:
        caches = copy.deepcopy(settings.CACHES)
        caches["default"]["LOCATION"] = running.url
        settings.CACHES = caches
        yield losing.set
        connections.disconnect_all()


@pytest.fixture
def site(server: PrivateServer, settings: Any, lose: Lose) -> Iterator[Site]:
    with server.client() as raw:
        for path in Path(scripts.__file__).parent.glob("session_*.lua"):
            raw.script_load(script(path.stem).text)
        yield Site(raw, settings)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Reasons of what was told of Sari's sessions."""
    log: list[str] = []

    def note(reason: str, user_id: str, **_: Any) -> None:
        if user_id == SARI:
            log.append(reason)

    for signal in (signals.session_started, signals.session_ended):
        signal.connect(note)
    yield log
    for signal in (signals.session_started, signals.session_ended):
        signal.disconnect(note)


def made() -> Session:
    return sessions.create_session(SARI, TENANT, **PROFILE)


@pytest.mark.parametrize(
    ("act", "telling"),
    [("log in", ["login"]), ("log in by form", ["login"]), ("use", []), ("save", []), ("change key", ["cycled"] * 2),
     ("log out", ["logout"]), ("revoke", ["revoked"]), ("revoke user", ["revoked"])],
)  # fmt: skip
def test_an_answer_that_is_lost_changes_nothing(
    site: Site, lose: Lose, told: list[str], act: str, telling: list[str]
) -> None:
    for after in range(MOST):
        site.open(f"n{after}", SESSION_LIMIT=2)
        one = made()
        name = keys.session(one.sid)
        site.raw.hset(name, mapping={"@seen": int(site.raw.hget(name, "@seen")) - 120_000, "@idx": 1})
        told.clear()
        args = (SARI,) if act in ("log in", "log in by form", "revoke user") else (one.key,)
        with interrupted(after, lose) as hit:
            ACTS[act](*((one.sid,) if act == "revoke" else args))
        assert told == telling
        site.is_exact()
        if act == "save":
            assert SessionStore(one.key)["n"] == 1
        if not hit:
            return
    raise AssertionError(f"{act} does not end within {MOST} commands")


def test_another_process_is_not_answered_for_who_has_ended_the_session(site: Site) -> None:
    site.open("own")
    one = made()
    assert sessions.revoke(one.sid)
    assert not sessions.revoke(one.sid)
    assert counted(TENANT).revoked == 1


def test_a_session_that_was_there_is_not_taken_for_ones_own(site: Site) -> None:
    site.open("own")
    theirs = SessionStore()
    theirs["cart"] = [1]
    theirs.save()
    same, other = SessionStore(theirs.session_key), SessionStore(theirs.session_key)
    other["cart"] = [2]
    with pytest.raises(CreateError):
        other.save(must_create=True)
    name = keys.session(sid_of(theirs.session_key or ""))
    site.raw.hset(name, "@new", int(site.raw.hget(name, "@new")) - 60_000)
    same["cart"] = [1]
    with pytest.raises(CreateError):
        same.save(must_create=True)
