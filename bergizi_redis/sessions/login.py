"""What a session learns when somebody logs in: the tenant, the address, the label of the device.

``note_login`` is a receiver of ``user_logged_in``. The middleware asks for the same at the end of the request, so
that it is known without the signal too. No round trip: the session's own save writes it.
"""

from typing import Any

from django.http import HttpRequest

from bergizi_redis.conf import config
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.client import client_ip, noted_ip, noted_label
from bergizi_redis.sessions.permissions import snapshot
from bergizi_redis.sessions.quotas import SessionLimitReached
from bergizi_redis.tenancy import find_tenant, tenant_of_user


def note_login(sender: Any, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """Note on the request's session where its log-in comes from. Other session engines are left alone."""
    session = getattr(request, "session", None)
    if request is None or not isinstance(session, SessionStore):
        return
    label = noted_label(request.META.get("HTTP_USER_AGENT"))
    session.note_login(tenant=find_tenant() or tenant_of_user(user), ip=noted_ip(client_ip(request)), client=label,
                       permissions=snapshot(user))  # fmt: skip


def take_place(sender: Any, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    """A receiver of ``user_logged_in``: as ``note_login``, and hold the user to ``SESSION_LIMIT``.

    Raises ``SessionLimitReached`` out of ``login()``; nobody is logged in then, and the session is gone.
    """
    note_login(sender, request, user)
    session = getattr(request, "session", None)
    if request is None or not isinstance(session, SessionStore) or not config.SESSION_LIMIT:
        return
    session.role = role_of(user)
    try:
        session.take_place()
    except SessionLimitReached:
        from django.contrib.auth.models import AnonymousUser  # only where auth is installed

        session.flush()
        request.user = AnonymousUser()
        raise


def role_of(user: Any) -> str | None:
    """The user's ``role``, if there is one."""
    value = getattr(user, "role", None)
    value = value() if callable(value) else value
    return None if value is None else str(value)
