"""django-axes on top, this package's lockout underneath: its middleware, decorators, templates and exemptions go on
working, and attempts are counted here, before the password is checked.

::

    AXES_HANDLER = "bergizi_redis.contrib.axes.LockoutHandler"
    AUTHENTICATION_BACKENDS = [
        "axes.backends.AxesStandaloneBackend",
        "bergizi_redis.contrib.axes.LockoutBackend",   # in the place of Django's ModelBackend
    ]

Round trips: 1 an attempt, 1 more for a success; for a failure 1 more, to know whether it was the last one allowed.
Where no guarded backend is listed, failures are counted after the check, so parallel guesses are all checked. Redis
down: see ``lockout``.
"""

from typing import Any

from axes.conf import settings
from axes.handlers.base import AbstractAxesHandler, AxesBaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_client_username
from axes.signals import user_locked_out
from django.contrib.auth.backends import ModelBackend
from django.utils.module_loading import import_string

from bergizi_redis.addresses import client_ip
from bergizi_redis.security import lockout
from bergizi_redis.security.backends import Credentials, LockoutMixin, LockoutModelBackend, Login
from bergizi_redis.security.listing import everywhere, unlock_listed
from bergizi_redis.security.status import LockStatus


def is_exempt(request: Any, credentials: Credentials | None) -> bool:
    """Whether django-axes's settings let this request pass uncounted: whitelists, admin only, switched off."""
    if not settings.AXES_ENABLED or not settings.AXES_LOCK_OUT_AT_FAILURE:
        return True
    handler = AxesProxyHandler.get_implementation()
    if settings.AXES_ONLY_ADMIN_SITE and not handler.is_admin_request(request):
        return True
    AxesProxyHandler.update_request(request)
    return bool(handler.is_whitelisted(request, credentials))


def has_guarded_backend() -> bool:
    """Whether a backend counts before it checks."""
    return any(issubclass(import_string(path), LockoutMixin) for path in settings.AUTHENTICATION_BACKENDS)


class AxesLockoutMixin(LockoutMixin):
    """As ``LockoutMixin``; whom django-axes exempts is not counted."""

    def _login(self, request: Any, credentials: Credentials) -> tuple[Login | None, bool]:
        if request is not None and is_exempt(request, credentials):
            return None, False
        return super()._login(request, credentials)


class LockoutBackend(AxesLockoutMixin, LockoutModelBackend, ModelBackend):
    """Django's ``ModelBackend``, guarded, with django-axes's exemptions."""


class LockoutHandler(AbstractAxesHandler, AxesBaseHandler):  # type: ignore[misc]
    """For ``AXES_HANDLER``. Answers from the lockout; it writes no ``AccessAttempt``, ``AccessLog`` or failure log."""

    def status(self, request: Any, credentials: Credentials | None = None) -> LockStatus:
        """How the account stands that the credentials, or the form, name. One round trip."""
        return lockout.is_account_locked(get_client_username(request, credentials))

    def is_locked(self, request: Any, credentials: Credentials | None = None) -> bool:
        """For decorators. Before a password is checked the guarded backend decides, so that is not asked here."""
        if not settings.AXES_LOCK_OUT_AT_FAILURE or (_has_password(credentials) and has_guarded_backend()):
            return False
        return self.status(request, credentials).locked

    def get_failures(self, request: Any, credentials: Credentials | None = None) -> int:
        """Failures that count."""
        return self.status(request, credentials).failures

    def user_login_failed(self, sender: Any, credentials: Credentials, request: Any = None, **kwargs: Any) -> None:
        """Tell django-axes's middleware whether the account is locked now; count, where no guarded backend has."""
        if request is None or is_exempt(request, credentials):
            return
        username = get_client_username(request, credentials)
        if getattr(request, "login_refusal", None) is not None:
            is_locked = True
        else:
            status = self._counted(username, request)
            is_locked, request.axes_failures_since_start = status.locked, status.failures
        if is_locked:
            request.axes_locked_out, request.axes_credentials = True, credentials
            user_locked_out.send("axes", request=request, username=username, ip_address=request.axes_ip_address)

    def _counted(self, username: Any, request: Any) -> LockStatus:
        if has_guarded_backend():
            return lockout.is_account_locked(username)
        return lockout.record_login_attempt(username, False, client_ip(request), request.axes_user_agent)

    def user_logged_in(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """A guarded backend has settled it; without one the failures are forgotten here."""
        if not has_guarded_backend():
            lockout.record_login_attempt(user.get_username(), True)

    def user_logged_out(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """Nothing is kept about it."""

    def reset_attempts(
        self, *, ip_address: str | None = None, username: str | None = None, ip_or_username: bool = False
    ) -> int:
        """Unlock a user, or with ``axes_reset`` whoever is locked; how many that were.

        ``NotImplementedError`` for addresses, which have no locks: what failed there counts until its window is over.
        """
        if ip_address is not None or ip_or_username:
            raise NotImplementedError("Name a user, or see `manage.py redis_lockouts list`: addresses have no locks.")
        if username is not None:
            return int(lockout.unlock_account(username))
        rows = [(row.tag, tenant) for tenant, rows in everywhere().items() for row in rows]
        return sum(unlock_listed(tag, tenant=tenant) for tag, tenant in rows)


def _has_password(credentials: Credentials | None) -> bool:
    return bool(credentials) and (credentials or {}).get("password") is not None
