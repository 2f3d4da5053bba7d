"""What people are told of ``SESSION_LIMIT``: the log-in that was refused, and the browser whose session was ended.

``request.session_ended`` is None, or why this browser's session has ended: ``{{ request.session_ended }}``
on the log-in page is a sentence in the language in force. The cookie is kept until that sentence was shown, 15 minutes
at most. No round trip: the load that found no session brought it along.
"""

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.translation import gettext as _

from bergizi_redis.sessions.placing import Placing
from bergizi_redis.sessions.quotas import CLIENT_CHANGED, REVOKED, SessionLimitReached

PAGE = "bergizi_redis/session_limit.html"


class SessionLimitMixin:
    """For a ``LoginView``: shows the refusal in the form, ``class Ours(SessionLimitMixin, LoginView)``."""

    def form_valid(self, form: Any) -> Any:
        """As the view does; a refusal is an error of the form."""
        try:
            return super().form_valid(form)  # type: ignore[misc]
        except SessionLimitReached as error:
            form.add_error(None, str(error))
            return self.form_invalid(form)  # type: ignore[attr-defined]


class SessionEnded:
    """``reason`` is ``evicted``, ``revoked`` or ``client_changed``.

    ``str()`` of it is for people; asking for that counts as showing it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.is_shown = False

    def __str__(self) -> str:
        self.is_shown = True
        if self.reason == REVOKED:
            return _("You were signed out here, from another device or by an administrator.")
        if self.reason == CLIENT_CHANGED:
            return _("Please sign in again: your session was used from another browser.")
        return _("You were signed out here because you signed in on another device.")


def tell_why(request: HttpRequest) -> None:
    """Set ``request.session_ended`` once the session was loaded."""
    session = request.session
    why = session.why_ended if isinstance(session, Placing) else None
    request.session_ended = None if why is None else SessionEnded(why)  # type: ignore[attr-defined]


def is_untold(request: HttpRequest) -> bool:
    """Whether there is a reason that this browser has not been shown yet."""
    ended = getattr(request, "session_ended", None)
    return ended is not None and not ended.is_shown


def refused(request: HttpRequest, error: SessionLimitReached) -> HttpResponse:
    """403, for a log-in view that does not catch the refusal itself: a page, or JSON for those who ask for it."""
    detail = str(error)
    response: HttpResponse
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        response = JsonResponse({"detail": detail, "code": "session_limit", "limit": error.most}, status=403)
    else:
        try:
            body = render_to_string(PAGE, {"detail": detail, "back": request.get_full_path()})
            response = HttpResponse(body, status=403)
        except (TemplateDoesNotExist, ImproperlyConfigured):  # no Django templates, or the app is not installed
            response = HttpResponse(detail, status=403, content_type="text/plain")
    add_never_cache_headers(response)
    patch_vary_headers(response, ("Accept", "Accept-Language", "Cookie"))
    return response
