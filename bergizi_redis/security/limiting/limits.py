"""A limit as a project declares it, what it means for one request, and what came of it. Needs no Redis."""

import functools
import ipaddress
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string
from django_ratelimit import ALL
from django_ratelimit.exceptions import Ratelimited

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable
from bergizi_redis.limitconf import ALGORITHMS, ON_ERROR
from bergizi_redis.security.limiting import sources, theirs
from bergizi_redis.security.limiting.rates import Rate, rate_of

MOST_EXACT = 100_000  # units of an exact limit, each an entry in Redis: charging so many at once takes it some 12 ms
OUTAGE_RETRY_AFTER = 5  # seconds; a failover of Sentinel or Cluster takes about that long


class RateLimitUnavailable(Ratelimited, RedisUnavailable):  # type: ignore[misc] # django-ratelimit has no types
    """The call cannot be counted, and ``on_error`` is ``closed``. ``retry_after``: seconds after which to try again."""

    retry_after = OUTAGE_RETRY_AFTER


@dataclass(frozen=True, slots=True)
class Limit:
    """What ``ratelimit()`` was given."""

    group: str | None = None
    key: Any = None
    rate: Any = None
    method: Any = ALL
    block: bool = True
    algorithm: str | None = None
    cost: int | Callable[[str, HttpRequest], int] = 1
    shadow: bool = False
    on_error: str | None = None
    allow: Sequence[str] = ()
    deny: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("algorithm", self.algorithm, ALGORITHMS),
            ("on_error", self.on_error, ON_ERROR),
        ):
            if value is not None and value not in valid:
                raise ConfigurationError(f"{name}={value!r} of a rate limit: choose one of {', '.join(valid)}.")
        for name, networks in (("allow", self.allow), ("deny", self.deny)):
            if isinstance(networks, str):
                raise ConfigurationError(f"{name}={networks!r} of a rate limit: give a list of CIDRs.")
            try:
                parsed(tuple(networks))
            except ValueError as error:
                raise ConfigurationError(
                    f"{name} of a rate limit: {error}. Give CIDRs, such as '10.0.0.0/8'."
                ) from error

    @property
    def asks_functions(self) -> bool:
        """Whether code of the project is called to resolve it, which may ask the database."""
        given = (self.key, self.rate, self.cost)
        return any(callable(value) or (isinstance(value, str) and "." in value) for value in given)

    @property
    def asks_user(self) -> bool:
        return self.key in ("user", "user_or_ip")


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit for one request. ``tag`` stands for whom it counts; ``blocks``: a refusal stops the call."""

    tag: str
    name: str
    rate: Rate
    cost: int
    algorithm: str
    on_error: str
    blocks: bool
    shadow: bool

    @property
    def key(self) -> str:
        return keys.ratelimit(self.tag)

    @property
    def asked(self) -> tuple[str, int, int, int, int]:
        """What the script wants to know of it."""
        return self.algorithm, self.rate.limit, self.rate.us, self.cost, int(self.blocks)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``count`` units are in use; a call of this cost may pass in ``wait_us``; nothing is in use after ``reset_us``.

    ``cause``: the error because of which the call could not be counted and is refused.
    """

    quota: Quota
    refused: bool
    count: int
    wait_us: float
    reset_us: float
    cause: BaseException | None = field(default=None, repr=False)

    @property
    def limits(self) -> bool:
        """Whether the call is over a limit that is in force."""
        return self.refused and not self.quota.shadow

    @property
    def remaining(self) -> int:
        return max(0, self.quota.rate.limit - self.count)

    @property
    def retry_after(self) -> int:
        """Seconds, rounded up: ``Retry-After`` must not name a moment before the next call may pass. 0: now."""
        return math.ceil(self.wait_us / 1e6)

    @property
    def reset(self) -> int:
        return math.ceil(self.reset_us / 1e6)


def quota_of(limit: Limit, request: HttpRequest, view: Any = None) -> "Quota | Verdict | None":
    """What the limit means for the request: nothing, a quota, or at once a refusal. Raises ``ConfigurationError``."""
    if limit.group is None and view is None:
        raise ConfigurationError("A rate limit needs a `group`, or `fn`, the view that it is named after.")
    if not theirs.is_enabled() or not _concerns(limit, request):
        return None
    group = limit.group if limit.group is not None else name_of(view)
    given: Any = import_string(limit.rate) if isinstance(limit.rate, str) and "." in limit.rate else limit.rate
    rate = rate_of(given(group, request) if callable(given) else given)
    if rate is None:
        return None
    value = sources.value_of(limit.key, group, request)
    algorithm = limit.algorithm or config.RATELIMIT_ALGORITHM
    expect_countable(algorithm, rate)
    quota = Quota(
        tag=sources.tag_of(group, algorithm, f"{rate.limit}/{rate.seconds}", _methods(limit.method), *value),
        name=limit.group or f"{rate.limit}/{rate.seconds}s",
        rate=rate,
        cost=_cost(limit, group, request),
        algorithm=algorithm,
        on_error=limit.on_error or theirs.on_error(),
        blocks=limit.block and not limit.shadow,
        shadow=limit.shadow,
    )
    return _by_network(limit, quota, request)


def expect_countable(algorithm: str, rate: Rate | None) -> None:
    """Raises ``ConfigurationError`` where a call of a great cost, such as bytes, would stop the server."""
    if algorithm == "exact" and rate is not None and rate.limit > MOST_EXACT:
        raise ConfigurationError(
            f"A limit of {rate.limit} is too large to be 'exact', which keeps an entry for each unit: {MOST_EXACT} at "
            "most. Use algorithm='gcra'."
        )


def _concerns(limit: Limit, request: HttpRequest) -> bool:
    return limit.method == ALL or request.method in _methods(limit.method).split()


def _methods(method: Any) -> str:
    if method == ALL:
        return ""
    return " ".join(sorted({str(name).upper() for name in ([method] if isinstance(method, str) else method)}))


def _cost(limit: Limit, group: str, request: HttpRequest) -> int:
    cost: Any = limit.cost(group, request) if callable(limit.cost) else limit.cost
    if not isinstance(cost, int) or isinstance(cost, bool) or cost < 0:
        raise ConfigurationError(f"cost={cost!r} of the rate limit {group!r}: give an int of 0 or more.")
    return cost


def _by_network(limit: Limit, quota: Quota, request: HttpRequest) -> "Quota | Verdict | None":
    deny, allow = (*config.RATELIMIT_DENY, *limit.deny), (*config.RATELIMIT_ALLOW, *limit.allow)
    if deny or allow:
        found = sources.address(request)
        if is_within(found, deny):
            return Verdict(quota, True, quota.rate.limit, quota.rate.us, quota.rate.us)
        if is_within(found, allow):
            return None
    if quota.rate.limit == 0 and quota.algorithm != "fixed":  # nothing to count
        return Verdict(quota, quota.cost > 0, 0, quota.rate.us, 0)
    return quota


def is_within(address: str | None, networks: Sequence[str]) -> bool:
    if address is None:
        return False
    found = ipaddress.ip_address(address)
    return any(found in network for network in parsed(tuple(networks)))


@functools.lru_cache(maxsize=256)
def parsed(networks: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(network, strict=False) for network in networks)


def name_of(view: Any) -> str:
    """Module and name of a view; of a class's view or method, with the name of the class that answers."""
    if isinstance(view, functools.partial):
        view = view.func
    if owner := getattr(view, "view_class", None):  # all views of as_view() have one name
        return f"{owner.__module__}.{owner.__qualname__}"
    parts = [view.__module__] if getattr(view, "__module__", None) else []
    if hasattr(view, "__self__"):
        parts.append(view.__self__.__class__.__qualname__)
    return ".".join([*parts, getattr(view, "__qualname__", type(view).__qualname__)])
