"""Which features the settings switch on, and whether their lines stand where they work.

Nothing here raises for a wrong setting: ``checks`` reports that by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from bergizi_redis import checklist
from bergizi_redis.cache.letters import discovered
from bergizi_redis.conf import SETTINGS_NAME, Config, Setting

SESSION_ENGINE = "bergizi_redis.sessions.backend"
LOCKOUT_MIXIN = "bergizi_redis.security.backends.LockoutMixin"
LOCKOUT_MIDDLEWARE = "bergizi_redis.security.middleware.LockoutMiddleware"
SESSION_MIDDLEWARE = "bergizi_redis.sessions.middleware.SessionMiddleware"
TENANT_MIDDLEWARE = "bergizi_redis.tenancy.TenantMiddleware"
TENANT_FROM_USER = "bergizi_redis.tenancy.tenant_from_user"
DJANGO_SESSION_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION_MIDDLEWARE = "django.contrib.auth.middleware.AuthenticationMiddleware"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
REMOTE_USER_BACKEND = "django.contrib.auth.backends.RemoteUserBackend"  # a ModelBackend that checks no password
ALIAS_SETTINGS = ("CACHE_ALIAS", "SECURITY_ALIAS", "REALTIME_ALIAS", "WRITE_BEHIND_ALIAS")


def entries() -> Mapping[str, Any]:
    """``BERGIZI_REDIS`` for checks: empty where it is no dict, which one check tells."""
    found = getattr(settings, SETTINGS_NAME, {})
    return found if isinstance(found, Mapping) else {}


def value_of(name: str) -> Any:
    """The setting in force; its default where what is given is wrong."""
    setting: Setting[Any] = getattr(Config, name)
    value = entries().get(name, setting.default)
    return setting.default if setting.problem(value) else value


def resolvers() -> Sequence[Any]:
    paths = value_of("TENANT_RESOLVER")
    return [paths] if isinstance(paths, str) else paths


def types_of(path: str) -> list[str]:
    """The path and the names of the classes behind it, so that a subclass counts as what it is."""
    try:
        found = import_string(path)
    except ImportError:  # Django reports it where it uses it
        return [path]
    classes = found.__mro__ if isinstance(found, type) else ()
    return [path, *(f"{kind.__module__}.{kind.__qualname__}" for kind in classes)]


def _backends() -> list[list[str]]:
    """Types of each authentication backend; none without Django's auth, whose models the import would need."""
    return (
        [types_of(path) for path in settings.AUTHENTICATION_BACKENDS]
        if apps.is_installed("django.contrib.auth")
        else []
    )


def has_lockout() -> bool:
    return any(LOCKOUT_MIXIN in backend for backend in _backends())


def kept() -> dict[str, str]:
    """Setting → alias, of what must not get lost: sessions, locks, limits and audit trails, where in use."""
    uses = {}
    if settings.SESSION_ENGINE == SESSION_ENGINE:
        uses["SESSION_CACHE_ALIAS"] = settings.SESSION_CACHE_ALIAS
    if has_lockout() or value_of("AUDIT") or value_of("RATELIMITS"):
        uses[f"{SETTINGS_NAME}['SECURITY_ALIAS']"] = value_of("SECURITY_ALIAS")
    return uses


def buffered() -> dict[str, str]:
    """The same for writes that are not in the database yet, where a ``WriteBehind`` is declared."""
    return {f"{SETTINGS_NAME}['WRITE_BEHIND_ALIAS']": value_of("WRITE_BEHIND_ALIAS")} if discovered() else {}


def uses() -> dict[str, str]:
    """Setting → alias, of what is in use or names an alias."""
    named = {f"{SETTINGS_NAME}[{name!r}]": value_of(name) for name in ALIAS_SETTINGS if name in entries()}
    if value_of("QUERY_CACHE"):
        named[f"{SETTINGS_NAME}['CACHE_ALIAS']"] = value_of("CACHE_ALIAS")
    return named | kept()


def unguarded() -> Iterator[CheckMessage]:
    """Backends that check passwords past the lockout."""
    backends = _backends()
    guarded = [LOCKOUT_MIXIN in backend for backend in backends]
    if not any(guarded):
        return
    for place, backend in enumerate(backends):
        if MODEL_BACKEND in backend and not guarded[place] and REMOTE_USER_BACKEND not in backend:
            order = "before" if place < guarded.index(True) else "beside"
            yield checklist.UNGUARDED_BACKEND.found(
                f"AUTHENTICATION_BACKENDS: {backend[0]!r} checks passwords {order} the guarded backend, uncounted."
            )


def unproxied() -> Iterator[CheckMessage]:
    """Settings that tell of a proxy, and limits of networks that would take all visitors for one."""
    signs = ("SECURE_PROXY_SSL_HEADER", "USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT")
    sign = next((name for name in signs if getattr(settings, name, None)), None)
    if sign and value_of("NETWORK_LOCKOUT") and not value_of("TRUSTED_PROXIES") and has_lockout():
        yield checklist.UNTRUSTED_PROXY.found(f"{sign} is set, {SETTINGS_NAME}['TRUSTED_PROXIES'] is not.")


def misplaced() -> Iterator[CheckMessage]:
    """Middleware that is missing, doubled or in the wrong place."""
    types = [types_of(path) for path in settings.MIDDLEWARE]
    place = {
        name: next((number for number, names in enumerate(types) if name in names), None)
        for name in (AUTHENTICATION_MIDDLEWARE, LOCKOUT_MIDDLEWARE, SESSION_MIDDLEWARE, TENANT_MIDDLEWARE)
    }
    user, lockout, tenant = place[AUTHENTICATION_MIDDLEWARE], place[LOCKOUT_MIDDLEWARE], place[TENANT_MIDDLEWARE]
    if lockout is None and has_lockout():
        yield checklist.NO_LOCKOUT_MIDDLEWARE.found(f"MIDDLEWARE lacks {LOCKOUT_MIDDLEWARE!r}.")
    if lockout is not None and user is not None and lockout < user:
        yield checklist.LOCKOUT_BEFORE_USER.found(
            f"MIDDLEWARE: {types[lockout][0]!r} is number {lockout + 1}, before it."
        )
    if tenant is not None and TENANT_FROM_USER in resolvers() and (user is None or tenant < user):
        where = "without" if user is None else "before"
        yield checklist.TENANT_BEFORE_USER.found(
            f"MIDDLEWARE: {types[tenant][0]!r} stands {where} AuthenticationMiddleware."
        )
    stock = [names[0] for names in types if DJANGO_SESSION_MIDDLEWARE in names and SESSION_MIDDLEWARE not in names]
    if stock and place[SESSION_MIDDLEWARE] is not None:
        yield checklist.TWO_SESSION_MIDDLEWARES.found(f"MIDDLEWARE: {stock[0]!r} beside {SESSION_MIDDLEWARE!r}.")
    elif stock and settings.SESSION_ENGINE == SESSION_ENGINE:
        yield checklist.STOCK_SESSION_MIDDLEWARE.found(
            f"MIDDLEWARE: {stock[0]!r} with SESSION_ENGINE {SESSION_ENGINE!r}."
        )
