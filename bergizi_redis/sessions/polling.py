"""Requests that are not the person's: a page that polls must not keep a session alive that nobody uses.

Three ways to say so: ``@no_session_touch`` on a view, ``SESSION_NO_TOUCH_PATHS``, or the header ``X-Session-Touch: no``
of the script that polls – which can only shorten its own session's life. No round trip; one less, once a minute.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from bergizi_redis.conf import config
from bergizi_redis.sessions.lifetime import Lifetime

P = ParamSpec("P")
R = TypeVar("R")
HEADER = "X-Session-Touch"
IN_META = "HTTP_X_SESSION_TOUCH"  # request.headers is made of all of them, for each request anew


def no_session_touch(view: Callable[P, R]) -> Callable[P, R]:
    """A view, sync or async, a function or ``as_view()``, whose requests do not count as activity.

    What it changes in the session is saved, and that does count. Under Django's own middleware it works as long as
    nothing before the view has used the session.
    """
    if iscoroutinefunction(view):

        @wraps(view)
        async def aquiet(*args: P.args, **kwargs: P.kwargs) -> Any:
            keep_quiet(args[0])
            return await cast("Awaitable[Any]", view(*args, **kwargs))

        return cast("Callable[P, R]", aquiet)

    @wraps(view)
    def quiet(*args: P.args, **kwargs: P.kwargs) -> R:
        keep_quiet(args[0])
        return view(*args, **kwargs)

    return quiet


def keep_quiet(request: Any) -> None:
    if isinstance(session := getattr(request, "session", None), Lifetime):
        session.touches = False


def opts_out(request: HttpRequest) -> bool:
    """Whether path or header say so; the view is not known yet."""
    return request.META.get(IN_META, "").lower() == "no" or is_below(request.path_info, config.SESSION_NO_TOUCH_PATHS)


def is_below(path: str, tops: Iterable[str]) -> bool:
    """``/poll`` and ``/poll/`` hold ``/poll``, ``/poll/`` and ``/poll/menus``, not ``/polls``."""
    return any(path.rstrip("/") == top.rstrip("/") or path.startswith(top.rstrip("/") + "/") for top in tops)
