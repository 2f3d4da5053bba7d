"""Limits of whole paths (``RATELIMITS``), the ``RateLimit-*`` fields, and the answer to a call that a limit refused.

Limits of views work without it; then Django answers a refusal with 403, or ``handler403``, or django-ratelimit's own
middleware does. Place it behind ``AuthenticationMiddleware`` and ``TenantMiddleware`` where limits count users or
tenants, in front of them where they count addresses. One round trip for all limits of a path, none for other paths.
When Redis is down each limit does what its ``on_error`` says.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django_ratelimit.exceptions import Ratelimited

from bergizi_redis.conf import config
from bergizi_redis.security.limiting.deciding import adecide, blocking_of, decide, note, refusal_of, verdicts_of
from bergizi_redis.security.limiting.fields import with_fields
from bergizi_redis.security.limiting.limits import Limit, Verdict
from bergizi_redis.security.limiting.replies import reply


class RateLimitMiddleware:
    """Sync and async. ``request.rate_limits``: the verdicts of all limits that were asked; ``request.limited``."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self.__acall__(request)
        verdicts = decide(request, limits_of(request.path_info))
        note(request, verdicts)
        if (blocking := blocking_of(verdicts)) is not None:
            return reply(request, refusal_of(blocking))
        response: Any = self.get_response(request)
        if (swallowed := swallowed_by(request, response)) is not None:
            return reply(request, refusal_of(swallowed))
        return with_fields(request, response)

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        verdicts = await adecide(request, limits_of(request.path_info))
        note(request, verdicts)
        if (blocking := blocking_of(verdicts)) is not None:
            return await areply(request, refusal_of(blocking))
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        if (swallowed := swallowed_by(request, response)) is not None:
            return await areply(request, refusal_of(swallowed))
        return with_fields(request, response)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A refusal that a view let through, ours or django-ratelimit's."""
        return reply(request, exception) if isinstance(exception, Ratelimited) else None


# Pages are rendered in a thread: a context processor may ask the database.
areply: Callable[..., Awaitable[HttpResponse]] = sync_to_async(reply)


def swallowed_by(request: HttpRequest, response: HttpResponseBase) -> Verdict | None:
    """The refusal that somebody, such as a REST framework, has made a plain 403 of."""
    return blocking_of(verdicts_of(request)) if response.status_code == 403 else None


class SiteLimits:
    """``RATELIMITS`` as limits; made anew when the setting is another one."""

    def __init__(self) -> None:
        self._known: tuple[object, list[tuple[str, Limit]]] = (None, [])

    def __call__(self, path: str) -> list[Limit]:
        given, limits = config.RATELIMITS, self._known[1]
        if given is not self._known[0]:
            limits = [(entry["path"], limit_of(entry)) for entry in given]
            self._known = given, limits
        return [limit for start, limit in limits if is_below(path, start)]


def limit_of(entry: Mapping[str, Any]) -> Limit:
    """What an entry of ``RATELIMITS`` says. Raises ``ConfigurationError``."""
    options = {name: value for name, value in entry.items() if name != "path"}
    return Limit(**{"group": f"path {entry['path']}", **options})


def is_below(path: str, start: str) -> bool:
    """``/api`` and ``/api/`` hold for ``/api/…``; ``/api`` for itself, and neither for ``/apiary``."""
    return path == start or path.startswith(start if start.endswith("/") else f"{start}/")


limits_of = SiteLimits()
