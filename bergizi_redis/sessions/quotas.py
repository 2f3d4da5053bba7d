"""How many sessions a user may have at one time: ``SESSION_LIMIT``, and what happens above it.

Promise: however many log-ins arrive at once, the user has at most as many sessions as the limit, and with ``evict``
exactly as many. One script on the user's own key decides; a refused log-in leaves nothing behind, and is no failed one
for the lockout. With ``evict`` those that were used least recently end before the new one begins.

1. Admit: the sid is listed as on its way, and those that must go are marked: they count no more.
2. End them, and list the new session with its tenant. A note stands in place of each ended session: it keeps one that
   is just being written from coming to life, and tells the browser why.
3. Write the session. 4. Take the ended ones off the lists.

Killed in between, it leaves a ghost or a marked session, never one that no list shows. The next log-in ends the
marked, and a ghost is looked for and dropped before anybody is refused for it; the place of a log-in that was killed
on its way is free after two seconds. A revoked session that is not removed yet keeps nobody out, and is told as revoked
by the log-in that takes its place; where the least recently used must go, it is still one of them. Round trips: 4;
3 more where a ghost was in the way; 1 for a refusal.
"""

import math
from dataclasses import dataclass
from inspect import iscoroutinefunction
from secrets import token_hex
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import PermissionDenied
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bergizi_redis import keys
from bergizi_redis.conf import SETTINGS_NAME, config, import_setting
from bergizi_redis.exceptions import BergiziRedisError, ConfigurationError
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index, statistics
from bergizi_redis.sessions.asking import Call, evaluate_all, raise_first
from bergizi_redis.sessions.events import Event
from bergizi_redis.sessions.record import Record

NOTE_LIFE = 15 * 60 * 1000  # ms that the log-in page can tell why
EVICTED, GHOST, REVOKED, CLIENT_CHANGED = "evicted", "ghost", "revoked", "client_changed"


def note_of(reason: str) -> tuple[str, int, str]:
    """What the log-in page shall be able to tell of an ended session, for how many ms, and a mark of who ended it."""
    return (reason if reason in (REVOKED, CLIENT_CHANGED) else ""), NOTE_LIFE, token_hex(8)


class SessionLimitReached(BergiziRedisError, PermissionDenied):
    """The user has as many sessions as ``SESSION_LIMIT`` allows. The password was right; nothing was made.

    ``str()`` of it is a sentence for the person at the log-in form, in the language in force.
    """

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most

    def __str__(self) -> str:
        text = ngettext(
            "You are already signed in on %(n)d device, which is as many as allowed.",
            "You are already signed in on %(n)d devices, which is as many as allowed.",
            self.most,
        ) % {"n": self.most}
        return f"{text} {_('Sign out there first, or ask an administrator to end that session.')}"


@dataclass(frozen=True, slots=True)
class Quota:
    """``most`` sessions at one time, 1 or more; above it, ``policy``: deny or evict."""

    most: int
    policy: str


ANY_NUMBER = Quota(2**31, "deny")  # of a new key for a session that has its place


@dataclass(frozen=True, slots=True)
class Place:
    """A log-in that was admitted as ``sid``; ``leaving`` are the sessions that make room for it."""

    sid: str
    user_id: str
    leaving: tuple[str, ...] = ()


def quota_for(user_id: str, role: str | None, tenant: str | None) -> Quota | None:
    """What applies to this user; None without a limit. Raises ``ConfigurationError`` for a function's odd answer."""
    limit = config.SESSION_LIMIT
    if isinstance(limit, str):
        function = import_setting("SESSION_LIMIT", limit)
        ask = async_to_sync(function) if iscoroutinefunction(function) else function
        limit = _sound(ask(user_id, role, tenant))
    return Quota(limit, config.SESSION_LIMIT_POLICY) if limit else None


async def aquota_for(user_id: str, role: str | None, tenant: str | None) -> Quota | None:
    """As ``quota_for``; a plain function, which may ask the database, runs in a thread."""
    limit = config.SESSION_LIMIT
    if isinstance(limit, str):
        function = import_setting("SESSION_LIMIT", limit)
        ask = function if iscoroutinefunction(function) else sync_to_async(function)
        limit = _sound(await ask(user_id, role, tenant))
    return Quota(limit, config.SESSION_LIMIT_POLICY) if limit else None


def _sound(answer: object) -> int | None:
    if answer is None or (isinstance(answer, int) and not isinstance(answer, bool) and answer >= 0):
        return answer
    raise ConfigurationError(
        f"{SETTINGS_NAME}['SESSION_LIMIT'] names {config.SESSION_LIMIT!r}, which returned {answer!r}; return a number "
        "of sessions, or None or 0 for no limit."
    )


def admit(
    sid: str, user_id: str, life: int, quota: Quota, tenant: str | None, replaced: tuple[str, ...] = ()
) -> Exchange[Place]:
    """Take a place for a session of ``life`` ms; its successor's if it is one of ``replaced``.

    Raises ``SessionLimitReached``, which is counted for ``tenant`` and noted as denied.
    """
    admitted, *sids = yield from _ask(sid, user_id, life, quota, (), replaced)
    if not admitted and sids:
        barred = set[str]()
        live = yield from index.records(sids, barred)
        theirs = {other: record for other, record in live.items() if record.user_id == user_id}
        ghosts = [other for other in sids if other not in theirs and other not in barred]
        # A session that is held, or revoked and not yet removed, is good for nobody, and keeps nobody out.
        held = tuple(other for other in sids if other in barred or (other in theirs and theirs[other].is_held))
        if ghosts or held:
            # One that is so late would find the note and not come to life.
            raise_first((yield from evaluate_all([_evicting(ghost, user_id, GHOST, spares=True) for ghost in ghosts])))
            admitted, *sids = yield from _ask(sid, user_id, life, quota, ghosts, (*replaced, *held))
    if not admitted:
        yield from evaluate_all(statistics.calls_for([Event(False, "", user_id, tenant, "denied")]))
        raise SessionLimitReached(quota.most)
    return Place(sid, user_id, tuple(other for other in sids if other not in replaced))


def _ask(
    sid: str, user_id: str, life: int, quota: Quota, ghosts: Any, replaced: tuple[str, ...]
) -> Exchange[list[Any]]:
    listing = keys.user_sessions(user_id)
    reply = yield from evaluate(
        script("session_admit"),
        [listing, index.online_beside(listing)],
        [sid, life, index.kept_beyond(listing), quota.most, quota.policy, _grace(), len(ghosts), *ghosts, *replaced],
    )
    return [int(reply[0]), *(other.decode() for other in reply[1:])]


def _grace() -> int:
    """Seconds after which a log-in on its way has run out of its budget."""
    return math.ceil(config.REQUEST_BUDGET) + 1


def _evicting(sid: str, user_id: str, why: str, *, spares: bool = False) -> Call:
    args = [user_id, why, NOTE_LIFE, int(spares)]
    return Call(script("session_evict"), keys.session(sid), args, [keys.session_ended(sid), keys.revoked(sid[:2])])


def place_for(
    sid: str, target: Record, life: int, quota: Quota, given: Place | None, replaced: tuple[str, ...]
) -> Exchange[Place]:
    """The place that was ``given`` to this very log-in, or one now."""
    user_id = target.user_id or ""
    if given is not None and (given.sid, given.user_id) == (sid, user_id):
        return given
    if given is not None:  # the key has changed since then
        replaced = (*replaced, given.sid)
    return (yield from admit(sid, user_id, life, quota, target.tenant, replaced))


def list_with(
    place: Place | None, sid: str, indices: list[str], life: int, *, is_there: bool
) -> Exchange[tuple[list[Event], list[str]]]:
    """List the session, and end those that make room for it: one round trip.

    Returns who was evicted, and the indices that did not have the session before.
    """
    # The user's own index has the sid from its admission on.
    given = 0 if place is None else 1
    calls = index.adding(sid, indices[given:], life, is_there=is_there)
    leaving = () if place is None else place.leaving
    ending = [_evicting(other, place.user_id, EVICTED) for other in leaving] if place is not None else []
    replies = yield from evaluate_all([*calls, *ending])
    raise_first(replies)
    events = []
    for other, reply in zip(leaving, replies[len(calls) :], strict=True):
        if reply is not None:
            user_id, tenant = (part.decode("utf-8", "replace") for part in reply[:2])
            events.append(Event(False, other, user_id, tenant or None, REVOKED if reply[2] else EVICTED))
    return events, [*indices[:given], *index.fresh(indices[given:], replies)]


def settling(place: Place) -> Call:
    """The log-in is complete."""
    listing = keys.user_sessions(place.user_id)
    return Call(script("session_settle"), listing, [place.sid, *place.leaving], [index.online_beside(listing)])
