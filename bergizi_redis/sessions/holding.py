"""A session that is held: it lives on, and nobody is signed in by it until its user has logged in again.

That is what ``SESSION_CLIENT_CHANGE = "re-authenticate"`` does to a session whose cookie came from another browser. The
mark stands in the session, so it holds for every browser, the first one included; who logs in with the cookie, and is
the session's own user, has its data back under a new key, and anybody else has none of it. A request that was under way
goes on; a new key for the session, as after a change of the password, is refused as for one that has ended.
A part of the store; asks nothing: the load has read the mark, and the save of the log-in ends the held session.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from bergizi_redis.sessions.encoding import Codec
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.quotas import CLIENT_CHANGED
from bergizi_redis.sessions.record import AUTH_USER, Record


class Holding(SessionBase):
    """``succeeds``: the sid of the held session that the log-in of this request takes up; else None."""

    succeeds: str | None = None
    keeps_cookie = False  # whether the browser keeps a cookie that is of no use in this request
    ended: Sequence[str]
    _waiting: Record | None = None
    _waiting_sid = ""
    _record: Record | None
    _codec: Codec

    def hold(self, record: Record) -> None:
        """Have no session in this request, and remember whose it is."""
        self._waiting, self._waiting_sid = record, sid_of(self.session_key or "")
        self.let_go()
        self.keeps_cookie, self.ended = True, [CLIENT_CHANGED]

    def take_up(self) -> None:
        """At a log-in: go on with the data of the held session, if it is this user's."""
        held, self._waiting = self._waiting, None
        if held is None or held.user_id != str(self.get(AUTH_USER.decode())):
            return
        fresh = self._session  # type: ignore[attr-defined]
        self._session_cache: dict[str, Any] = {**self._codec.decode(held.raw, self._waiting_sid), **fresh}
        self.succeeds = self._waiting_sid

    def let_go(self) -> None:
        raise NotImplementedError
