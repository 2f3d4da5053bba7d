"""When a session ends, as its cookie and its TTL say it, and what keeps it alive.

Mixed into the store. One truth: the cookie's age is the key's TTL, to the second, and neither passes the absolute
deadline. ``set_expiry()`` keeps Django's meaning: it counts from the last change, and reading does not prolong it.
"""

from collections.abc import Sequence
from typing import Any

from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange
from bergizi_redis.sessions import steps
from bergizi_redis.sessions.expiry import Limits, login_limits
from bergizi_redis.sessions.holding import Holding
from bergizi_redis.sessions.record import CLIENT, Record


class Lifetime(Holding):
    """``touches``: whether use counts as activity; ``no_session_touch`` takes it away."""

    touches = True
    ended: Sequence[str] = ()  # why the session of this key has ended, if it did not long ago, or is held
    unavailable: RedisUnavailable | None = None  # the last answer, when it was an outage
    missing: RedisUnavailable | None = None  # the outage for which this request goes without its session
    _rotates = False  # the next save is that of a log-in, and changes the key
    _ahead = False  # loaded before anybody asked: the middleware touches when it has seen whether somebody did
    _record: Record | None
    _login: steps.Login | None

    def binds(self) -> bool:
        """Whether the next save writes a log-in. Asks nothing."""
        user_id = getattr(self, "_session_cache", {}).get("_auth_user_id")
        bound = self._record.user_id if self._record is not None else None
        return user_id is not None and (self._login is not None or str(user_id) != bound)

    def note_rotation(self) -> None:
        """Let the next save change the key if the same user has logged in again: Django's ``login()`` keeps it then.

        Source: OWASP ASVS 5.0, 7.2.4: a new token at each authentication, re-authentication included.
        """
        bound = self._record.user_id if self._record is not None else None
        self._rotates = bound is not None and str(self.get("_auth_user_id")) == bound

    def _coming(self) -> Limits | None:
        """The limits that the next save gives to a new log-in, if there is one and a preset."""
        return login_limits() if self.binds() else None

    def get_session_cookie_age(self) -> int:
        """Seconds. Of a session with an idle deadline its own age, so that cookie and TTL agree."""
        if coming := self._coming():
            return int(coming.first)
        age = self._record.cookie_age() if self._record is not None else None
        return super().get_session_cookie_age() if age is None else int(age)

    def get_expiry_age(self, **kwargs: Any) -> int:
        return self._within(super().get_expiry_age(**kwargs))

    async def aget_expiry_age(self, **kwargs: Any) -> int:
        return self._within(await super().aget_expiry_age(**kwargs))

    def _within(self, age: int) -> int:
        if coming := self._coming():
            return min(age, int(coming.absolute))
        return age if self._record is None else int(self._record.capped(age))

    @property
    def record(self) -> Record | None:
        """The session as it was loaded or saved last; None before that."""
        return self._record

    def meet(self, policy: str, label: str) -> None:
        """Heed another browser than the one that logged in: know its name, hold the session, or have none for it."""
        if policy == "event" and self._record is not None:
            self._record.raw[CLIENT] = label.encode()
        elif policy == "re-authenticate" and self._record is not None:
            self.hold(self._record)
        else:
            self.let_go()

    def let_go(self) -> None:
        """Have no session in this request. What Redis holds and the cookie stay as they are."""
        self._session_key, self._record = None, Record()
        self._session_cache: dict[str, Any] = {}

    # Loading and touching

    def _loading(self) -> Exchange[Record | None]:
        self.ended = why = list[str]()
        return steps.load(self._sid(), touches=self.touches and not self._ahead, why=why)

    def prefetch(self) -> None:
        """Load now, so that later access costs nothing, without counting as access or activity."""
        if self.session_key is not None and not hasattr(self, "_session_cache"):
            self._ahead = True
            self._session_cache = self.load()

    async def aprefetch(self) -> None:
        """As ``prefetch``."""
        if self.session_key is not None and not hasattr(self, "_session_cache"):
            self._ahead = True
            self._session_cache = await self.aload()

    def touch(self) -> bool:
        """Note the use if it is time to, 1 round trip once in ``TOUCH_EVERY``. Whether the idle deadline has moved."""
        record = self._touchable()
        return record is not None and self._touched(self._ask(steps.touch(self._sid(), record)))

    async def atouch(self) -> bool:
        """As ``touch``."""
        record = self._touchable()
        return record is not None and self._touched(await self._aask(steps.touch(self._sid(), record)))

    def _touchable(self) -> Record | None:
        record = self._record
        due = self.touches and self.session_key is not None and record is not None and steps.touch_due(record)
        return record if due else None

    def _touched(self, record: Record | None) -> bool:
        if record is not None:  # None: ended meanwhile; the next request will see
            self._record = record
        return record is not None and record.slides

    def _sid(self) -> str:
        raise NotImplementedError

    def _ask(self, exchange: Any) -> Any:
        raise NotImplementedError

    async def _aask(self, exchange: Any) -> Any:
        raise NotImplementedError
