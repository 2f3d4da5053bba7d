"""What settings of rate limits get wrong. Reads settings alone; see ``checks``."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.utils.module_loading import import_string

from bergizi_redis import checklist
from bergizi_redis.conf import SETTINGS_NAME
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.security.limiting.limits import expect_countable
from bergizi_redis.security.limiting.middleware import limit_of
from bergizi_redis.security.limiting.rates import rate_of
from bergizi_redis.security.limiting.sources import check
from bergizi_redis.wiring import AUTHENTICATION_MIDDLEWARE, TENANT_MIDDLEWARE, types_of, value_of

MIDDLEWARE = "bergizi_redis.security.limiting.middleware.RateLimitMiddleware"
NEEDED = {"user": AUTHENTICATION_MIDDLEWARE, "user_or_ip": AUTHENTICATION_MIDDLEWARE, "tenant": TENANT_MIDDLEWARE}


@register("bergizi_redis", Tags.security)
def check_limits(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """``RATELIMITS``, and the place of its middleware."""
    return [*_entries(), *_middleware()]


def _entries() -> Iterator[CheckMessage]:
    for number, entry in enumerate(value_of("RATELIMITS"), 1):
        if problem := _problem(entry):
            yield checklist.WRONG_LIMIT.found(f"{SETTINGS_NAME}['RATELIMITS'], entry {number}: {problem}")


def _problem(entry: Mapping[str, Any]) -> str:
    try:
        limit = limit_of(entry)
        check(limit.key)
        rate = limit.rate
        for path in (limit.key, rate):
            if isinstance(path, str) and "." in path and ":" not in path:
                import_string(path)
        if not callable(rate) and not (isinstance(rate, str) and "." in rate):
            expect_countable(limit.algorithm or value_of("RATELIMIT_ALGORITHM"), rate_of(rate))
    except (ConfigurationError, ImportError) as error:
        return str(error)
    return ""


def _middleware() -> Iterator[CheckMessage]:
    keys = {entry["key"] for entry in value_of("RATELIMITS") if isinstance(entry["key"], str)}
    types = [types_of(path) for path in settings.MIDDLEWARE]
    place = next((number for number, names in enumerate(types) if MIDDLEWARE in names), None)
    if place is None:
        if value_of("RATELIMITS"):
            yield checklist.UNUSED_LIMITS.found(f"MIDDLEWARE lacks {MIDDLEWARE!r}.")
        return
    late = {needed for names in types[place:] for needed in names}
    for needed in sorted({NEEDED[key] for key in keys & NEEDED.keys()} & late):
        yield checklist.EARLY_LIMITS.found(f"MIDDLEWARE: {types[place][0]!r} stands before {needed!r}.")
