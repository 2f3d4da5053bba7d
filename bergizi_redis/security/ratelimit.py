"""Rate limits for views: django-ratelimit's calls, with its own exception and constants, in one round trip.

Change the import and a project on django-ratelimit goes on; both may stand in one project. Sync and async views, and
methods of class-based views by ``method_decorator``. Limits stacked on one view are charged in one round trip (on a
cluster one for each slot): where one refuses, none is charged.

| algorithm | a window of the limit's length sees | memory for each client |
| --- | --- | --- |
| ``exact`` | never more than the limit | some 10 bytes for each unit in use, at most the limit |
| ``gcra`` | at most twice the limit; in the long run the rate | 16 bytes |
| ``fixed`` | at most twice the limit, around the edge of two windows; as django-ratelimit | a number |

Keys are keyed digests: Redis holds no address and no name. When Redis is down a limit does what ``on_error`` says:
``degrade`` to counting in this process, refuse (``closed``), or let pass (``open``).
"""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, TypedDict, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django_ratelimit import ALL as ALL
from django_ratelimit import UNSAFE as UNSAFE
from django_ratelimit.exceptions import Ratelimited as Ratelimited

from bergizi_redis.security.limiting.deciding import adecide, decide, enforce, verdicts_of
from bergizi_redis.security.limiting.fields import with_fields
from bergizi_redis.security.limiting.limits import Limit, Verdict
from bergizi_redis.security.limiting.limits import RateLimitUnavailable as RateLimitUnavailable

View = TypeVar("View", bound=Callable[..., Any])
Cost = int | Callable[[str, HttpRequest], int]
STACK = "_bergizi_redis_limits"


class Usage(TypedDict):
    """How a limit stands for a request; units, and seconds. ``time_left``: until nothing is in use any more.

    django-ratelimit's four keys, then ours. Where the call could not be counted and is refused: 0, 0, True, -1.
    """

    count: int
    limit: int
    should_limit: bool
    time_left: int
    remaining: int
    retry_after: int


def ratelimit(
    group: str | None = None,
    key: Any = None,
    rate: Any = None,
    method: Any = ALL,
    block: bool = True,
    *,
    algorithm: str | None = None,
    cost: Cost = 1,
    shadow: bool = False,
    on_error: str | None = None,
    allow: Sequence[str] = (),
    deny: Sequence[str] = (),
) -> Callable[[View], View]:
    """Limit a view. Raises ``Ratelimited`` when it refuses; with ``block=False`` only sets ``request.limited``.

    ``key``: ``"ip"``, ``"user"``, ``"user_or_ip"``, ``"tenant"``, ``"get:x"``, ``"post:x"``, ``"header:x"``, a function
    of (group, request) or its dotted path. ``rate``: ``"5/m"``, ``"100/10s"``, (5, 60), None, 0, or such a function.
    ``cost``: units that a call takes. ``shadow``: count and log, never refuse. ``allow`` and ``deny``: CIDRs that are
    not counted, or refused at once. Raises ``ConfigurationError``; ``RateLimitUnavailable`` when Redis is down and
    ``on_error`` is ``closed``.
    """
    limit = Limit(group, key, rate, method, block, algorithm, cost, shadow, on_error, allow, deny)
    return lambda view: _limited(view, (limit,))


ratelimit.ALL = ALL  # type: ignore[attr-defined]
ratelimit.UNSAFE = UNSAFE  # type: ignore[attr-defined]


def _limited(view: Any, limits: tuple[Limit, ...]) -> Any:
    wrapper, inner_view, inner_limits = getattr(view, STACK, (None, None, ()))
    if wrapper is view:  # not merely copied from it by another decorator in between, which must go on being called
        view, limits = inner_view, limits + inner_limits
    made = _awaiting(view, limits) if is_async(view) else _blocking(view, limits)
    setattr(made, STACK, (made, view, limits))
    return made


def _blocking(view: Any, limits: tuple[Limit, ...]) -> Any:
    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        enforce(request, decide(request, limits, view))
        return _told(request, view(request, *args, **kwargs))

    return limited


def _awaiting(view: Any, limits: tuple[Limit, ...]) -> Any:
    @wraps(view)
    async def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        enforce(request, await adecide(request, limits, view))
        return _told(request, await view(request, *args, **kwargs))

    return limited


def _told(request: HttpRequest, response: Any) -> Any:
    return with_fields(request, response) if isinstance(response, HttpResponseBase) else response


def is_async(view: Any) -> bool:
    """Whether calling the view gives an awaitable; ``dispatch`` of an asynchronous ``View`` is a plain function."""
    bound = view.func if isinstance(view, partial) else view
    return iscoroutinefunction(view) or getattr(getattr(bound, "__self__", None), "view_is_async", False) is True


def get_usage(
    request: HttpRequest,
    group: str | None = None,
    fn: Any = None,
    key: Any = None,
    rate: Any = None,
    method: Any = ALL,
    increment: bool = False,
    **options: Any,
) -> Usage | None:
    """How a limit stands, after counting the request with ``increment``; None where it does not concern the request.

    Without ``increment``, ``should_limit`` says whether a call now would be refused; with ``fixed``, as in
    django-ratelimit, whether one has been. ``options``: those of ``ratelimit`` that are ours.
    """
    limit = Limit(group, key, rate, method, **{"block": False, **options})
    return _usage(request, decide(request, (limit,), fn, count=increment))


async def aget_usage(
    request: HttpRequest,
    group: str | None = None,
    fn: Any = None,
    key: Any = None,
    rate: Any = None,
    method: Any = ALL,
    increment: bool = False,
    **options: Any,
) -> Usage | None:
    limit = Limit(group, key, rate, method, **{"block": False, **options})
    return _usage(request, await adecide(request, (limit,), fn, count=increment))


def _usage(request: HttpRequest, verdicts: list[Verdict]) -> Usage | None:
    verdicts_of(request).extend(verdicts)
    for verdict in verdicts:
        if verdict.cause is not None and verdict.limits:
            return Usage(
                count=0, limit=0, should_limit=True, time_left=-1, remaining=0,
                retry_after=RateLimitUnavailable.retry_after,
            )  # fmt: skip
        return Usage(
            count=verdict.count,
            limit=verdict.quota.rate.limit,
            should_limit=verdict.limits,
            time_left=verdict.reset,
            remaining=verdict.remaining,
            retry_after=verdict.retry_after,
        )
    return None


def is_ratelimited(
    request: HttpRequest,
    group: str | None = None,
    fn: Any = None,
    key: Any = None,
    rate: Any = None,
    method: Any = ALL,
    increment: bool = False,
    **options: Any,
) -> bool:
    """``should_limit`` of ``get_usage``; False where the limit does not concern the request."""
    usage = get_usage(request, group, fn, key, rate, method, increment, **options)
    return usage is not None and usage["should_limit"]


async def ais_ratelimited(
    request: HttpRequest,
    group: str | None = None,
    fn: Any = None,
    key: Any = None,
    rate: Any = None,
    method: Any = ALL,
    increment: bool = False,
    **options: Any,
) -> bool:
    usage = await aget_usage(request, group, fn, key, rate, method, increment, **options)
    return usage is not None and usage["should_limit"]


_function: Any
for _function in (get_usage, is_ratelimited, aget_usage, ais_ratelimited):
    _function.ALL, _function.UNSAFE = ALL, UNSAFE
