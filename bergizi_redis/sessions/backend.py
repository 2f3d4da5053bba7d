"""``SESSION_ENGINE = "bergizi_redis.sessions.backend"``: Django's sessions, a hash each.

Promise: one round trip to load, one to save; two requests that change different keys of one session both survive;
a session that has ended never comes back; the key of the cookie is nowhere in Redis. Sync and async natively.
When Redis is down: ``RedisUnavailable``, never an empty session, and no save is taken for a success.
"""

from typing import Any

from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange
from bergizi_redis.sessions import steps
from bergizi_redis.sessions.asking import aask, ask
from bergizi_redis.sessions.belonging import Belonging
from bergizi_redis.sessions.encoding import Codec
from bergizi_redis.sessions.events import Event, atell, tell
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.sessions.lifetime import Lifetime
from bergizi_redis.sessions.merging import merging_for
from bergizi_redis.sessions.moving import aend_old, amove_in, end_old, move_in
from bergizi_redis.sessions.placing import Placing
from bergizi_redis.sessions.record import Record
from bergizi_redis.tenancy import find_tenant

ENDED_MEANWHILE = (
    "The session was ended before its key could be changed. The user may have logged out in a concurrent request."
)
CREATE_TRIES = 3  # a collision of 128 bits does not happen by chance


class SessionStore(Lifetime, Placing, Belonging):
    """One session. ``sid`` is its public id: the one to show, log and revoke by."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self._codec = Codec(self.serializer)
        self._record: Record | None = None  # None: not asked yet
        self._login: steps.Login | None = None

    @property
    def sid(self) -> str | None:
        return None if self.session_key is None else sid_of(self.session_key)

    def note_login(
        self, *, tenant: str | None, ip: str | None, client: str | None, permissions: str | None = None
    ) -> None:
        """Say what the next save shall write of the log-in: tenant, address, label of browser and system."""
        self.take_up()
        self._login = steps.Login(tenant, ip, client, permissions, self._record.top if self._record else 0)
        self.note_rotation()

    def logs_in(self) -> bool:
        """Whether the next save binds a user of whom nothing is noted yet. Asks nothing."""
        return self._login is None and self.binds()

    # Loading

    def load(self) -> dict[str, Any]:
        return self._loaded((self._ask(self._loading()) or move_in(self)) if self.session_key else None)

    async def aload(self) -> dict[str, Any]:
        loaded = (await self._aask(self._loading()) or await amove_in(self)) if self.session_key else None
        return self._loaded(loaded)

    def _sid(self) -> str:
        assert self.session_key is not None
        return sid_of(self.session_key)

    def _loaded(self, record: Record | None) -> dict[str, Any]:
        if record is None:
            # As Django does: an unknown key, which the client may have chosen, is never taken over.
            self._session_key = None
            self._record = Record()
            return {}
        if record.is_held:
            self.hold(record)
            return {}
        self._record = record
        return self._codec.decode(record.raw, self._sid())

    # Saving

    def save(self, must_create: bool = False) -> None:
        if self.session_key is None:
            return self.create()
        if self._rotates and not must_create:
            return self.cycle_key()
        sid = self._sid()
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]
        if self._record is None and not must_create:  # cleared before it was ever loaded
            self._record = self._ask(steps.load(sid))
        this = self._held(self._save_of(sid, data, must_create))
        tell(type(self), self._saved(*self._ask(steps.save(this))))
        return None

    async def asave(self, must_create: bool = False) -> None:
        if self.session_key is None:
            return await self.acreate()
        if self._rotates and not must_create:
            return await self.acycle_key()
        sid = self._sid()
        data = await self._aget_session(no_load=must_create)  # type: ignore[attr-defined]
        if self._record is None and not must_create:
            self._record = await self._aask(steps.load(sid))
        this = await self._aheld(self._save_of(sid, data, must_create))
        await atell(type(self), self._saved(*await self._aask(steps.save(this))))
        return None

    def _save_of(self, sid: str, data: dict[str, Any], must_create: bool) -> steps.Save:
        if not must_create and (self._record is None or self.session_key is None):
            raise UpdateError
        base = self._record or Record()
        user_id = data.get("_auth_user_id")
        login = self._login
        if user_id is not None and login is None and str(user_id) != base.user_id:
            login = steps.Login(tenant=find_tenant())
        return steps.Save(
            sid=sid,
            fields=self._codec.encode(data, base.raw),
            base=base.carried() if must_create else base,
            life=int(1000 * self.get_expiry_age(expiry=data.get("_session_expiry"))),
            user_id=None if user_id is None else str(user_id),
            login=login,
            create=must_create,
            merging=merging_for(self._codec, data),
            succeeds=self.succeeds,
        )

    def _saved(self, record: Record, events: list[Event]) -> list[Event]:
        self._record, self._login, self._rotates, self.succeeds = record, None, False, None
        self._placed()
        return events

    def create(self) -> None:
        old = self.session_key
        self._replaced = () if old is None else (sid_of(old),)
        for _ in range(CREATE_TRIES):
            self._session_key, self._next_key = self._next_key or new_key(), None
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            except BaseException:
                self._session_key = old  # not made, for all we know; the next save shall make one
                raise
            self.modified = True
            return
        raise RuntimeError(f"No free session key in {CREATE_TRIES} tries: is the random source broken?")

    async def acreate(self) -> None:
        old = self.session_key
        self._replaced = () if old is None else (sid_of(old),)
        for _ in range(CREATE_TRIES):
            self._session_key, self._next_key = self._next_key or new_key(), None
            try:
                await self.asave(must_create=True)
            except CreateError:
                continue
            except BaseException:
                self._session_key = old  # not made, for all we know; the next save shall make one
                raise
            self.modified = True
            return
        raise RuntimeError(f"No free session key in {CREATE_TRIES} tries: is the random source broken?")

    # Ending

    def delete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            tell(type(self), self._ask(steps.end(sid_of(key), "logout"))[1])
            end_old(key)

    async def adelete(self, session_key: str | None = None) -> None:
        if key := session_key or self.session_key:
            await atell(type(self), (await self._aask(steps.end(sid_of(key), "logout")))[1])
            await aend_old(key)

    def flush(self) -> None:
        super().flush()
        self._record, self._login = Record(), None
        self._placed()

    async def aflush(self) -> None:
        await super().aflush()
        self._record, self._login = Record(), None
        self._placed()

    def cycle_key(self) -> None:
        """A new key for the same data and log-in. A logged-in session that ended meanwhile stays ended: 400."""
        data, old = self._session, self.session_key  # type: ignore[attr-defined]
        logged_in = self._record is not None and self._record.user_id is not None
        self.create()
        self._session_cache = data
        if old is not None:
            there, events = self._ask(steps.end(sid_of(old), "cycled"))
            tell(type(self), events)
            if logged_in and not there:
                self.flush()
                raise SessionInterrupted(ENDED_MEANWHILE)

    async def acycle_key(self) -> None:
        """As ``cycle_key``."""
        data, old = await self._aget_session(), self.session_key  # type: ignore[attr-defined]
        logged_in = self._record is not None and self._record.user_id is not None
        await self.acreate()
        self._session_cache = data
        if old is not None:
            there, events = await self._aask(steps.end(sid_of(old), "cycled"))
            await atell(type(self), events)
            if logged_in and not there:
                await self.aflush()
                raise SessionInterrupted(ENDED_MEANWHILE)

    # Asking

    def exists(self, session_key: str | None) -> bool:
        return bool(session_key) and self._ask(steps.exists(sid_of(session_key or "")))

    async def aexists(self, session_key: str | None) -> bool:
        return bool(session_key) and await self._aask(steps.exists(sid_of(session_key or "")))

    @classmethod
    def clear_expired(cls) -> None:
        """Nothing to do: Redis drops what has expired."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Nothing to do: Redis drops what has expired."""

    def _ask(self, exchange: Exchange[Any]) -> Any:
        try:
            reply = ask(exchange)
        except RedisUnavailable as error:
            self.unavailable = error
            raise
        self.unavailable = None
        return reply

    async def _aask(self, exchange: Exchange[Any]) -> Any:
        try:
            reply = await aask(exchange)
        except RedisUnavailable as error:
            self.unavailable = error
            raise
        self.unavailable = None
        return reply
