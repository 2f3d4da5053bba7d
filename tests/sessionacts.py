"""What a process does with sessions, by name: for tests that kill it in the middle, and for one that tells it to."""

from collections.abc import Callable
from typing import Any

from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions import sweeping
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.doctor import examine

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
    "revoke": sessions.revoke,
    "revoke user": sessions.revoke_user,
    "revoke tenant": sessions.revoke_tenant,
    "revoke everybody": sessions.revoke_everybody,
    "resume": sessions.resume_revocations,
    "sweep": sweeping.sweep,
}
