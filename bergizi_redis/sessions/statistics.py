"""What happened to a tenant's sessions, by day: a hash for each day (UTC, by the server's clock), kept 40 days.

Counted in a round trip that is made anyway. ``count(tenant, "client_changed")`` is for what has none of its own.
Sessions without a tenant count together, as those of the tenant None.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import activity
from bergizi_redis.sessions.asking import Call, evaluate_all
from bergizi_redis.sessions.events import Event

DAY = 86400  # seconds
KEPT_DAYS = 40
MOST_DAYS = KEPT_DAYS
COUNTED = {
    "login": "logins", "logout": "logouts", "expired": "expired", "evicted": "evicted", "revoked": "revoked",
    "denied": "denied", "client_changed": "client_changed", "tenant_mismatch": "tenant_mismatch",
}  # fmt: skip
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class DayCounts:
    """What happened on ``day`` (UTC)."""

    day: date
    logins: int = 0
    logouts: int = 0
    expired: int = 0
    evicted: int = 0
    denied: int = 0
    revoked: int = 0
    client_changed: int = 0
    tenant_mismatch: int = 0


NAMES = frozenset(field.name for field in fields(DayCounts)) - {"day"}


@dataclass(frozen=True, slots=True)
class SessionStats:
    """``live``: sessions that have not expired; ``online``: those seen in the last ``SESSION_ONLINE`` seconds.

    ``days``: what happened, today first. ``tenant`` is None for the sessions that belong to none.
    """

    tenant: str | None
    live: int
    online: int
    days: tuple[DayCounts, ...]

    @property
    def today(self) -> DayCounts:
        return self.days[0]


def day_keys(tenant: str | None) -> tuple[list[str], int, int]:
    """Keys of yesterday, today and tomorrow by this clock, the number of the first, ms that a day is kept.

    The script picks the server's today: so the clock of this machine may be off by hours.
    """
    first = int(time.time() // DAY) - 1
    days = [keys.session_stats(tenant, str(EPOCH + timedelta(first + offset))) for offset in range(3)]
    return days, first, KEPT_DAYS * DAY * 1000


def calls_to_count(counts: Mapping[str | None, Mapping[str, int]]) -> list[Call]:
    """Tenant → name → count, to be sent along with other calls. A damaged tenant id, read back, is not counted."""
    calls = []
    for tenant, named in counts.items():
        if tenant is not None and not keys.TENANT_PATTERN.fullmatch(tenant):
            continue
        (key, *beside), first, kept = day_keys(tenant)
        pairs = [item for pair in named.items() for item in pair]
        calls.append(Call(script("session_stats"), key, [first, kept, *pairs], beside))
    return calls


def calls_for(events: Iterable[Event]) -> list[Call]:
    """Count what the events tell, and note it in the activity; a new key for the same log-in is nothing new."""
    counts: dict[str | None, Counter[str]] = {}
    told = list(events)
    for event in told:
        if name := COUNTED.get(event.reason):
            counts.setdefault(event.tenant, Counter())[name] += 1
    return [*calls_to_count(counts), *activity.calls_for(told)]


def count(tenant: str | None, name: str) -> Exchange[None]:
    """Count one of ``NAMES``; one round trip."""
    if name not in NAMES:
        raise ValueError(f"{name!r} is not counted; there are {', '.join(sorted(NAMES))}.")
    yield from evaluate_all(calls_to_count({tenant: {name: 1}}))


def report(tenant: str | None, days: int = 1) -> Exchange[SessionStats]:
    """The numbers of a tenant over the last ``days`` days, 1 to 40; one round trip."""
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"days is {days!r}; give 1 to {MOST_DAYS}, today included.")
    index = keys.tenant_sessions(tenant)
    asked = [datetime.now(UTC).date() + timedelta(1 - back) for back in range(days + 2)]
    named = [index, keys.tenant_online(tenant), *(keys.session_stats(tenant, str(day)) for day in asked)]
    reply = yield from evaluate(script("session_report"), named, [int(1000 * config.SESSION_ONLINE)])
    number, live, online, *hashes = reply
    today = EPOCH + timedelta(int(number))
    known = dict(zip(asked, hashes, strict=True))
    wanted = (today - timedelta(back) for back in range(days))
    return SessionStats(tenant, int(live), int(online), tuple(_counts_of(day, known.get(day, [])) for day in wanted))


def _counts_of(day: date, flat: Any) -> DayCounts:
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    counts = {name.decode(): int(value) for name, value in pairs}
    return DayCounts(day, **{name: counts[name] for name in NAMES & counts.keys()})
