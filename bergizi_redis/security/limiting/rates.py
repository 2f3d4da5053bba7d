"""What a rate says: ``"5/m"``, ``"100/10s"``, ``(5, 60)``, ``0`` or None. Needs no Redis."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bergizi_redis.exceptions import ConfigurationError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
PATTERN = re.compile(
    r"(\d+)/(\d*)(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)?", re.IGNORECASE | re.ASCII
)  # fmt: skip
LONGEST = 366 * 24 * 3600  # seconds
MOST = 10**9


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``limit`` in ``seconds``. A limit of 0 refuses everything."""

    limit: int
    seconds: int

    @property
    def us(self) -> int:
        return self.seconds * 1_000_000


def rate_of(value: Any) -> Rate | None:
    """The rate that a str, a pair of ints, 0 or None means; None: no limit. Raises ``ConfigurationError``."""
    if value is None:
        return None
    if isinstance(value, str):
        return _parsed(value)
    if value == 0 and not isinstance(value, bool):
        return Rate(0, 1)
    try:
        limit, seconds = value
        return _checked(int(limit), int(seconds), value)
    except (TypeError, ValueError):
        raise _wrong(value) from None


@lru_cache(maxsize=512)
def _parsed(text: str) -> Rate:
    found = PATTERN.fullmatch(text.strip())
    if found is None:
        raise _wrong(text)
    limit, times, unit = found.groups()
    return _checked(int(limit), int(times or 1) * UNITS[(unit or "s")[0].lower()], text)


def _checked(limit: int, seconds: int, value: object) -> Rate:
    if not (0 <= limit <= MOST and 0 < seconds <= LONGEST):
        raise _wrong(value)
    return Rate(limit, seconds)


def _wrong(value: object) -> ConfigurationError:
    return ConfigurationError(
        f"{value!r} is not a rate. Give a number and a period of 1 s to 366 days, such as '5/m', '100/10s' or (5, 60);"
        " None for no limit, 0 to refuse everything."
    )
