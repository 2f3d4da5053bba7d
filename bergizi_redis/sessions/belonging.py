"""A session belongs to the tenant of its log-in: for another tenant's pages its cookie is a stranger's.

``TenantMiddleware`` asks the session as soon as it knows the tenant that a request names; ``validate_session`` asks by
itself. A session of another tenant is none then, for this request alone: nobody is signed in, the session lives on
where it belongs, and so does its cookie. A session without a tenant, and a request without one, belong anywhere.
``SESSION_TENANT_MISMATCH = "ignore"`` lets every session in everywhere.

Each session tells of each tenant that it was shown to once, until it is shown to another: counted for its own tenant,
noted in the activity, ``session_tenant_mismatch`` sent. Round trips: 0; 2 for a mismatch that is new. When Redis is
down it goes untold, and the session stays out all the same.
"""

import logging
from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from bergizi_redis import keys, signals
from bergizi_redis.conf import config
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import statistics
from bergizi_redis.sessions.asking import aask, ask, evaluate_all
from bergizi_redis.sessions.client import client_ip, noted_ip, noted_label
from bergizi_redis.sessions.events import Event
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.record import SHOWN_TO, Record

logger = logging.getLogger("bergizi_redis.sessions")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A session of ``event.tenant`` that was shown to the tenant ``visited``; ``before``: the last one it was."""

    event: Event
    visited: str
    before: str

    @property
    def is_new(self) -> bool:
        return self.visited != self.before

    @property
    def told(self) -> dict[str, Any]:
        """What the signal carries."""
        who = {"sid": self.event.sid, "user_id": self.event.user_id, "tenant": self.event.tenant}
        return {**who, "visited": self.visited}


def mismatch_of(sid: str, record: Record | None, tenant: str | None, request: HttpRequest | None = None) -> Any:
    """The ``Mismatch``, if the session belongs to another tenant than this one; else None. Asks nothing."""
    if record is None or record.user_id is None or tenant is None or record.tenant in (None, tenant):
        return None
    if config.SESSION_TENANT_MISMATCH == "ignore":
        return None
    ip = None if request is None else noted_ip(client_ip(request))
    label = None if request is None else noted_label(request.META.get("HTTP_USER_AGENT"))
    event = Event(False, sid, record.user_id, record.tenant, "tenant_mismatch", ip, label)
    return Mismatch(event, tenant, record.text(SHOWN_TO) or "")


def _noting(this: Mismatch) -> Exchange[bool]:
    """Note the mismatch; whether it is new: of several requests at once, one is told so."""
    noted = yield from evaluate(
        script("session_note"), [keys.session(this.event.sid)], [SHOWN_TO, this.visited, this.before]
    )
    if noted:
        yield from evaluate_all(statistics.calls_for([this.event]))
    return bool(noted)


def tell_mismatch(sender: Any, this: Mismatch) -> None:
    """Count it and send the signal, if it is new."""
    try:
        is_new = this.is_new and ask(_noting(this))
    except RedisUnavailable as error:
        is_new = _untold(error)
    if is_new:
        signals.session_tenant_mismatch.send_robust(sender, **this.told)


async def atell_mismatch(sender: Any, this: Mismatch) -> None:
    """As ``tell_mismatch``."""
    try:
        is_new = this.is_new and await aask(_noting(this))
    except RedisUnavailable as error:
        is_new = _untold(error)
    if is_new:
        await signals.session_tenant_mismatch.asend_robust(sender, **this.told)


def _untold(error: RedisUnavailable) -> bool:
    logger.warning("Could not note a tenant's mismatch: %s", error, extra={"action": "session_mismatch_untold"})
    return True


class Belonging(SessionBase):
    """Mixed into the store: what ``TenantMiddleware`` asks."""

    _record: Record | None
    unavailable: RedisUnavailable | None

    def heed_tenant(self, request: HttpRequest, tenant: str) -> None:
        """Have no session in this request if it is another tenant's. Loads it, if nobody has yet."""
        try:
            if self._unloaded():
                self._session_cache: dict[str, Any] = self.load()
        except RedisUnavailable:  # whoever needs the session will see
            return
        if (this := mismatch_of(sid_of(self.session_key or ""), self._record, tenant, request)) is not None:
            tell_mismatch(type(self), this)
            self._be_a_stranger(request)

    async def aheed_tenant(self, request: HttpRequest, tenant: str) -> None:
        """As ``heed_tenant``."""
        try:
            if self._unloaded():
                self._session_cache = await self.aload()
        except RedisUnavailable:
            return
        if (this := mismatch_of(sid_of(self.session_key or ""), self._record, tenant, request)) is not None:
            await atell_mismatch(type(self), this)
            self._be_a_stranger(request)

    def _unloaded(self) -> bool:
        """Only Django's own middleware leaves it so."""
        asks = config.SESSION_TENANT_MISMATCH != "ignore" and self.unavailable is None
        return asks and self.session_key is not None and not hasattr(self, "_session_cache")

    def _be_a_stranger(self, request: HttpRequest) -> None:
        self.let_go()
        self.keeps_cookie = self.accessed = True  # the answer depends on the cookie, which is good elsewhere
        if hasattr(request, "user"):
            from django.contrib.auth.models import AnonymousUser  # only where auth is installed

            request.user = AnonymousUser()
            for cached in ("_cached_user", "_acached_user"):
                request.__dict__.pop(cached, None)

    def let_go(self) -> None:
        raise NotImplementedError
