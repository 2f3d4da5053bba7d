"""From the limits of a view to what becomes of a request: resolve, charge, note, refuse. Sync and async."""

import logging
from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject, empty
from django_ratelimit.exceptions import Ratelimited

from bergizi_redis.security.limiting import theirs
from bergizi_redis.security.limiting.charging import acharge, charge
from bergizi_redis.security.limiting.limits import Limit, Quota, RateLimitUnavailable, Verdict, quota_of

logger = logging.getLogger("bergizi_redis.security")

Resolved = list[Quota | Verdict]


def decide(request: HttpRequest, limits: Sequence[Limit], view: Any = None, *, count: bool = True) -> list[Verdict]:
    """A verdict for each limit that concerns the request: one round trip for all of them, none where none does."""
    resolved = _resolve(request, limits, view)
    if (at_once := _refused_at_once(resolved)) is not None:
        return at_once
    return _in_order(resolved, charge(_quotas(resolved), count=count))


async def adecide(
    request: HttpRequest, limits: Sequence[Limit], view: Any = None, *, count: bool = True
) -> list[Verdict]:
    """The same; a project's functions are called in a thread, for they may ask the database."""
    if any(limit.asks_user for limit in limits):
        await _load_user(request)
    resolve = sync_to_async(_resolve) if any(limit.asks_functions for limit in limits) else None
    resolved = await resolve(request, limits, view) if resolve else _resolve(request, limits, view)
    if (at_once := _refused_at_once(resolved)) is not None:
        return at_once
    return _in_order(resolved, await acharge(_quotas(resolved), count=count))


def _resolve(request: HttpRequest, limits: Sequence[Limit], view: Any) -> Resolved:
    return [found for limit in limits if (found := quota_of(limit, request, view)) is not None]


async def _load_user(request: HttpRequest) -> None:
    """Natively, where Django has put a user that is not loaded yet; another middleware's user stays."""
    user: Any = getattr(request, "user", None)
    auser: Any = getattr(request, "auser", None)
    if auser is not None and isinstance(user, SimpleLazyObject) and user._wrapped is empty:
        request.user = await auser()


def _refused_at_once(resolved: Resolved) -> list[Verdict] | None:
    """The verdicts where no question to Redis is left open by a refusal: then none is charged."""
    verdicts = [found for found in resolved if isinstance(found, Verdict)]
    return verdicts if any(verdict.refused and verdict.quota.blocks for verdict in verdicts) else None


def _quotas(resolved: Resolved) -> list[Quota]:
    return [found for found in resolved if isinstance(found, Quota)]


def _in_order(resolved: Resolved, charged: list[Verdict]) -> list[Verdict]:
    """On a cluster a refusal may have left later ones unasked."""
    found = {id(verdict.quota): verdict for verdict in charged}
    verdicts = (item if isinstance(item, Verdict) else found.get(id(item)) for item in resolved)
    return [verdict for verdict in verdicts if verdict is not None]


def verdicts_of(request: HttpRequest) -> list[Verdict]:
    """What was decided for the request so far; ``request.rate_limits`` of Django's request, which others may wrap."""
    bare: Any = getattr(request, "_request", request)  # Django REST framework's name for it
    try:
        return bare.rate_limits  # type: ignore[no-any-return]
    except AttributeError:
        bare.rate_limits = []
        return bare.rate_limits  # type: ignore[no-any-return]


def enforce(request: HttpRequest, verdicts: Sequence[Verdict]) -> None:
    """``note``, and raise where a limit blocks. Raises ``Ratelimited``, ``RateLimitUnavailable``."""
    note(request, verdicts)
    if (blocking := blocking_of(verdicts)) is not None:
        raise refusal_of(blocking) from blocking.cause


def note(request: HttpRequest, verdicts: Sequence[Verdict]) -> None:
    """Set ``request.limited`` and ``request.rate_limits``, and log what was refused."""
    verdicts_of(request).extend(verdicts)
    is_limited = any(verdict.limits for verdict in verdicts)
    request.limited = is_limited or getattr(request, "limited", False)  # type: ignore[attr-defined]
    for verdict in verdicts:
        if verdict.refused:
            _log(verdict)


def blocking_of(verdicts: Sequence[Verdict]) -> Verdict | None:
    return next((verdict for verdict in verdicts if verdict.refused and verdict.quota.blocks), None)


def refusal_of(verdict: Verdict) -> BaseException:
    """The project's exception, where it has one of its own; else ours, which tells an outage from a limit."""
    error = theirs.refusal()
    if verdict.cause is not None and type(error) is Ratelimited:
        return RateLimitUnavailable("Redis cannot be asked, and this limit fails closed.")
    return error


def _log(verdict: Verdict) -> None:
    quota = verdict.quota
    extra = {"action": "ratelimit.shadow" if quota.shadow else "ratelimit", "limit": quota.name, "tag": quota.tag}
    if quota.shadow:
        logger.warning("A call would have been refused by the limit %s", quota.name, extra=extra)
    else:
        logger.info("A call is over the limit %s", quota.name, extra=extra)
