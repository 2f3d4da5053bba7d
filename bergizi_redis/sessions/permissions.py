"""Permissions of the user, as a snapshot in the session: asked without SQL, and never older than their last change.

``SESSION_PERMISSIONS`` says where they come from: ``django`` is the user's ``get_all_permissions()``. They are noted at
log-in. When groups, permissions or the user change, or ``permissions_changed`` says so, the snapshots made before are
out of date in one round trip, which every load finds out in its own; who is asked next has them made anew, once a
session: some SQL, and 1 round trip. When Redis is down, asking raises ``RedisUnavailable``; a change that could not
be told is logged as an error, for the database has committed it.
"""

import json
from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY, get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from bergizi_redis import keys
from bergizi_redis.conf import config, import_setting
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import barriers
from bergizi_redis.sessions.asking import aask, ask
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.record import AUTH_USER, PERMISSIONS, PERMISSIONS_SEEN, USER, Record

CACHES = ("_perm_cache", "_user_perm_cache", "_group_perm_cache")  # Django's, on the user object


def has_session_permission(request: HttpRequest, permission: str) -> bool:
    """Whether the user of this request's session has the permission, such as ``"menus.change_menu"``: no SQL.

    The one who has just logged in, and one without a snapshot, is asked as Django does. Raises ``RedisUnavailable``.
    """
    session = _session_of(request)
    if session is not None:
        session.get(SESSION_KEY)  # loads it, and counts as access: the response varies by cookie
    if session is None or session.record is None or not _is_noted(session.record):
        return bool(getattr(request, "user", None)) and bool(request.user.has_perm(permission))
    if session.record.is_stale:
        refresh(sid_of(session.session_key or ""), session.record)
    return session.record.permits(permission)


async def ahas_session_permission(request: HttpRequest, permission: str) -> bool:
    """As ``has_session_permission``."""
    session = _session_of(request)
    if session is not None:
        await session.aget(SESSION_KEY)
    if session is None or session.record is None or not _is_noted(session.record):
        return await sync_to_async(has_session_permission)(request, permission)
    if session.record.is_stale:
        await arefresh(sid_of(session.session_key or ""), session.record)
    return session.record.permits(permission)


def _session_of(request: HttpRequest) -> SessionStore | None:
    session = getattr(request, "session", None)
    if not isinstance(session, SessionStore) or session.session_key is None:
        return None
    return session


def _is_noted(record: Record) -> bool:
    return record.user_id is not None and PERMISSIONS in record.raw


def permissions_changed(user_id: object = None) -> None:
    """Have this user's snapshots, or without one everybody's, made anew at the next request: 1 round trip."""
    ask(barriers.outdate(None if user_id is None else str(user_id)), budget=config.COMMAND_TIMEOUT)


async def apermissions_changed(user_id: object = None) -> None:
    """As ``permissions_changed``."""
    await aask(barriers.outdate(None if user_id is None else str(user_id)), budget=config.COMMAND_TIMEOUT)


def snapshot(user: Any) -> str | None:
    """What a session notes of this user at log-in, as JSON; None where nothing is to be noted."""
    source = config.SESSION_PERMISSIONS
    if not source or not getattr(user, "is_authenticated", False):
        return None
    return _of_django(user) if source == "django" else _json_of(_asked(source, str(user.pk)))


def _of_django(user: Any) -> str:
    if getattr(user, "is_superuser", False) and user.is_active:
        return "true"
    for name in CACHES:  # of before this session knew up to which change it has seen them
        user.__dict__.pop(name, None)
    ask_user = getattr(user, "get_all_permissions", None)  # none without PermissionsMixin
    return _json_of(ask_user() if ask_user is not None else ())


def _json_of(permissions: Iterable[str] | None) -> str:
    return json.dumps(sorted(set(permissions or ())), separators=(",", ":"))


def _asked(source: str, user_id: str) -> Iterable[str] | None:
    found: Iterable[str] | None = import_setting("SESSION_PERMISSIONS", source)(user_id)
    return found


def _anew(record: Record) -> str | None:
    """The permissions as they are now; None where nobody knows them: those given to ``create_session`` stay."""
    source, user_id = config.SESSION_PERMISSIONS, record.user_id or ""
    if source and source != "django":
        return _json_of(_asked(source, user_id))
    if not source or AUTH_USER not in record.raw:
        return None
    try:
        return _of_django(get_user_model()._default_manager.get(pk=user_id))
    except (get_user_model().DoesNotExist, ValueError, ValidationError):  # gone: nothing is permitted any more
        return _json_of(())


def refresh(sid: str, record: Record) -> None:
    """Make the snapshot anew, in the record and in the session: SQL, and 1 round trip."""
    if (text := _anew(record)) is not None:
        ask(_write(sid, record, text))
    _know(record, text)


async def arefresh(sid: str, record: Record) -> None:
    """As ``refresh``; the database is asked in a thread."""
    if (text := await sync_to_async(_anew)(record)) is not None:
        await aask(_write(sid, record, text))
    _know(record, text)


def _write(sid: str, record: Record, text: str) -> Exchange[None]:
    yield from evaluate(script("session_permit"), [keys.session(sid)], [record.raw[USER], text, record.top])


def _know(record: Record, text: str | None) -> None:
    record.is_stale = False
    if text is not None:
        record.raw[PERMISSIONS] = text.encode()
        record.raw[PERMISSIONS_SEEN] = b"%d" % record.top
