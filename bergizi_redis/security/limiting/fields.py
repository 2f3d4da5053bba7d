"""What a response tells of the limits: ``RateLimit-*``, and ``Retry-After`` where one refused. No round trip.

Two generations of names, for clients know either: ``RateLimit-Limit``, ``-Remaining`` and ``-Reset`` of the first
drafts, about the limit that is nearest to its end; and ``RateLimit-Policy`` and ``RateLimit`` of the current one, about
all limits. Source: draft-ietf-httpapi-ratelimit-headers (RateLimit header fields for HTTP), to 06, and from 08 to 10.
"""

import re
from typing import TypeVar

from django.http import HttpRequest, HttpResponseBase

from bergizi_redis.conf import config
from bergizi_redis.security.limiting.deciding import verdicts_of
from bergizi_redis.security.limiting.limits import RateLimitUnavailable, Verdict

Response = TypeVar("Response", bound=HttpResponseBase)

FIELDS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy", "RateLimit")


def with_fields(request: HttpRequest, response: Response) -> Response:
    """Set the fields for all that was decided for the request; those of before give way."""
    told = [verdict for verdict in verdicts_of(request) if not verdict.quota.shadow and verdict.cause is None]
    if config.RATELIMIT_HEADERS and told:
        tightest = min(told, key=lambda verdict: (not verdict.refused, verdict.remaining, -verdict.wait_us))
        values = (
            str(tightest.quota.rate.limit),
            str(tightest.remaining),
            str(tightest.reset),
            ", ".join(f"{_name(v)};q={v.quota.rate.limit};w={v.quota.rate.seconds}" for v in told),
            ", ".join(f"{_name(v)};r={v.remaining};t={v.reset}" for v in told),
        )
        for name, value in zip(FIELDS, values, strict=True):
            response.headers[name] = value
    return response


def retry_after(request: HttpRequest) -> int:
    """Seconds until no limit that refused the request would; 1 at least."""
    refused = [verdict for verdict in verdicts_of(request) if verdict.limits]
    if any(verdict.cause is not None for verdict in refused):
        return RateLimitUnavailable.retry_after
    return max([1, *(verdict.retry_after for verdict in refused)])


def _name(verdict: Verdict) -> str:
    """As a string of a structured field: printable ASCII (RFC 9651)."""
    text = re.sub(r"[^ -~]", "?", verdict.quota.name)[:64]
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
