"""Answers a refused log-in with 429 and ``Retry-After``: a page, or JSON for those who ask for it.

``authenticate()`` swallows the refusal and the log-in form would answer 200 with "wrong password". Promise: a request
in which a log-in was refused, and none succeeded afterwards, answers 429, alike for accounts that exist and that do
not; a view that answers 429 itself keeps its answer. Attempts that cannot be counted answer 503. Place it after
``AuthenticationMiddleware``. Costs no round trip; works while Redis is down.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template import TemplateDoesNotExist
from django.template.loader import render_to_string
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bergizi_redis.conf import config
from bergizi_redis.security.devices import give
from bergizi_redis.security.guard import Refusals, refusals
from bergizi_redis.security.status import AccountLocked, LockoutUnavailable
from bergizi_redis.security.unlocking import asking_url

TEMPLATE = "bergizi_redis/locked.html"


class LockoutMiddleware:
    """Sync and async. Sets ``request.login_refusal``: the ``AccountLocked`` of this request, or None."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)
        # Django runs a sync one in a thread, for each page that is served on a loop.
        self.process_template_response: Callable[..., Any] = self._ainstead if self.is_async else self._instead

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self.__acall__(request)
        box = self._begin(request)
        token = refusals.set(box)
        try:
            response: Any = self.get_response(request)
        finally:
            refusals.reset(token)
        return self._answer(request, response, box)

    async def __acall__(self, request: HttpRequest) -> Any:
        box = self._begin(request)
        token = refusals.set(box)
        try:
            response: Any = await self.get_response(request)  # type: ignore[misc]
        finally:
            refusals.reset(token)
        return self._answer(request, response, box)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A refusal that a view let through."""
        if isinstance(exception, AccountLocked):
            return refused(request, exception.retry_after)
        if isinstance(exception, LockoutUnavailable):
            return unavailable(request, exception.retry_after)
        return None

    def _instead(self, request: HttpRequest, response: Any) -> Any:
        """A form that nobody will see is not rendered. REST framework's responses know their type only afterwards."""
        box = refusals.get()
        if box is None or type(response) not in (TemplateResponse, SimpleTemplateResponse):
            return response
        if (answered := _answered(request, response, box)) is response:
            return response
        instead = TemplateResponse(request, TEMPLATE, {}, status=answered.status_code)
        instead.headers, instead.content = answered.headers, answered.content  # with content it counts as rendered
        return instead

    async def _ainstead(self, request: HttpRequest, response: Any) -> Any:
        return self._instead(request, response)

    def _begin(self, request: HttpRequest) -> Refusals:
        request.login_refusal = None  # type: ignore[attr-defined]
        return Refusals(request)

    def _answer(self, request: HttpRequest, response: Any, box: Refusals) -> Any:
        if box.trusted is not None:
            give(request, response, box.trusted)
        return _answered(request, response, box)


def _answered(request: HttpRequest, response: Any, box: Refusals) -> Any:
    """The response, or what has to be said instead."""
    if (refusal := box.last) is None or (config.LOCKED_LOOKS_WRONG and not config.REVEAL_LOCK):
        return response
    if response.status_code == 429:
        response.headers.setdefault("Retry-After", str(refusal.retry_after))
        return response
    wants_json = response.headers.get("Content-Type", "").startswith("application/json")
    return refused(request, refusal.retry_after, wants_json=wants_json)


def refused(request: HttpRequest, retry_after: int, *, wants_json: bool = False) -> HttpResponse:
    """429. What it says is the same for every identifier, unless ``REVEAL_LOCK``, and then too for made-up ones."""
    minutes = -(-retry_after // 60)
    wait = ngettext("Try again in %(n)d minute.", "Try again in %(n)d minutes.", minutes) % {"n": minutes}
    if config.REVEAL_LOCK:
        title = _("This account is locked")
        reason = _("The password was wrong too many times, so no further password is checked for a while.")
    else:
        title = _("Too many sign-in attempts")
        reason = _("For your protection, sign-in is paused for a while.")
    return answer(request, 429, "login_refused", retry_after, title, reason, wait, wants_json)


def unavailable(request: HttpRequest, retry_after: int) -> HttpResponse:
    """503."""
    title = _("Sign-in is not available right now")
    reason = _("Your password was not checked.")
    wait = _("Please try again in a moment.")
    return answer(request, 503, "login_unavailable", retry_after, title, reason, wait, False)


def answer(
    request: HttpRequest,
    status: int,
    code: str,
    retry_after: int,
    title: str,
    reason: str,
    wait: str,
    wants_json: bool = False,
    link: str = "",
) -> HttpResponse:
    """The page, or JSON. ``link``: what the link back to the same address says; "" for that to the sign-in."""
    response: HttpResponse
    policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    if wants_json or asks_for_json(request):
        detail = f"{title}. {wait}"
        response = JsonResponse({"detail": detail, "code": code, "retry_after": retry_after}, status=status)
    else:
        nonce = secrets.token_urlsafe(16)
        response = HttpResponse(
            _page(request, title=title, reason=reason, wait=wait, nonce=nonce, link=link), status=status
        )
        policy += f"; style-src 'nonce-{nonce}'"
    response.headers["Retry-After"] = str(retry_after)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Security-Policy"] = policy
    response.headers["Vary"] = "Accept"
    return response


def asks_for_json(request: HttpRequest) -> bool:
    """Whether the client sent JSON, or prefers it to a page. ``*/*`` prefers neither and gets the page."""
    is_json = request.content_type == "application/json"
    return is_json or request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _page(request: HttpRequest, **context: str) -> str:
    try:
        unlock = "" if context["link"] else asking_url()
        return render_to_string(TEMPLATE, {**context, "back": request.get_full_path(), "unlock": unlock}, request)
    except TemplateDoesNotExist:  # a project whose template engines do not look into apps
        return "{title}. {reason} {wait}".format(**context)
