"""How a call over its limit is answered: ``RATELIMIT_VIEW`` where it is set, else 429 as a page or as JSON.

A call that cannot be counted, and whose limit fails closed, is answered with 503. No round trip.
"""

from typing import Any

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bergizi_redis.security.limiting import theirs
from bergizi_redis.security.limiting.fields import retry_after, with_fields
from bergizi_redis.security.limiting.limits import RateLimitUnavailable
from bergizi_redis.security.middleware import answer


def reply(request: HttpRequest, error: BaseException) -> HttpResponse:
    """Never less than the fields: a view of the project's keeps its status and body."""
    seconds = retry_after(request)
    view: Any = theirs.refusal_view()
    if view is not None:
        response: HttpResponse = (async_to_sync(view) if iscoroutinefunction(view) else view)(request, error)
        response.headers.setdefault("Retry-After", str(seconds))
    elif isinstance(error, RateLimitUnavailable):
        response = unavailable(request, seconds)
    else:
        response = too_many(request, seconds)
    return with_fields(request, response)


def too_many(request: HttpRequest, seconds: int) -> HttpResponse:
    """429."""
    title = _("Too many requests")
    reason = _("You have done this very often in a short time.")
    return answer(request, 429, "rate_limited", seconds, title, reason, _wait(seconds), link=_("Try again"))


def unavailable(request: HttpRequest, seconds: int) -> HttpResponse:
    """503."""
    title = _("This is not available right now")
    reason = _("Nothing was changed.")
    wait = _("Please try again in a moment.")
    return answer(request, 503, "rate_limit_unavailable", seconds, title, reason, wait, link=_("Try again"))


def _wait(seconds: int) -> str:
    if seconds < 60:
        return ngettext("Try again in %(n)d second.", "Try again in %(n)d seconds.", seconds) % {"n": seconds}
    minutes = -(-seconds // 60)
    return ngettext("Try again in %(n)d minute.", "Try again in %(n)d minutes.", minutes) % {"n": minutes}
