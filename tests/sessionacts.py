"""What a process does with sessions, by name: for tests that kill it in the middle, and for one that tells it to."""

import time
from collections.abc import Callable
from typing import Any

from bergizi_redis import keys, signals
from bergizi_redis.connections import client
from bergizi_redis.sessions import barriers, sweeping
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.asking import ask
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.doctor import examine
from bergizi_redis.sessions.identity import new_key
from bergizi_redis.sessions.quotas import SessionLimitReached

TENANT = "sppg-1"
PROFILE: dict[str, Any] = {"role": "COOK", "user_type": "U", "email": "e", "name": "n", "permissions": []}


def log_in(user_id: str) -> None:
    sessions.create_session(user_id, TENANT, **PROFILE)


def log_in_by_form(user_id: str) -> str:
    """As Django's ``login()`` and the end of its request do it."""
    session = SessionStore()
    session["cart"] = [1]
    session.create()
    session.cycle_key()
    session["_auth_user_id"] = user_id
    session.note_login(tenant=TENANT, ip=None, client=None)
    session.take_place()
    session.save()
    return session.session_key or ""


def log_out(key: str) -> None:
    SessionStore(key).flush()


def change_key(key: str) -> None:
    session = SessionStore(key)
    session["x"] = 1
    session.cycle_key()


def log_in_again(key: str, user_id: str) -> None:
    session = SessionStore(key)
    session["_auth_user_id"] = user_id
    session.note_login(tenant=TENANT, ip=None, client=None)
    session.save()


def log_out_within(key: str) -> None:
    """The session goes on, without its user."""
    session = SessionStore(key)
    del session["_auth_user_id"]
    session.save()


def save(key: str) -> None:
    session = SessionStore(key)
    session["n"] = 1
    session.save()


def use(key: str) -> None:
    SessionStore(key).load()


def note(text: str) -> None:
    """For the test to read."""
    client("default").rpush(keys.prefixed("noted"), text)


def sweep_and_note(together: int = 1) -> None:
    """Begins when so many processes have come as far."""

    def expired(sid: str, **_: Any) -> None:
        note(sid)

    signals.session_expired.connect(expired)
    sweeping.ENTRIES_AT_ONCE = 10
    here: Any = client("default")
    deadline = time.monotonic() + 60
    here.incr(keys.prefixed("here"))
    while int(here.get(keys.prefixed("here"))) < together:
        assert time.monotonic() < deadline
    sweeping.sweep()


def note_life(key: str) -> None:
    """Seconds that the cookie shall live, or "none" without a session."""
    session = SessionStore(key)
    session.load()
    note("none" if session.record is None or session.session_key is None else str(session.get_session_cookie_age()))


def try_to_log_in(user_id: str) -> None:
    try:
        note(sessions.create_session(user_id, TENANT, **PROFILE).key)
    except SessionLimitReached:
        note("refused")


def bar(user_id: str) -> None:
    """A revocation that is killed before its clean-up."""
    ask(barriers.put_up(barriers.Revocation(new_key(), user_id)))


def repair() -> None:
    for _ in examine(repair=True):
        pass


ACTS: dict[str, Callable[..., Any]] = {
    "log in": log_in,
    "log in by form": log_in_by_form,
    "log out": log_out,
    "log out within": log_out_within,
    "change key": change_key,
    "log in again": log_in_again,
    "save": save,
    "use": use,
    "list user": sessions.sessions_for_user,
    "list tenant": sessions.sessions_for_tenant,
    "page": sessions.page_for_tenant,
    "repair": repair,
    "sweep and note": sweep_and_note,
    "note life": note_life,
    "try to log in": try_to_log_in,
    "revoke": sessions.revoke,
    "bar user": bar,
    "revoke user": sessions.revoke_user,
    "revoke tenant": sessions.revoke_tenant,
    "revoke everybody": sessions.revoke_everybody,
    "resume": sessions.resume_revocations,
    "sweep": sweeping.sweep,
}
