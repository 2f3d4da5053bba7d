"""Two pages by which owners unlock their own account: one asks for the name and mails a link, the other is the link's.

``path("unlock/", include("bergizi_redis.security.urls"))`` puts them up; pages of refused log-ins then link to the
first. It answers alike for every name, and writes the mail once the answer is sent, so that not even the time it takes
tells whether there is such an account; a thread of its own sends it. The link's page shows a button: programs that look
into mail follow links, and send no forms. Round trips: 1 each, and 1 more to take the account off the list of locked
ones. Redis down: 503.
"""

import logging
import secrets
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from bergizi_redis.conf import config
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.security import links
from bergizi_redis.security.steps import run

logger = logging.getLogger("bergizi_redis.security")

TEMPLATE = "bergizi_redis/unlock.html"
LONGEST = 1024  # characters of a name that are looked at


@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for the name, and mail a link to whom it belongs, if that account is locked."""
    if request.method != "POST":
        return _page(request, "ask")
    try:
        made = run(links.make(request.POST.get("identifier", "")[:LONGEST]))
    except RedisUnavailable:
        return _page(request, "unavailable", 503)
    response = _page(request, "sent")
    if made is not None:
        response.afterwards = partial(_send_link, request, *made, get_language())
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def use(request: HttpRequest, token: str) -> HttpResponse:
    """Show a button, and unlock when it is pressed."""
    if request.method != "POST":
        return _page(request, "confirm") if links.is_whole(token) else _page(request, "spent", 410)
    try:
        opened = run(links.redeem(token))
    except RedisUnavailable:
        return _page(request, "unavailable", 503)
    return _page(request, "done") if opened else _page(request, "spent", 410)


def asking_url() -> str:
    """Where a link can be asked for; "" where a project has not put that page up."""
    try:
        return reverse("bergizi_redis_unlock")
    except NoReverseMatch:
        return ""


class Answer(HttpResponse):
    """``afterwards`` is called once, when the server has sent it."""

    afterwards: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        act, self.afterwards = self.afterwards, None
        if act is not None:
            act()


@sensitive_variables()
def _send_link(request: HttpRequest, user: Any, token: str, language: str | None) -> None:
    try:
        with override(language):
            url = request.build_absolute_uri(reverse("bergizi_redis_unlock_link", args=[token]))
            in_background(_mail(user, url))
    except Exception:  # whoever asked has their answer, and the server is told nothing
        logger.exception("The link to unlock an account was not mailed", extra={"action": "unlock.mail"})


@sensitive_variables()
def _mail(user: Any, url: str) -> Callable[[], None]:
    """The mail, written in the language of the request, to be sent by whoever calls this."""
    address = getattr(user, type(user).get_email_field_name(), "")
    about = {"url": url, "minutes": max(1, round(config.UNLOCK_LINK_SECONDS / 60)), "user": user}
    text = render_to_string("bergizi_redis/unlock_email.txt", about)
    subject = _("Unlock your account")

    def send() -> None:
        if address:
            send_mail(subject, text, None, [address])

    return send


def in_background(send: Callable[[], None]) -> threading.Thread:
    """A thread at it; it is waited for when the process ends in order."""

    def run_it() -> None:
        try:
            send()
        except Exception:
            logger.exception("The link to unlock an account was not mailed", extra={"action": "unlock.mail"})

    thread = threading.Thread(target=run_it, name="bergizi_redis unlock mail")
    start(thread)
    return thread


start = threading.Thread.start


def _page(request: HttpRequest, step: str, status: int = 200) -> Answer:
    nonce = secrets.token_urlsafe(16)
    about = {"step": step, "nonce": nonce, "back": str(settings.LOGIN_URL), "ask": asking_url()}
    try:
        about["back"] = reverse(str(settings.LOGIN_URL))
    except NoReverseMatch:  # it is an address already
        pass
    response = Answer(render_to_string(TEMPLATE, about, request), status=status)
    policy = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    response.headers["Content-Security-Policy"] = f"{policy}; style-src 'nonce-{nonce}'"
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"  # the address holds the token
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response
