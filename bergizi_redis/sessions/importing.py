"""All sessions of another store brought in at once, before its engine is taken out of the settings.

Each is written as ``moving`` writes it, and one that is here, or has ended here, is left alone: running it twice does
no harm. How far a run came is noted every 500 sessions, for a week; of a table only, by expiry, so that the note
gives no key away. Round trips: 3 for each session that moves, 2 for an anonymous one, 1 for one that is here.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.connections import client
from bergizi_redis.exceptions import BergiziRedisError, RedisUnavailable
from bergizi_redis.sessions import steps
from bergizi_redis.sessions.asking import ask, outage_told
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.events import tell
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.moving import Adopted, adopt, moving_of
from bergizi_redis.sessions.sources import Source, outage_of

NOTE_EVERY = 500
NOTE_LIFE = 7 * 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Imported:
    """``became``: moved, there (already), ended (here), gone (meanwhile) or failed, and then ``error`` says why."""

    sid: str
    became: str
    error: str = ""


def bring_in(source: Source, *, resume: bool = False) -> Generator[Imported, None, None]:
    """One after another. Raises ``RedisUnavailable`` where either store cannot be asked: resume when it can."""
    place = 0.0
    with outage_of(source.engine):
        for number, (key, place) in enumerate(source.keys(_noted(source) if resume else 0), start=1):
            yield _one(source, key)
            if number % NOTE_EVERY == 0:
                _note(source, place)
    _note(source, 0)


def _one(source: Source, key: str) -> Imported:
    sid = sid_of(key)
    try:
        if ask(steps.exists(sid), budget=config.COMMAND_TIMEOUT):  # and what lists it knows its life better
            return Imported(sid, "there")
        found = source.find(key)
        if found is None:
            return Imported(sid, "gone")
        this = moving_of(key, found)
        became = ask(adopt(this, is_used=False), budget=config.COMMAND_TIMEOUT)
    except RedisUnavailable:
        raise
    except (BergiziRedisError, ValueError, TypeError) as error:  # one session that cannot be kept here
        return Imported(sid, "failed", str(error))
    if became is Adopted.MOVED:
        tell(SessionStore, this.events)
    return Imported(sid, became.name.lower())


def _note(source: Source, place: float) -> None:
    with outage_told():
        if place:
            _client().set(keys.session_import(source.engine), repr(place), ex=NOTE_LIFE)
        else:
            _client().delete(keys.session_import(source.engine))


def _noted(source: Source) -> float:
    with outage_told():
        return float(_client().get(keys.session_import(source.engine)) or 0)


def _client() -> Any:
    return client(settings.SESSION_CACHE_ALIAS)
