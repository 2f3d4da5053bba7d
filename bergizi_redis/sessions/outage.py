"""The answer while sessions cannot be read or saved: 503 with Retry-After, and the cookie stays as it is.

An empty session instead would log everybody out for good, for the browser would lose its cookie.
"""

import base64
import hashlib
import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _

from bergizi_redis.conf import config
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.sessions.lifetime import Lifetime
from bergizi_redis.sessions.polling import is_below

logger = logging.getLogger("bergizi_redis.sessions")

RETRY_AFTER = 5  # seconds; a fail-over takes about as long
PAGE = "bergizi_redis/unavailable.html"
STYLE = "bergizi_redis/unavailable.css"


def unavailable(request: HttpRequest, error: RedisUnavailable) -> HttpResponse:
    """A page in the language of the browser; JSON for a client that wants no HTML."""
    logger.error("Answered 503: %s", error, extra={"action": "session_unavailable", "path": request.path})
    with translation.override(translation.get_language_from_request(request)):
        response = _page() if request.accepts("text/html") else _json()
    response["Retry-After"] = str(RETRY_AFTER)
    response["Cache-Control"] = "no-store"
    patch_vary_headers(response, ("Accept", "Accept-Language", "Cookie"))
    return response


def serves_anonymously(request: HttpRequest, error: RedisUnavailable) -> bool:
    """Whether the page is one of ``SESSION_ANONYMOUS_PATHS``; then it has no session, and its visitor's stays."""
    session = request.session
    if not isinstance(session, Lifetime) or not is_below(request.path_info, config.SESSION_ANONYMOUS_PATHS):
        return False
    logger.warning("Served without a session: %s", error, extra={"action": "session_anonymous", "path": request.path})
    session.let_go()
    session.unavailable, session.missing = None, error
    return True


def missing_in(request: HttpRequest) -> RedisUnavailable | None:
    """The outage for which this request has no session of its own; None once it was given a new one, by a log-in."""
    session = getattr(request, "session", None)
    return session.missing if isinstance(session, Lifetime) and session.session_key is None else None


def anonymous_answer(request: HttpRequest, response: Any, error: RedisUnavailable) -> Any:
    """The page as it is, for nobody else and not for later; 503 if it wanted to keep something in the session."""
    if request.session.modified:
        return unavailable(request, error)
    add_never_cache_headers(response)
    patch_vary_headers(response, ("Cookie",))
    return response


def _json() -> HttpResponse:
    return JsonResponse({"detail": _("The service is briefly unavailable."), "retry_after": RETRY_AFTER}, status=503)


def _page() -> HttpResponse:
    try:
        style = render_to_string(STYLE)
        # Our own file, and the policy below admits these bytes only.
        body = render_to_string(PAGE, {"style": mark_safe(style), "retry_after": RETRY_AFTER})  # noqa: S308
    except (TemplateDoesNotExist, ImproperlyConfigured):  # no Django templates, or the app is not installed
        return HttpResponse(_("The service is briefly unavailable."), status=503, content_type="text/plain")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    response = HttpResponse(body, status=503)
    response["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return response
