"""``OPTIONS = {"NEAR_CACHE": …}`` of an alias: what it may hold."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from bergizi_redis.exceptions import ConfigurationError


@dataclass(frozen=True, slots=True)
class NearOptions:
    """``max_bytes`` for each process; ``max_staleness`` in seconds: how long an entry may be served on the word of a
    link that has not proven itself alive since."""

    max_bytes: int = 64 * 2**20
    max_staleness: float = 1.0


EXAMPLE = '{"max_bytes": 64 * 2**20, "max_staleness": 1.0}'


def near_options(options: Mapping[str, Any]) -> NearOptions | None:
    """Of the alias's OPTIONS; None where the near cache is off. ``ConfigurationError`` says what cannot be used."""
    given = options.get("NEAR_CACHE", False)
    if given is False or given is None:
        return None
    if given is True:
        return NearOptions()
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"NEAR_CACHE is {given!r}; expected True, False or a dict such as {EXAMPLE}.")
    names = [field.name for field in fields(NearOptions)]
    for name, value in given.items():
        if name not in names:
            close = difflib.get_close_matches(str(name).lower(), names, n=1)
            asked = f"Did you mean {close[0]!r}?" if close else f"It may hold {' and '.join(map(repr, names))}."
            raise ConfigurationError(f"NEAR_CACHE has no option {name!r}. {asked}")
        kinds = int if name == "max_bytes" else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < float("inf"):
            what = "a whole number of bytes" if name == "max_bytes" else "a number of seconds"
            raise ConfigurationError(f"NEAR_CACHE[{name!r}] is {value!r}; expected {what} above 0, as in {EXAMPLE}.")
    return NearOptions(**given)
