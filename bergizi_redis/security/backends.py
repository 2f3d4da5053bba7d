"""Authentication backends that count before they check.

``LockoutModelBackend`` is Django's ``ModelBackend`` so guarded; ``class Ours(LockoutMixin, TheirBackend)`` guards any
other. Promise: a locked account computes no password hash; ``authenticate()`` and ``aauthenticate()``, with and without
a request, are counted alike, and once a call however many guarded backends are tried. A backend that is not guarded is
not counted by itself: list none that checks passwords, and put guarded ones first, for a refusal ends the search. What
one accepts that stands behind them is refunded when ``login()`` is called with the same request, and not without.

Round trips and Redis down: see ``lockout``.
"""

import hashlib
import hmac
import inspect
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_variables

from bergizi_redis.security.account import Account
from bergizi_redis.security.guard import Attempt
from bergizi_redis.security.identifiers import canonical_identifier
from bergizi_redis.security.resolvers import names_of
from bergizi_redis.security.steps import arun, run

if TYPE_CHECKING:
    from django.contrib.auth.backends import BaseBackend as _Backend
else:  # a backend need not derive from BaseBackend, whose methods would come before its own
    _Backend = object

Credentials = dict[str, Any]

_process_key = secrets.token_bytes(32)


class Login:
    """One ``authenticate()`` call as the guarded backends of it see it."""

    def __init__(self, fingerprint: bytes | None, attempt: Attempt) -> None:
        self.fingerprint = fingerprint
        self.attempt = attempt
        self.backends: set[type] = set()
        self.is_checking = False

    def paid_for(self, fingerprint: bytes | None) -> bool:
        return fingerprint is not None and self.fingerprint == fingerprint


_login: ContextVar[Login | None] = ContextVar("bergizi_redis_login", default=None)


def _fingerprint(account: Account, credentials: Credentials) -> bytes | None:
    """Stands for exactly these credentials in this process; None for values that cannot be told apart by their text.

    A debit is shared by equal credentials only: trying one password again, on the next backend, is no second guess.
    """
    digest = hmac.new(_process_key, account.tag.encode(), hashlib.sha256)
    for name, value in sorted(credentials.items()):
        if not isinstance(value, str):
            return None
        for part in (name, value):
            encoded = part.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()


def _accepts(method: Callable[..., Any], request: Any, credentials: Credentials) -> bool:
    try:
        inspect.signature(method).bind(request, **credentials)
    except TypeError:
        return False
    return True


class LockoutMixin(_Backend):
    """Put it before the backend to guard. ``lockout_scope`` keeps its counts apart from other scopes."""

    lockout_scope = "password"

    def lockout_identifier(self, credentials: Credentials) -> object:
        """Which account these credentials claim; None when they claim none (a token), and are then not counted.

        The first of ``username``, the user model's ``USERNAME_FIELD`` and its e-mail field; else the one text, such as
        a telephone number, that comes with a ``password``: override it for others.
        """
        if (name := _usual_name(credentials)) is not None or credentials.get("password") is None:
            return name
        others = [value for name, value in credentials.items() if name != "password" and isinstance(value, str)]
        return others[0] if len(others) == 1 else None

    @sensitive_variables()
    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> Any:
        """As the guarded backend does. Raises ``AccountLocked``, ``LockoutUnavailable`` before any check."""
        credentials = _given(username, password, kwargs)
        check = super().authenticate
        if not _accepts(check, request, credentials):
            return None
        login, is_new = self._login(request, credentials)
        if login is None:
            return check(request, **credentials)
        if is_new:
            run(login.attempt.open())
            _login.set(login)
        login.is_checking = True
        try:
            user = check(request, **credentials)
        except Exception:
            run(login.attempt.close())
            raise
        finally:
            login.is_checking = False
        self._note(login, user)
        run(login.attempt.close())
        return user

    @sensitive_variables()
    async def aauthenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> Any:
        """The same; waits for Redis natively, and for the guarded backend as that backend does."""
        credentials = _given(username, password, kwargs)
        if not _accepts(super().authenticate, request, credentials):
            return None
        check = getattr(super(), "aauthenticate", None) or sync_to_async(super().authenticate)
        login, is_new = self._login(request, credentials)
        if login is None:
            return await check(request, **credentials)
        if is_new:
            await arun(login.attempt.open())
            _login.set(login)
        login.is_checking = True
        try:
            user = await check(request, **credentials)
        except Exception:
            await arun(login.attempt.close())
            raise
        finally:
            login.is_checking = False
        self._note(login, user)
        await arun(login.attempt.close())
        return user

    def _login(self, request: Any, credentials: Credentials) -> tuple[Login | None, bool]:
        """(the login to count, whether it is yet to be paid); (None, False) for what is not counted here."""
        identifier = self.lockout_identifier(credentials)
        if identifier is None:
            return None, False
        account = Account.of(identifier, None, self.lockout_scope)
        fingerprint = _fingerprint(account, credentials)
        login = _login.get()
        if login is not None and login.paid_for(fingerprint):
            if login.is_checking:  # BaseBackend.aauthenticate calls authenticate
                return None, False
            if type(self) not in login.backends and not login.attempt.has_succeeded:
                login.backends.add(type(self))
                return login, False
        login = Login(fingerprint, Attempt(account, None, request))
        login.backends.add(type(self))
        return login, True

    def _note(self, login: Login, user: Any) -> None:
        if user is not None:
            login.attempt.succeeded(user)


def settle_late(sender: Any, request: Any, user: Any, **_: Any) -> None:
    """A receiver of ``user_logged_in``: a backend that is not guarded accepted what a guarded one has paid for.

    For the same request and the account of this very user, lest a failure be refunded that is another's. Costs what
    each success does, and nothing where nothing is open.
    """
    login = _login.get()
    if login is None or login.attempt.has_succeeded or request is None:
        return
    is_the_same = _django_s(login.attempt.request) is _django_s(request)
    if is_the_same and login.attempt.account.identifier in map(canonical_identifier, names_of(user)):
        login.attempt.succeeded(user)
        run(login.attempt.close())


def _django_s(request: Any) -> Any:
    """REST framework wraps requests."""
    return getattr(request, "_request", request)


def _usual_name(credentials: Credentials) -> object:
    model = get_user_model()
    names = ("username", model.USERNAME_FIELD, model.get_email_field_name())
    return next((credentials[name] for name in names if credentials.get(name) is not None), None)


def _given(username: Any, password: Any, others: Credentials) -> Credentials:
    named = {"username": username, "password": password}
    return {**{name: value for name, value in named.items() if value is not None}, **others}


def guard(backend: str | type) -> type[Any]:
    """The backend of a dotted path, guarded: for what is not written here, such as LDAP. In a module of the project::

        Directory = guard("django_auth_ldap.backend.LDAPBackend")

    and its path, ``"kitchen.auth.Directory"``, in ``AUTHENTICATION_BACKENDS``. ``ImportError`` where there is none.
    """
    guarded: Any = import_string(backend) if isinstance(backend, str) else backend
    if issubclass(guarded, LockoutMixin):
        return guarded  # type: ignore[no-any-return]
    return type(guarded.__name__, (LockoutMixin, guarded), {"__doc__": guarded.__doc__, "__module__": __name__})


class LockoutModelBackend(LockoutMixin, ModelBackend):
    """Django's ``ModelBackend``, guarded. Credentials without a password are not counted: it checks none."""

    def lockout_identifier(self, credentials: Credentials) -> object:
        return None if credentials.get("password") is None else _usual_name(credentials)
