"""The trace that a bump leaves: what was voided, when, and by whom, in a capped stream for each scope.

Written by the scripts that make versions anew, in the same step and slot, so it costs no round trip; a stream that
cannot be written to never keeps a bump from happening. The server's clock gives the time. Names are those of tags, no
values. The last ``LENGTH`` or so bumps of a tenant are kept, and of the shared scope, which every bump is noted in.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bergizi_redis.cache.actors import actor
from bergizi_redis.cache.envelope import SEPARATOR
from bergizi_redis.exchange import Exchange

LENGTH = 256  # trimmed by whole nodes of the stream, so there may be a hundred more
MOST_NAMES = 40  # of one bump; the rest is counted

_version = re.compile(r"(.*?cache:\{([^{}]*)\}:)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Bump:
    """``at`` Unix seconds; ``names`` as they stand in keys, such as ``v:menus``; ``unnamed`` more were too many."""

    at: float
    who: str
    names: tuple[str, ...]
    unnamed: int = 0


def scope_and_name(version_key: str) -> tuple[str, str]:
    """("sppg-1", "v:menus") of a version's key; the scope is ``@`` for what is shared."""
    found = _version.match(version_key)
    return (found[2], found[3]) if found else ("", version_key)


def log_of(version_key: str) -> str | None:
    """The log that its bumps are noted in; it shares the version's slot."""
    found = _version.match(version_key)
    return f"{found[1]}bumps" if found else None


def noted(version_keys: Sequence[str], who: str | None = None) -> tuple[list[str], list[str]]:
    """(logs, [who, what to note in each]), which the scripts take behind their own keys and arguments."""
    names: dict[str, list[str]] = {}
    for key in version_keys:
        if found := _version.match(key):
            names.setdefault(f"{found[1]}bumps", []).append(found[3])
    texts = [SEPARATOR.join([str(max(0, len(some) - MOST_NAMES)), *some[:MOST_NAMES]]) for some in names.values()]
    return list(names), [actor() if who is None else who, *texts]


def since(log: str, at: float) -> Exchange[tuple[list[Bump], bool]]:
    """The bumps from ``at`` (Unix seconds) on, the latest first, and whether the log reaches back that far."""
    replies: Any = yield lambda client: client.xrevrange(log, count=2 * LENGTH)
    bumps = list(_told(replies or []))
    return [bump for bump in bumps if bump.at >= at], not bumps or bumps[-1].at < at or len(bumps) < LENGTH


def _told(entries: Sequence[tuple[bytes, Any]]) -> Iterator[Bump]:
    for ident, fields in entries:
        unnamed, *names = fields[b"names"].decode("utf-8", "replace").split(SEPARATOR)
        who = fields[b"who"].decode("utf-8", "replace")
        yield Bump(int(ident.split(b"-")[0]) / 1000, who, tuple(names), int(unnamed))
