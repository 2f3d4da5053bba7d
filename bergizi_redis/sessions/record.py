"""A session as it lies in Redis: raw fields, as loaded, and what may be said of them.

Meta fields (times are ms since 1970, of the server's clock; they never collide with a session key, see encoding.py):
``@v`` layout version · ``@new`` created · ``@seen`` last written or touched · ``@in`` authenticated · ``@abs`` absolute
deadline · ``@idle`` s without a request · ``@idx`` expiry as the indices have it · ``@uid`` user · ``@ten`` tenant ·
``@role`` ``@kind`` ``@mail`` ``@name`` ``@perm`` (JSON list) · ``@bar`` ``@pbar`` the
barriers that its log-in and its permissions came after · ``@ip`` · ``@ua`` label of browser and system · ``@for`` the
other tenant that it was last shown to · ``@held`` its user must log in again.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bergizi_redis.sessions.encoding import is_meta

VERSION, NEW, SEEN = b"@v", b"@new", b"@seen"
LOGGED_IN, ABSOLUTE, IDLE, INDEXED = b"@in", b"@abs", b"@idle", b"@idx"
USER, TENANT, IP, CLIENT = b"@uid", b"@ten", b"@ip", b"@ua"
ROLE, USER_TYPE, EMAIL, NAME, PERMISSIONS = b"@role", b"@kind", b"@mail", b"@name", b"@perm"
SHOWN_TO, HELD = b"@for", b"@held"
PASSED, PERMISSIONS_SEEN = b"@bar", b"@pbar"  # numbers of session_bar.lua, of the shard

LAYOUT = b"1"
AUTH_USER = b"_auth_user_id"  # a session key: django.contrib.auth.SESSION_KEY
CUSTOM_EXPIRY = b"_session_expiry"  # that of set_expiry()
NO_EXPIRY = b":null"
# set_expiry(0) is about the cookie, which ends with the browser; on the server the idle deadline slides.
WITH_BROWSER = (NO_EXPIRY, b":0", b"!0")
# What belongs to one log-in; it goes when the session changes hands or the user logs out.
LOGIN_FIELDS = (
    LOGGED_IN, ABSOLUTE, IDLE, INDEXED, USER, TENANT, IP, CLIENT, ROLE, USER_TYPE, EMAIL, NAME, PERMISSIONS,
    PASSED, PERMISSIONS_SEEN, SHOWN_TO, HELD,
)  # fmt: skip
# The session's own, never carried over to another key, which lies in another shard.
OWN = (NEW, SEEN, INDEXED, PASSED, PERMISSIONS_SEEN, SHOWN_TO, HELD)


@dataclass(slots=True)
class Record:
    """``raw`` holds every field; ``now`` and ``expiry`` (ms, -1: none) are the server's answer at ``read_at``."""

    raw: dict[bytes, bytes] = field(default_factory=dict)
    now: int = 0
    expiry: int = -1
    read_at: float = field(default_factory=time.monotonic)
    top: int = 0  # the highest barrier of the shard
    is_stale: bool = False  # the snapshot of permissions is out of date

    def text(self, name: bytes) -> str | None:
        raw = self.raw.get(name)
        return None if raw is None else raw.decode("utf-8", "replace")

    def number(self, name: bytes) -> int | None:
        try:
            return int(self.raw.get(name, b""))
        except ValueError:
            return None

    @property
    def user_id(self) -> str | None:
        return self.text(USER)

    @property
    def tenant(self) -> str | None:
        return self.text(TENANT)

    @property
    def is_held(self) -> bool:
        """Whether its user must log in again before it is good for anything."""
        return HELD in self.raw

    @property
    def slides(self) -> bool:
        """Whether use moves its end; else Django's own meaning holds: it counts from the last modification."""
        return self.number(IDLE) is not None and self.raw.get(CUSTOM_EXPIRY, NO_EXPIRY) in WITH_BROWSER

    @property
    def permissions(self) -> tuple[str, ...]:
        try:
            names = json.loads(self.raw.get(PERMISSIONS, b"[]"))
        except ValueError:  # a damaged snapshot permits nothing
            return ()
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    def permits(self, permission: str) -> bool:
        """What the snapshot says; that of a superuser is ``true``."""
        return self.raw.get(PERMISSIONS) == b"true" or permission in self.permissions

    @property
    def server_now(self) -> int:
        """The server's clock now, ms, as well as it can be known without asking."""
        return self.now + int((time.monotonic() - self.read_at) * 1000)

    def ended(self) -> bool:
        """Past the absolute deadline, though somebody took the TTL away."""
        deadline = self.number(ABSOLUTE)
        return deadline is not None and deadline <= self.now

    def cookie_age(self) -> float | None:
        """Seconds until idle or absolute deadline, whichever is first; None for a session without an idle one."""
        idle = self.number(IDLE)
        return None if idle is None else self.capped(float(idle))

    def capped(self, seconds: float) -> float:
        """``seconds``, but not beyond the absolute deadline."""
        deadline = self.number(ABSOLUTE)
        return seconds if deadline is None else min(seconds, (deadline - self.server_now) / 1000)

    def carried(self) -> "Record":
        """What goes along to a new key: the log-in with its deadlines, and whether it was Django's; not the data."""
        kept = {name: raw for name, raw in self.raw.items() if (is_meta(name) and name not in OWN) or name == AUTH_USER}
        return Record(kept, self.now, self.expiry, self.read_at)


def is_barred(reply: Any) -> bool:
    """Whether the reply of ``session_load.lua`` is of a session behind a barrier."""
    return reply is not None and not isinstance(reply, bytes) and not reply[2]


def record_of(reply: Any) -> Record | None:
    """The reply of ``session_load.lua``; None where there is no session, or none that this layout knows."""
    if reply is None or isinstance(reply, bytes):
        return None
    now, expiry, flat, *barriers = reply
    record = Record(dict(zip(flat[::2], flat[1::2], strict=True)), int(now), int(expiry))
    if barriers:
        record.top, record.is_stale = int(barriers[0]), bool(barriers[1])
    return None if VERSION not in record.raw or record.ended() else record


@dataclass(frozen=True, slots=True)
class Change:
    """What a save writes: fields whose bytes differ, moments (ms from the server's now), names to remove."""

    written: dict[bytes, bytes]
    moments: dict[bytes, int]
    removed: tuple[bytes, ...]

    def arguments(self, mode: str, life: int) -> list[Any]:
        """ARGV of ``session_save.lua``."""
        pairs = [item for pair in (*self.written.items(), *self.moments.items()) for item in pair]
        return [mode, life, len(self.written), len(self.moments), *pairs, *self.removed]


def change_of(before: Mapping[bytes, bytes], after: Mapping[bytes, bytes], moments: dict[bytes, int]) -> Change:
    """The difference by bytes: what another request changed meanwhile is not in it, and so survives."""
    written = {name: raw for name, raw in after.items() if before.get(name) != raw and name not in moments}
    removed = tuple(name for name in before if name not in after and name not in moments)
    return Change(written, moments, removed)
