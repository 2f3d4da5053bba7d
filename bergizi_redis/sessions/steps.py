"""What the store does, as exchanges with the server: each ``yield`` is one round trip, sync and async alike.

| step | round trips |
| --- | --- |
| load | 1; once in ``TOUCH_EVERY`` 1 more, for who is logged in |
| save | 1; once in ``TOUCH_EVERY`` 1 more, for a listed session |
| save that logs in | 2: listed, then written |
| end | 1; 2 for a listed session |
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django.contrib.sessions.backends.base import CreateError, UpdateError
from redis.exceptions import OutOfMemoryError, ResponseError

from bergizi_redis import keys
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index, quotas, statistics
from bergizi_redis.sessions.asking import Call, evaluate_all, raise_first
from bergizi_redis.sessions.encoding import is_meta
from bergizi_redis.sessions.events import Event
from bergizi_redis.sessions.expiry import Limits, login_limits
from bergizi_redis.sessions.merging import Merging
from bergizi_redis.sessions.record import (
    ABSOLUTE,
    AUTH_USER,
    CLIENT,
    IDLE,
    INDEXED,
    IP,
    LAYOUT,
    LOGGED_IN,
    LOGIN_FIELDS,
    NEW,
    PERMISSIONS,
    PERMISSIONS_SEEN,
    SEEN,
    TENANT,
    USER,
    VERSION,
    Record,
    change_of,
    is_barred,
    record_of,
)
from bergizi_redis.sessions.repeats import own_creation

logger = logging.getLogger("bergizi_redis.sessions")


@dataclass(frozen=True, slots=True)
class Login:
    """What is known of a log-in besides the user."""

    tenant: str | None = None
    ip: str | None = None
    client: str | None = None
    permissions: str | None = None  # JSON
    permissions_seen: int = 0  # the shard's highest barrier, before they were asked for
    limits: Limits | None = field(default_factory=login_limits)

    def fields(self) -> list[tuple[bytes, str | None]]:
        return [(TENANT, self.tenant), (IP, self.ip), (CLIENT, self.client), (PERMISSIONS, self.permissions)]


def on_session(sid: str, name: str, args: list[Any]) -> Exchange[Any]:
    """Run a script on the session; None where there is none, or where the key holds something else."""
    try:
        return (yield from evaluate(script(name), [keys.session(sid), *beside(sid)], args))
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        logger.warning("The key of session %s holds no hash", sid, extra={"action": "session_wrong_type", "sid": sid})
        return None


def beside(sid: str) -> list[str]:
    """What the scripts on a session ask besides: the barriers of its shard, and the note why it has ended."""
    return [keys.revoked(sid[:2]), keys.session_ended(sid)]


def load(sid: str, *, touches: bool = True, why: list[str] | None = None) -> Exchange[Record | None]:
    """The session, or None; then ``why`` is told the reason, if it was ended for one not long ago."""
    reply = yield from on_session(sid, "session_load", [])
    if why is not None and isinstance(reply, bytes):
        why.append(reply.partition(b"\n")[0].decode())
    elif why is not None and is_barred(reply):
        why.append(quotas.REVOKED)
    record = record_of(reply)
    if touches and record is not None and touch_due(record):
        try:
            return (yield from touch(sid, record))
        except OutOfMemoryError as error:  # what is full can still be read; the next use is noted
            logger.warning("Could not prolong session %s: %s", sid, error, extra={"action": "session_untouched"})
    return record


def touch_due(record: Record) -> bool:
    return record.user_id is not None and record.now - (record.number(SEEN) or 0) >= index.drift_allowed()


def touch(sid: str, record: Record) -> Exchange[Record | None]:
    """Move the idle deadline on, in the session and its indices, if it has one; else note the use. One round trip."""
    if not record.slides:
        seen = yield from index.see(sid, record)
        return None if seen is None else replace(record, raw={**record.raw, SEEN: seen})
    life = int(1000 * (record.cookie_age() or 0))
    arguments = change_of({}, {}, {SEEN: 0, INDEXED: life}).arguments("update", life)
    write = Call(script("session_save"), keys.session(sid), arguments, beside(sid))
    indices = index.index_keys(record.user_id, record.tenant)
    raise_first(replies := (yield from evaluate_all([*index.calls_to_add(sid, indices, life), write])))
    if fresh := index.fresh(indices, replies):  # the index was lost, or the session has ended meanwhile
        yield from index.verify(sid, fresh)
    alive = replies[-1] is not None and int(replies[-1][1]) > 0
    return _written(record.raw, {SEEN: 0, INDEXED: life}, replies[-1]) if alive else None


def _written(raw: dict[bytes, bytes], moments: Mapping[bytes, int], reply: Any) -> Record:
    now, life, top = (int(number) for number in (*reply, 0)[:3])
    written = {name: b"%d" % (now + offset) for name, offset in moments.items()}
    return Record({**raw, **written}, now, now + life, top=top)


@dataclass(slots=True)
class Save:
    """One save: ``fields`` are the encoded data, ``base`` the session as loaded (its meta only, for a new key)."""

    sid: str
    fields: dict[bytes, bytes]
    base: Record
    life: int  # ms
    user_id: str | None = None  # of Django's log-in, if there is one in the data
    login: Login | None = None
    create: bool = False
    moments: dict[bytes, int] | None = None  # ms from now
    merging: Merging | None = None
    quota: quotas.Quota | None = None  # that a log-in is held to
    place: quotas.Place | None = None  # that it was given already
    replaced: tuple[str, ...] = ()  # the sids that a new key takes the place of
    succeeds: str | None = None  # the sid of a held session, which has been taken up

    def target(self) -> tuple[dict[bytes, bytes], dict[bytes, int]]:
        """Every field as it shall be, and the moments to write."""
        meta = {name: raw for name, raw in self.base.raw.items() if is_meta(name)} | {VERSION: LAYOUT}
        moments = {SEEN: 0, **(self.moments or {}), **({NEW: 0} if self.create else {})}
        if self.user_id is None and AUTH_USER in self.base.raw:  # logged out, the session kept
            meta = {name: raw for name, raw in meta.items() if name not in LOGIN_FIELDS}
        elif self.user_id is not None and (self.user_id != self.base.user_id or self.login is not None):
            if self.user_id != self.base.user_id:
                meta = {name: raw for name, raw in meta.items() if name not in LOGIN_FIELDS}
            moments[LOGGED_IN] = 0
            meta[USER] = self.user_id.encode()
            login = self.login or Login()
            for name, text in login.fields():
                if text:
                    meta[name] = text.encode("utf-8", "replace")
            if login.permissions_seen and not self.create:
                meta[PERMISSIONS_SEEN] = b"%d" % login.permissions_seen
            if login.limits is not None:
                meta[IDLE] = b"%d" % login.limits.idle
                moments[ABSOLUTE] = int(1000 * login.limits.absolute)
        return {**meta, **self.fields}, moments

    def life_capped(self, moments: Mapping[bytes, int]) -> int:
        """ms; what the script will make of ``life``, as well as it can be known before."""
        if ABSOLUTE in moments:
            return min(self.life, moments[ABSOLUTE])
        return int(1000 * self.base.capped(self.life / 1000))


def save(this: Save) -> Exchange[tuple[Record, list[Event]]]:
    """Write the difference. Raises ``CreateError`` or ``UpdateError``, as Django expects."""
    began, (after, moments) = time.monotonic(), this.target()
    target = Record(after)
    old = [] if this.create else index.index_keys(this.base.user_id, this.base.tenant)
    new = index.index_keys(target.user_id, target.tenant)
    life = this.life_capped(moments)
    place, gone, fresh = None, list[Event](), list[str]()
    if new and life > 0 and (new != old or LOGGED_IN in moments or index.is_behind(this.base, life)):
        # Before the session is written, so that a crash leaves a ghost and never an unlisted session.
        if this.quota is not None and new != old:
            place = yield from quotas.place_for(this.sid, target, life, this.quota, this.place, this.replaced)
        gone, fresh = yield from quotas.list_with(place, this.sid, new, life, is_there=new == old)
        moments[INDEXED] = life
    if (reply := (yield from _write(this, after, moments))) is None and this.create:
        reply = yield from own_creation(this.sid, after, moments, began)
    ended = reply is not None and int(reply[1]) <= 0
    events = [] if reply is None else _events(this, target, ended=ended, overtaken=ended and place is not None)
    off = [(event.sid, index.index_keys(event.user_id, event.tenant)) for event in gone]
    dropped = fresh if reply is None else [key for key in dict.fromkeys([*old, *new]) if ended or key not in new]
    settled = [] if place is None else [quotas.settling(place)]
    yield from index.remove([*off, (this.sid, dropped)], [*settled, *statistics.calls_for([*gone, *events])])
    if reply is None:
        raise CreateError if this.create else UpdateError
    if this.succeeds is not None:
        events += (yield from end(this.succeeds, "cycled"))[1]
    return _written(after, moments, reply), [*gone, *events]


def _write(this: Save, after: dict[bytes, bytes], moments: dict[bytes, int]) -> Exchange[Any]:
    mode, base = ("create", {}) if this.create else ("update", this.base.raw)
    if this.merging is not None:
        return (yield from this.merging.write(partial(on_session, this.sid), base, after, moments, mode, this.life))
    return (yield from on_session(this.sid, "session_save", change_of(base, after, moments).arguments(mode, this.life)))


def _events(this: Save, target: Record, *, ended: bool, overtaken: bool) -> list[Event]:
    """``overtaken``: a later log-in has evicted this one before it was written; it was one all the same."""
    before, fails = (None if this.create else this.base.user_id), ended and not overtaken
    events = []
    if before is not None and (ended or before != target.user_id):
        events.append(Event(False, this.sid, before, this.base.tenant, "expired" if fails else "logout"))
    if target.user_id is not None and not fails and before != target.user_id:
        is_new = not this.create or this.moments or this.base.user_id != target.user_id
        told = this.sid, target.user_id, target.tenant
        events.append(Event(True, *told, "login" if is_new else "cycled", target.text(IP), target.text(CLIENT)))
        events += [Event(False, *told, quotas.EVICTED)] if overtaken else []
    return events


def end(sid: str, reason: str, *, user_id: str = "", tenant: str = "") -> Exchange[tuple[bool, list[Event]]]:
    """End a session if it is this user's and tenant's ("": anybody's). Returns whether there was one, and events."""
    reply = yield from on_session(sid, "session_end", [user_id, tenant, "", *quotas.note_of(reason)])
    if reply is None:
        return False, []
    user, owner = owners(reply)
    if not user:
        return True, []
    # 1: before, by a revocation whose clean-up has not come by yet; 2: held, so no new key for it; 3: by somebody else
    over = int(reply[2])
    events = [] if over == 3 else [Event(False, sid, user, owner, "revoked" if over == 1 else reason)]
    yield from index.remove([(sid, index.index_keys(user, owner))], statistics.calls_for(events))
    return over == 0 or (over == 2 and reason != "cycled"), events


def owners(reply: list[bytes]) -> tuple[str, str | None]:
    """User ("" of an anonymous session) and tenant in the reply of ``session_end.lua``."""
    user, tenant = (part.decode("utf-8", "replace") for part in reply[:2])
    return user, tenant or None


def exists(sid: str) -> Exchange[bool]:
    return record_of((yield from on_session(sid, "session_load", []))) is not None
