"""Which answers may be kept, and how: as text and lists, so that any serializer of the alias will do."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from bergizi_redis.cache.vary import Vary

NEVER = {"private", "no-store", "no-cache"}


def is_keepable(request: HttpRequest, response: HttpResponse, vary: Vary) -> bool:
    if response.status_code != 200 or response.streaming or response.cookies:
        return False
    directives = {part.split("=")[0].strip().lower() for part in _parts(response, "Cache-Control")}
    if directives & NEVER:
        return False
    covered = {"accept-encoding", *(name.lower() for name in vary.headers)} - {"cookie"}
    if not {name.lower() for name in _parts(response, "Vary")} <= covered:
        return False
    return not (is_token_used(request) or are_messages_shown(request))


def _parts(response: HttpResponse, header: str) -> list[str]:
    return [part.strip() for part in response.headers.get(header, "").split(",") if part.strip()]


def is_token_used(request: HttpRequest) -> bool:
    """Whether a CSRF token was made for this answer: it belongs to one browser."""
    return bool(request.META.get("CSRF_COOKIE_NEEDS_UPDATE"))


def are_messages_shown(request: HttpRequest) -> bool:
    """Whether Django's messages were read: they are told once."""
    messages = getattr(request, "_messages", None)
    return messages is not None and bool(messages.used) and len(messages) > 0


def kept(response: HttpResponse) -> list[Any]:
    """Latin-1 is text that stands for any bytes."""
    return [list(map(list, response.headers.items())), response.content.decode("latin-1")]


def restored(value: list[Any]) -> HttpResponse:
    headers, content = value
    response = HttpResponse(content.encode("latin-1"))
    del response.headers["Content-Type"]
    for name, text in headers:
        response.headers[name] = text
    return response
