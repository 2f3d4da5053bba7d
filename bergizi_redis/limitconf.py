"""The settings of rate limits; ``conf.config`` has them with all others."""

from collections.abc import Mapping, Sequence
from typing import Any

from bergizi_redis.setting import Setting, are_networks

ALGORITHMS = ("exact", "gcra", "fixed")
ON_ERROR = ("degrade", "closed", "open")
# What an entry of RATELIMITS may say: `path`, and what `ratelimit()` takes.
SITE_WIDE = {"path", "group", "key", "rate", "method", "algorithm", "cost", "shadow", "on_error", "allow", "deny"}


def are_site_wide(value: Any) -> bool:
    """Dicts with at least a path, a key and a rate, and nothing unknown."""
    return all(
        isinstance(entry, Mapping)
        and {"path", "key", "rate"} <= entry.keys() <= SITE_WIDE
        and isinstance(entry["path"], str)
        and entry["path"].startswith("/")
        for entry in value
    )


class RateLimitConfig:
    """Read ``config.NAME``; never write."""

    RATELIMITS = Setting[Sequence[Mapping[str, Any]]](
        (), "Limits of whole paths, such as `[{'path': '/api/', 'key': 'user_or_ip', 'rate': '100/m'}]`, with what"
        " `ratelimit()` takes; each holds for its path and all below. Needs `RateLimitMiddleware`.",
        types=(tuple, list), valid=are_site_wide,
    )  # fmt: skip
    RATELIMIT_ALGORITHM = Setting(
        "exact", "How limits count that do not say: `exact`, never more than the limit in any window; `gcra`, 16 bytes"
        " a key, at most twice the limit in a window; `fixed`, as django-ratelimit does.",
        valid=lambda value: value in ALGORITHMS,
    )  # fmt: skip
    RATELIMIT_ON_OUTAGE = Setting(
        "degrade", "When Redis is down: `degrade` to counting in each process, refuse (`closed`, 503), or let pass"
        " (`open`); for limits that do not say.",
        valid=lambda value: value in ON_ERROR,
    )  # fmt: skip
    RATELIMIT_ALLOW = Setting[Sequence[str]](
        (), "CIDRs, such as your monitoring's, that no limit counts.", types=(tuple, list), valid=are_networks
    )  # fmt: skip
    RATELIMIT_DENY = Setting[Sequence[str]](
        (), "CIDRs that every limit refuses, before `RATELIMIT_ALLOW`.", types=(tuple, list), valid=are_networks
    )
    RATELIMIT_HEADERS = Setting(True, "Tell clients of their limits in `RateLimit-*` headers.")
