"""The settings of django-ratelimit, which go on working. Its cache prefix and hash have no meaning here."""

from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django_ratelimit.exceptions import Ratelimited

from bergizi_redis.addresses import bare_ip
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError

ADDRESS = "RATELIMIT_IP_META_KEY"
_lazy: Any = settings  # its type does not tell of the object inside
_absent: dict[str, object] = {}  # by name, Django's settings in force that have none: finding that out again is slow


def given(name: str, default: Any) -> Any:
    """The project's setting as it stands, or ``default``."""
    wrapped = _lazy._wrapped
    if _absent.get(name) is wrapped and name not in vars(wrapped):
        return default
    found = getattr(settings, name, _absent)
    if found is _absent:
        _absent[name] = wrapped
        return default
    return found


def is_enabled() -> bool:
    return bool(given("RATELIMIT_ENABLE", True))


def alias() -> str:
    """``RATELIMIT_USE_CACHE`` where it is set, else ``SECURITY_ALIAS``. ``InvalidCacheBackendError`` for none."""
    if chosen := given("RATELIMIT_USE_CACHE", None):
        if chosen not in settings.CACHES:
            caches[chosen]  # raises what Django raises
        return str(chosen)
    return config.SECURITY_ALIAS


def on_error() -> str:
    return "open" if given("RATELIMIT_FAIL_OPEN", False) else config.RATELIMIT_ON_OUTAGE


def refusal() -> BaseException:
    """What a limit that blocks raises: ``RATELIMIT_EXCEPTION_CLASS``, a class or its path, or ``Ratelimited``."""
    kind: Any = given("RATELIMIT_EXCEPTION_CLASS", Ratelimited)
    made: BaseException = (import_string(kind) if isinstance(kind, str) else kind)()
    return made


def refusal_view() -> Any:
    """``RATELIMIT_VIEW``, or None."""
    path = given("RATELIMIT_VIEW", None)
    return import_string(path) if path else None


def widths() -> tuple[int, int]:
    """Bits of an IPv4 and an IPv6 address that count."""
    return given("RATELIMIT_IPV4_MASK", 32), given("RATELIMIT_IPV6_MASK", 64)


def names_address() -> bool:
    return bool(given(ADDRESS, None))


def named_ip(request: HttpRequest) -> str | None:
    """The address where the project says it stands: a name in ``request.META``, a function of the request, its path."""
    source: Any = given(ADDRESS, None)
    if isinstance(source, str) and "." in source:
        source = import_string(source)
    if callable(source):
        return bare_ip(str(source(request)))
    if source not in request.META:
        raise ConfigurationError(
            f"{ADDRESS} is {source!r}, which is not in request.META. Name what your proxy sets, such as "
            "'HTTP_X_REAL_IP', or remove it and set BERGIZI_REDIS['TRUSTED_PROXIES']."
        )
    return bare_ip(str(request.META[source]))
