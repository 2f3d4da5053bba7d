"""Django's ``SessionMiddleware``, native in async, with an answer of its own to an outage.

A request with a session cookie costs one round trip, made here at once rather than at first access: an outage is then
answered before anything else runs, and ``request.session`` and ``request.user`` of an async view never block the loop.
A request without the cookie asks nothing. When Redis is down: 503 within ``REQUEST_BUDGET``, the cookie is kept.
Other session engines work as under Django's own middleware.
"""

import logging
import time
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import http_date

from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.changes import aact, act, noticed
from bergizi_redis.sessions.login import note_login
from bergizi_redis.sessions.outage import anonymous_answer, missing_in, serves_anonymously, unavailable
from bergizi_redis.sessions.polling import opts_out
from bergizi_redis.sessions.quotas import SessionLimitReached
from bergizi_redis.sessions.refusals import is_untold, refused, tell_why
from bergizi_redis.tenancy import find_tenant

logger = logging.getLogger("bergizi_redis.sessions")

INTERRUPTED = (
    "The request's session was deleted before the request completed. "
    "The user may have logged out in a concurrent request, for example."
)


class SessionMiddleware(DjangoSessionMiddleware):
    """A drop-in for Django's, in its place in ``MIDDLEWARE``."""

    def __call__(self, request: HttpRequest) -> Any:
        if self.async_mode:
            return self.__acall__(request)
        self.process_request(request)
        try:
            if isinstance(request.session, SessionStore):
                request.session.touches = not opts_out(request)
                request.session.prefetch()
                if (tenant := find_tenant()) is not None:  # where TenantMiddleware stands before this one
                    request.session.heed_tenant(request, tenant)
                tell_why(request)
                if change := noticed(request):
                    act(request, change)
        except RedisUnavailable as error:
            if not serves_anonymously(request, error):
                return unavailable(request, error)
        return self.process_response(request, self.get_response(request))

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        self.process_request(request)
        try:
            if isinstance(request.session, SessionStore):
                request.session.touches = not opts_out(request)
                await request.session.aprefetch()
                if (tenant := find_tenant()) is not None:
                    await request.session.aheed_tenant(request, tenant)
                tell_why(request)
                if change := noticed(request):
                    await aact(request, change)
        except RedisUnavailable as error:
            if not serves_anonymously(request, error):
                return unavailable(request, error)
        response: Any = await self.get_response(request)  # type: ignore[misc]
        answer: HttpResponseBase = await self.aprocess_response(request, response)
        return answer

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """An outage that a view ran into, such as in ``login()``, is a 503 as well, and a refused log-in a 403."""
        if isinstance(exception, SessionLimitReached):
            return refused(request, exception)
        return unavailable(request, exception) if isinstance(exception, RedisUnavailable) else None

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if error := outage_of(request):
            return response if response.status_code == 503 else unavailable(request, error)
        if error := missing_in(request):
            return anonymous_answer(request, response, error)
        if not must_save(request, response):
            kept = without_save(request, response)
            return with_cookie(request, kept, cookie_age(request)) if touched(request) else kept
        if logs_in(request):
            note_client(request)
        try:
            age = cookie_age(request)
            request.session.save()
        except UpdateError as error:
            raise SessionInterrupted(INTERRUPTED) from error
        except SessionLimitReached as refusal:  # a log-in without the signal
            request.session.flush()
            return without_save(request, refused(request, refusal))
        except RedisUnavailable as error:
            return unavailable(request, error)
        return with_cookie(request, response, age)

    async def aprocess_response(self, request: HttpRequest, response: Any) -> Any:
        """As ``process_response``, without a thread."""
        if error := outage_of(request):
            return response if response.status_code == 503 else unavailable(request, error)
        if error := missing_in(request):
            return anonymous_answer(request, response, error)
        if not must_save(request, response):
            kept = without_save(request, response)
            return with_cookie(request, kept, cookie_age(request)) if await atouched(request) else kept
        if logs_in(request):
            # The user's tenant may be a row of the database: a thread, once a log-in.
            await sync_to_async(note_client)(request)
        try:
            await request.session._aget_session()  # type: ignore[attr-defined]
            age = cookie_age(request)
            await request.session.asave()
        except UpdateError as error:
            raise SessionInterrupted(INTERRUPTED) from error
        except SessionLimitReached as refusal:
            await request.session.aflush()
            return without_save(request, refused(request, refusal))
        except RedisUnavailable as error:
            return unavailable(request, error)
        return with_cookie(request, response, age)


def outage_of(request: HttpRequest) -> RedisUnavailable | None:
    """The outage that this request's session met, though the view swallowed it: asking again would wait again."""
    return getattr(getattr(request, "session", None), "unavailable", None)


def must_save(request: HttpRequest, response: Any) -> bool:
    """As Django decides: modified (or ``SESSION_SAVE_EVERY_REQUEST``), not empty, and no server error."""
    session = getattr(request, "session", None)
    if session is None or session.is_empty() or response.status_code >= 500:
        return False
    every = settings.SESSION_SAVE_EVERY_REQUEST and getattr(session, "touches", True)
    return bool(session.modified or every)


def logs_in(request: HttpRequest) -> bool:
    """Whether this save writes a log-in that no receiver of ``user_logged_in`` has noted."""
    return isinstance(request.session, SessionStore) and request.session.logs_in()


def note_client(request: HttpRequest) -> None:
    note_login(None, request, getattr(request, "user", None))


def without_save(request: HttpRequest, response: Any) -> Any:
    """The response as it is, but for the cookie of a session that is gone."""
    session = getattr(request, "session", None)
    if session is None:
        return response
    # A session loaded ahead and never used says nothing about this response; nor may it take away the cookie
    # that a parallel log-in has just set.
    untouched = isinstance(session, SessionStore) and not session.accessed and not session.modified
    gone = settings.SESSION_COOKIE_NAME in request.COOKIES and session.is_empty() and not untouched
    if gone and not is_untold(request) and not getattr(session, "keeps_cookie", False):
        response.delete_cookie(
            settings.SESSION_COOKIE_NAME,
            path=settings.SESSION_COOKIE_PATH,
            domain=settings.SESSION_COOKIE_DOMAIN,
            samesite=settings.SESSION_COOKIE_SAMESITE,
        )
    if gone or session.accessed:
        patch_vary_headers(response, ("Cookie",))
    return response


def touched(request: HttpRequest) -> bool:
    """Whether this use of the session has moved its idle deadline, so that the cookie must move along.

    An outage now harms nothing: the page is served, and the next request touches.
    """
    session = getattr(request, "session", None)
    try:
        return isinstance(session, SessionStore) and session.accessed and session.touch()
    except RedisUnavailable as error:
        return _untouched(error)


async def atouched(request: HttpRequest) -> bool:
    """As ``touched``."""
    session = getattr(request, "session", None)
    try:
        return isinstance(session, SessionStore) and session.accessed and await session.atouch()
    except RedisUnavailable as error:
        return _untouched(error)


def _untouched(error: RedisUnavailable) -> bool:
    logger.warning("Could not prolong a session: %s", error, extra={"action": "session_untouched"})
    return False


def cookie_age(request: HttpRequest) -> float | None:
    """Seconds; None for a cookie that ends with the browser."""
    session = request.session
    return None if session.get_expire_at_browser_close() else session.get_expiry_age()


def with_cookie(request: HttpRequest, response: Any, age: float | None) -> Any:
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        request.session.session_key,
        max_age=age,
        expires=None if age is None else http_date(time.time() + age),
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE or None,
        httponly=settings.SESSION_COOKIE_HTTPONLY or None,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )
    patch_vary_headers(response, ("Cookie",))
    return response
