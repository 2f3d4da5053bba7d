"""What callers get to see of sessions: frozen values, without the key of the cookie."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bergizi_redis.keys import validated_tenant
from bergizi_redis.sessions import record as names
from bergizi_redis.sessions.client import noted_ip, noted_label
from bergizi_redis.sessions.record import Record


@dataclass(frozen=True, slots=True)
class Session:
    """A session just made. ``key`` is for the cookie alone, and stays out of ``repr``; ``sid`` is its public id."""

    key: str = field(repr=False)
    sid: str
    user_id: str
    tenant: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A live, logged-in session. Datetimes are aware (UTC).

    ``role`` … ``permissions`` are those of ``create_session``; Django's ``login()`` has only the
    last, and a superuser's is empty.
    ``last_seen`` is the last save or touch. ``absolute``: the end whatever happens; ``idle``: seconds without a
    request that end it. Both None for Django's own.
    """

    public_id: str
    user_id: str
    tenant: str | None
    role: str | None
    user_type: str | None
    email: str | None
    name: str | None
    permissions: tuple[str, ...]
    created: datetime
    authenticated: datetime
    last_seen: datetime
    expires: datetime | None
    absolute: datetime | None
    idle: int | None
    ip: str | None
    client: str | None


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def info_of(sid: str, record: Record | None, permission: str | None = None) -> SessionInfo | None:
    """What the record says; None for an anonymous session, or one without the permission."""
    if record is None or record.user_id is None:
        return None
    if permission is not None and not record.permits(permission):
        return None
    seen = record.number(names.SEEN) or record.now
    created = record.number(names.NEW) or seen
    absolute = record.number(names.ABSOLUTE)
    return SessionInfo(
        public_id=sid,
        user_id=record.user_id,
        tenant=record.tenant,
        role=record.text(names.ROLE),
        user_type=record.text(names.USER_TYPE),
        email=record.text(names.EMAIL),
        name=record.text(names.NAME),
        permissions=record.permissions,
        created=moment(created),
        authenticated=moment(record.number(names.LOGGED_IN) or created),
        last_seen=moment(seen),
        expires=None if record.expiry < 0 else moment(record.expiry),
        absolute=None if absolute is None else moment(absolute),
        idle=record.number(names.IDLE),
        ip=record.text(names.IP),
        client=record.text(names.CLIENT),
    )


def login_record(
    *, user_id: object, tenant: str, role: str, user_type: str, email: str, name: str, permissions: Iterable[str],
    ip: str | None, user_agent: str | None, idle: float,
) -> Record:  # fmt: skip
    """The meta fields of a session to be made. Raises ``TenantError`` for what is no tenant id, ``TypeError`` for
    permissions that are one string and for other fields that are none, ``ValueError`` without a user."""
    if isinstance(permissions, str):
        raise TypeError(f"permissions is the string {permissions!r}; give a list of names, such as ['MENU_MANAGE'].")
    if user_id is None or str(user_id) == "":
        raise ValueError(f"user_id is {user_id!r}; a session belongs to a user. Give the id, such as 'user123'.")
    for argument, given in (("role", role), ("user_type", user_type), ("email", email), ("name", name)):
        if not isinstance(given, str | None):
            raise TypeError(f"{argument} is {given!r}; give a string, '' if there is none.")
    texts = {
        names.USER: str(user_id),
        names.TENANT: validated_tenant(tenant),
        names.ROLE: role,
        names.USER_TYPE: user_type,
        names.EMAIL: email,
        names.NAME: name,
        names.PERMISSIONS: json.dumps(sorted(set(permissions)), separators=(",", ":")),
        names.IP: noted_ip(ip),
        names.CLIENT: noted_label(user_agent),
        names.IDLE: str(int(idle)),
    }
    return Record({field: text.encode("utf-8", "replace") for field, text in texts.items() if text})
