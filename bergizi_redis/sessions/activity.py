"""What happened to sessions, for the people they belong to and for those who answer for a tenant.

| event | when |
| --- | --- |
| ``logged_in``, ``logged_out`` | a session began for a user; the user ended it |
| ``expired``, ``revoked``, ``evicted`` | it ended by itself, by somebody's order, or to make room for another |
| ``denied`` | a log-in was right, and one too many |
| ``client_changed`` | another family of browser or system sent its cookie |
| ``tenant_mismatch`` | its cookie was sent to another tenant's pages, and not heeded there |

Written in the round trip that notes the event anyway. Bounded by ``ACTIVITY_LENGTH`` entries and ``ACTIVITY_DAYS``; no
trail is a reason for a request to fail, so under a full server an entry may be missing: the audit trail is another
thing. A user's is a list of some 160 bytes, a tenant's a stream; an entry leaves out what its key says. What stands in
it obeys ``SESSION_CLIENT_PRIVACY``.
When Redis is down: reading raises ``RedisUnavailable``.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange
from bergizi_redis.keys import TENANT_PATTERN, validated_tenant
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions.asking import Call, aask, ask
from bergizi_redis.sessions.events import Event

NAMED = {
    "login": "logged_in",
    "logout": "logged_out",
    "expired": "expired",
    "revoked": "revoked",
    "evicted": "evicted",
    "denied": "denied",
    "client_changed": "client_changed",
    "tenant_mismatch": "tenant_mismatch",
}
LETTERS = {  # as the entries have it
    "logged_in": "i", "logged_out": "o", "expired": "x", "revoked": "r", "evicted": "e", "denied": "d",
    "client_changed": "c", "tenant_mismatch": "t",
}  # fmt: skip
EVENTS = {letter: event for event, letter in LETTERS.items()}
OF_TENANT = 5  # times as many entries as of a user
DAY = 86400 * 1000  # ms


@dataclass(frozen=True, slots=True)
class Activity:
    """One entry. ``at`` is aware (UTC), by the server's clock; ``sid`` is "" of a log-in that was denied,
    ``user_id`` of a session that ran out and whose log-in no trail tells of any more, see ``owners``."""

    at: datetime
    event: str
    sid: str
    user_id: str
    tenant: str | None
    ip: str | None
    client: str | None


def calls_for(events: Iterable[Event]) -> list[Call]:
    """To be sent along with other calls; a new key for the same log-in is nothing new."""
    return [call for event in events if event.reason in NAMED for call in _calls(event)]


def _calls(event: Event) -> list[Call]:
    if not (length := config.ACTIVITY_LENGTH):
        return []
    note, kept = script("session_activity"), config.ACTIVITY_DAYS * DAY
    calls = []
    if event.user_id:
        entry = _entry(event, "", event.tenant)
        calls.append(Call(note, keys.user_activity(event.user_id), ["list", length, kept, entry]))
    if event.tenant and TENANT_PATTERN.fullmatch(event.tenant):
        entry = _entry(event, event.user_id, "")
        calls.append(Call(note, keys.tenant_activity(event.tenant), ["stream", OF_TENANT * length, kept, entry]))
    return calls


def _entry(event: Event, user_id: str, tenant: str | None) -> str:
    told = [LETTERS[NAMED[event.reason]], event.sid, user_id, tenant, event.ip, event.client]
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def activity(user_id: object | None = None, tenant: str | None = None, limit: int = 50) -> list[Activity]:
    """The newest entries of a user, of a tenant, or of a user at a tenant; one round trip.

    Raises ``ValueError`` for neither, ``TenantError``, ``RedisUnavailable``.
    """
    return ask(_trail(user_id, tenant, limit))


async def aactivity(user_id: object | None = None, tenant: str | None = None, limit: int = 50) -> list[Activity]:
    """As ``activity``."""
    return await aask(_trail(user_id, tenant, limit))


def _trail(user_id: object | None, tenant: str | None, limit: int) -> Exchange[list[Activity]]:
    if (user_id is None and tenant is None) or limit < 1:
        raise ValueError("Say whose activity: activity(user_id), activity(tenant=…) or both; and a limit of 1 or more.")
    scope = None if tenant is None else validated_tenant(tenant)
    if user_id is None:
        key = keys.tenant_activity(scope or "")
        streamed: Any = yield lambda client: client.xrevrange(key, count=limit)
        entries = [fields.get(b"e", b"") for _, fields in streamed]
    else:
        # Of one tenant: the whole trail, which is short, to find as many as were asked for.
        last = limit - 1 if scope is None else -1
        entries = yield lambda client: client.lrange(keys.user_activity(user_id), 0, last)
    since = datetime.now(UTC) - timedelta(days=config.ACTIVITY_DAYS)
    owner = None if user_id is None else str(user_id)
    read = (_read(entry, owner, scope) for entry in entries)
    return [each for each in read if each and each.at >= since and scope in (None, each.tenant)][:limit]


def _read(entry: bytes, owner: str | None, scope: str | None) -> Activity | None:
    """An entry of the trail of ``owner``, or of ``scope`` where there is none; None for what is no entry of ours."""
    ms, _, told = entry.partition(b" ")
    try:
        letter, sid, user_id, tenant, ip, client = json.loads(told)
        whose = user_id if owner is None else owner
        where = scope if owner is None else tenant
        at = datetime.fromtimestamp(int(ms) / 1000, UTC)
        return Activity(at, EVENTS.get(letter, letter), sid, whose, where, ip, client)
    except (ValueError, TypeError, OverflowError):
        return None
