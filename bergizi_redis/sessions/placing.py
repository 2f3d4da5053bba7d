"""A store's place among the sessions of its user, where ``SESSION_LIMIT`` holds their number. See ``quotas``.

Mixed into the store. ``login()`` takes the place at once, so that a refusal reaches the view that logs in; what logs in
without the signal is given its place by the save. Asks nothing where no limit is set.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange
from bergizi_redis.sessions import quotas, steps
from bergizi_redis.sessions.identity import new_key, sid_of
from bergizi_redis.sessions.record import ROLE, Record

TOLD = (quotas.EVICTED, quotas.REVOKED, quotas.CLIENT_CHANGED)


class Placing(SessionBase):
    """``why_ended``, after loading: one of ``TOLD``, if the session of this key has ended lately for it; else None."""

    role: str | None = None  # of who logs in, for a limit by role
    ended: Sequence[str]
    _record: Record | None
    _login: steps.Login | None
    _next_key: str | None = None  # of the session to be made, when its place is taken already
    _replaced: tuple[str, ...] = ()  # sids that a new key takes the place of
    succeeds: str | None
    _quota: quotas.Quota | None = None
    _place: quotas.Place | None = None

    @property
    def why_ended(self) -> str | None:
        return next((why for why in self.ended if why in TOLD), None)

    def take_place(self) -> None:
        """Take the place of the log-in that the next save writes: 1 round trip. Raises ``SessionLimitReached``."""
        user_id = str(self["_auth_user_id"])
        has_place = self._record is not None and self._record.user_id == user_id
        tenant = self._login.tenant if self._login is not None else None
        quota = None if has_place else quotas.quota_for(user_id, self.role, tenant)
        if quota is None:
            return
        key = self.session_key
        if key is None:
            key = self._next_key = new_key()
        life = int(1000 * self.get_expiry_age())
        replaced = () if self.succeeds is None else (self.succeeds,)
        self._quota, self._place = quota, self._ask(quotas.admit(sid_of(key), user_id, life, quota, tenant, replaced))

    def _held(self, this: steps.Save) -> steps.Save:
        """The save, held to the limit if it logs in."""
        if self._is_login(this):
            this.quota = this.quota or quotas.quota_for(this.user_id or "", self._role(this), self._tenant(this))
        return this

    async def _aheld(self, this: steps.Save) -> steps.Save:
        if self._is_login(this):
            this.quota = this.quota or await quotas.aquota_for(this.user_id or "", self._role(this), self._tenant(this))
        return this

    def _is_login(self, this: steps.Save) -> bool:
        if not config.SESSION_LIMIT or this.user_id is None:
            return False
        if this.user_id != this.base.user_id:
            this.quota, this.place = self._quota, self._place
            this.replaced = () if self.succeeds is None else (self.succeeds,)
            return True
        if this.create:  # another key for a session that has its place
            this.quota, this.replaced = quotas.ANY_NUMBER, self._replaced
        return False

    def _role(self, this: steps.Save) -> str | None:
        return self.role or this.base.text(ROLE)

    def _tenant(self, this: steps.Save) -> str | None:
        return this.login.tenant if this.login is not None else None

    def _placed(self) -> None:
        """What was noted for this log-in is used up."""
        self._quota = self._place = self._next_key = None
        self._replaced = ()

    def _ask(self, exchange: Exchange[Any]) -> Any:
        raise NotImplementedError
