"""Sessions move in from another store, and nobody is logged out: at their next request, or all at once.

A session that is not found here is looked up in the stores of ``SESSION_MOVE_FROM``, until ``SESSION_MOVE_UNTIL``, and
written here under the same key with the life that it had left. The old copy stays, for processes that are not
deployed anew yet; a mark beside the session sees to it that what has ended here – logged out, revoked, expired – never
comes back from there. Logging out ends both copies.

When somebody logged in is not known; it counts as long ago, so that a revocation of the user ends it too. A session
that moves in is never refused or evicted for ``SESSION_LIMIT``, nor is another for it: nobody is logged out by a move.
It counts, so the user's next log-in is denied, or evicts as many as are too many.
Round trips: 4 for the one request that moves a session; 1 and a look at the old store for a cookie that nobody knows.
An old store that cannot be asked is an outage, ``RedisUnavailable``. Asynchronous requests ask it in a thread.
"""

import dataclasses
import logging
from datetime import UTC, date, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, load_backend
from django.utils.module_loading import import_string

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exceptions import BergiziRedisError, RedisUnavailable
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index, steps
from bergizi_redis.sessions.asking import evaluate_all, raise_first
from bergizi_redis.sessions.encoding import Codec
from bergizi_redis.sessions.events import Event, atell, tell
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.record import AUTH_USER, LAYOUT, LOGGED_IN, TENANT, USER, VERSION, Record
from bergizi_redis.sessions.sources import Found, Source, outage_of, source_of
from bergizi_redis.tenancy import tenant_from_user

logger = logging.getLogger("bergizi_redis.sessions")

LONGEST_KEY = 64  # characters of a key that any of those engines has made


class Adopted(Enum):
    """What became of a session of another store."""

    MOVED = 1
    THERE = 0
    ENDED = -1


@dataclasses.dataclass(frozen=True, slots=True)
class Moving:
    """A session of another store, ready to be written here."""

    sid: str
    record: Record
    life: int

    @property
    def events(self) -> list[Event]:
        """What to tell once it is written."""
        user = self.record.user_id
        return [Event(True, self.sid, user, self.record.tenant, "moved")] if user else []


def sources(today: date | None = None) -> list[Source]:
    """The stores to look into: none but during the move. The last day is one in UTC."""
    given: Any = config.SESSION_MOVE_FROM
    until: Any = config.SESSION_MOVE_UNTIL
    if not given:
        return []
    last = date.fromisoformat(until) if isinstance(until, str) and until else until
    if last and (today or datetime.now(UTC).date()) > last:
        return []
    return [source_of(path) for path in ([given] if isinstance(given, str) else given)]


def look_up(key: str) -> Moving | None:
    """The session of this key in the old stores. Asks each of them once; blocks."""
    for source in sources() if 8 <= len(key) <= LONGEST_KEY and key.isalnum() else []:
        with outage_of(source.engine):
            found = source.find(key)
        if found is not None:
            return moving_of(key, found)
    return None


def end_old(key: str) -> None:
    """Log out of the old stores as well."""
    for source in sources():
        with outage_of(source.engine):
            source.end(key)


def move_in(store: Any) -> Record | None:
    """The session of the store's key, which is not here, brought in from an old store; None where there is none."""
    try:
        if not config.SESSION_MOVE_FROM or (this := look_up(store.session_key or "")) is None:
            return None
    except RedisUnavailable as error:
        store.unavailable = error
        raise
    if store._ask(adopt(this)) is Adopted.MOVED:
        tell(type(store), this.events)
    record: Record | None = store._ask(steps.load(this.sid))
    return record


async def amove_in(store: Any) -> Record | None:
    """As ``move_in``; the old store is asked in a thread."""
    try:
        if not config.SESSION_MOVE_FROM or (this := await sync_to_async(look_up)(store.session_key or "")) is None:
            return None
    except RedisUnavailable as error:
        store.unavailable = error
        raise
    if await store._aask(adopt(this)) is Adopted.MOVED:
        await atell(type(store), this.events)
    record: Record | None = await store._aask(steps.load(this.sid))
    return record


async def aend_old(key: str) -> None:
    """As ``end_old``, in a thread."""
    if config.SESSION_MOVE_FROM:
        await sync_to_async(end_old)(key)


def moving_of(key: str, found: Found) -> Moving:
    """The session as it is to be written: its fields, its user, and the tenant that the user belongs to."""
    sid = sid_of(key)
    raw = _encoded(found.data, sid) | {VERSION: LAYOUT}
    if (user := raw.get(AUTH_USER)) is not None:
        raw |= {USER: user.removeprefix(b":"), LOGGED_IN: b"0"}
        if tenant := _tenant_of(found.data):
            raw[TENANT] = tenant.encode()
    return Moving(sid, Record(raw), found.life)


def adopt(this: Moving, *, is_used: bool = True) -> Exchange[Adopted]:
    """Write it, unless it is here or has ended here: 2 round trips, 1 for an anonymous one. ``is_used``: now."""
    fresh = list[str]()
    if indices := index.index_keys(this.record.user_id, this.record.tenant):
        # Not there yet: a log-in at this moment shall take it for one on its way, and not for a ghost.
        replies = yield from evaluate_all(index.adding(this.sid, indices, this.life, is_there=False, is_used=is_used))
        raise_first(replies)
        fresh = index.fresh(indices, replies)
    fields = [item for pair in this.record.raw.items() for item in pair]
    where = [keys.session(this.sid), keys.session_moved(this.sid), keys.revoked(this.sid[:2])]
    adopted = Adopted(int((yield from evaluate(script("session_adopt"), where, [this.life, *fields]))))
    if adopted is Adopted.ENDED:
        yield from index.remove([(this.sid, fresh)])
    return adopted


def _encoded(data: dict[str, Any], sid: str) -> dict[bytes, bytes]:
    """The fields; a value that no JSON holds, of a store that pickled, is left behind rather than the session."""
    codec = Codec(import_string(settings.SESSION_SERIALIZER))
    kept = {}
    for key, value in data.items():
        try:
            codec.encode({key: value}, {})
        except (TypeError, ValueError) as error:
            if isinstance(error, BergiziRedisError):
                raise
            logger.warning(
                "Left %r of session %s behind: %s", str(key)[:80], sid, error,
                extra={"action": "session_field_dropped", "sid": sid},
            )  # fmt: skip
        else:
            kept[key] = value
    return codec.encode(kept, {})


def _tenant_of(data: dict[str, Any]) -> str | None:
    """Of the user, who is asked for once a moved session; none for a user or a backend that is gone."""
    try:
        user = load_backend(data.get(BACKEND_SESSION_KEY, "")).get_user(data["_auth_user_id"])
    except (ImportError, ValueError, TypeError):
        return None
    return tenant_from_user(SimpleNamespace(user=user)) if user is not None else None  # type: ignore[arg-type]
