"""Who voids a tag, for the log of bumps: a place in the project's code, a route or a command; no person and no value.

Told from the caller on the stack, unless ``with acting("nightly import"):`` says it better. Costs about a microsecond a
frame, once a bump, and no round trip.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

_acting: ContextVar[str] = ContextVar("bergizi_redis_acting", default="")

LONGEST = 120  # characters
FURTHEST = 80  # frames
# What stands between a project's code and the bump, or around the project: it tells nobody anything.
PASSED = {
    "__main__", "_pytest", "asgiref", "asyncio", "bergizi_redis", "billiard", "celery", "concurrent", "contextlib",
    "daphne", "django", "django_redis", "functools", "gunicorn", "hypercorn", "multiprocessing", "pluggy", "redis",
    "runpy", "selectors", "socketserver", "starlette", "threading", "uvicorn", "waitress", "whitenoise", "wsgiref",
}  # fmt: skip
COMMANDS = ("manage.py", "django-admin", "__main__.py")


@contextmanager
def acting(name: str) -> Iterator[None]:
    """What is voided inside is told to be the work of ``name``; give no names of persons, they are kept for weeks."""
    token = _acting.set(str(name)[:LONGEST])
    try:
        yield
    finally:
        _acting.reset(token)


def actor() -> str:
    """Who acts: what ``acting`` says, else the nearest function of the project, the route or the command."""
    return (_acting.get() or _on_the_stack() or _program())[:LONGEST]


def _on_the_stack() -> str:
    frame: FrameType | None = sys._getframe(1)
    for _ in range(FURTHEST):
        if frame is None:
            return ""
        module = str(frame.f_globals.get("__name__", ""))
        if module == "django.core.handlers.base" and (route := _route(frame)):
            return route  # with ATOMIC_REQUESTS the view has returned by then
        if module.partition(".")[0] not in PASSED:
            return f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return ""


def _route(frame: FrameType) -> str:
    """The pattern of the URL, without what a visitor put into it."""
    request = frame.f_locals.get("request")
    match = getattr(request, "resolver_match", None)
    return f"{request.method} /{match.route}" if request is not None and match is not None else ""


def _program() -> str:
    program, *words = sys.argv or [""]
    name = Path(program).name
    return f"command {words[0]}" if name in COMMANDS and words else name or "python"
