"""Another browser than the one that logged in sends the cookie: what ``SESSION_CLIENT_CHANGE`` says to do.

The fingerprint is the label: families of browser and system, without versions, so that an update changes nothing.

| policy | what happens | round trips |
| --- | --- | --- |
| ``ignore`` | nothing, and nothing is compared | 0 |
| ``event`` | the session goes on, and knows the new label; ``session_client_changed`` once | 2 |
| ``re-authenticate`` | the session is held: nobody has it, in any browser, until its user has logged in again | 2 |
| ``end`` | the session ends, for everybody who has its cookie | 2 |

Each is noted in the activity. When Redis is down meanwhile: ``end`` and ``re-authenticate`` raise
``RedisUnavailable``, for they must hold; an ``event`` goes unnoted. What a held session is: see ``holding``.
"""

import logging
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from bergizi_redis import signals
from bergizi_redis.conf import config
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange
from bergizi_redis.sessions import statistics, steps
from bergizi_redis.sessions.asking import aask, ask, evaluate_all
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.client import client_ip, noted_ip, noted_label
from bergizi_redis.sessions.events import Event, atell, tell
from bergizi_redis.sessions.record import CLIENT, HELD
from bergizi_redis.sessions.refusals import tell_why

logger = logging.getLogger("bergizi_redis.sessions")


@dataclass(frozen=True, slots=True)
class ClientChange:
    """``before`` and ``after`` are labels, "" for a browser that cannot be told."""

    policy: str
    event: Event
    before: str
    after: str

    @property
    def told(self) -> dict[str, Any]:
        """What the signal carries."""
        who = {"sid": self.event.sid, "user_id": self.event.user_id, "tenant": self.event.tenant}
        return {**who, "before": self.before, "after": self.after, "policy": self.policy}


def noticed(request: HttpRequest) -> ClientChange | None:
    """The change that this request shows, if there is one to act upon. Asks nothing."""
    session, policy = request.session, config.SESSION_CLIENT_CHANGE
    if policy == "ignore" or not isinstance(session, SessionStore) or (record := session.record) is None:
        return None
    if record.user_id is None or (before := record.text(CLIENT)) is None:
        return None
    if config.SESSION_CLIENT_PRIVACY == "off":
        return None
    after = noted_label(request.META.get("HTTP_USER_AGENT")) or ""
    # Where no browser is named there is no other one to note; to be let in is another matter.
    if after == before or (policy == "event" and not after):
        return None
    ip = noted_ip(client_ip(request))
    event = Event(False, session.sid or "", record.user_id, record.tenant, "client_changed", ip, after)
    return ClientChange(policy, event, before, after)


def _noting(change: ClientChange) -> Exchange[bool]:
    """Note the change; whether it is new. Of several requests at once that show it, one is told so."""
    new, old = (CLIENT, change.after.encode()), change.before.encode()
    if change.policy == "re-authenticate":
        new, old = (HELD, b"1"), b""
    there = yield from steps.on_session(change.event.sid, "session_note", [*new, old])
    if there:
        yield from evaluate_all(statistics.calls_for([change.event]))
    return bool(there)


def act(request: HttpRequest, change: ClientChange) -> None:
    """Do what the policy says, before the view runs."""
    session: Any = request.session
    if change.policy == "end":
        tell(SessionStore, ask(steps.end(change.event.sid, "client_changed"))[1])
        is_new = True
    else:
        try:
            is_new = ask(_noting(change))
        except RedisUnavailable as error:
            is_new = _unnoted(session, change, error)
    if is_new:
        signals.session_client_changed.send_robust(SessionStore, **change.told)
    session.meet(change.policy, change.after)
    tell_why(request)


async def aact(request: HttpRequest, change: ClientChange) -> None:
    """As ``act``."""
    session: Any = request.session
    if change.policy == "end":
        await atell(SessionStore, (await aask(steps.end(change.event.sid, "client_changed")))[1])
        is_new = True
    else:
        try:
            is_new = await aask(_noting(change))
        except RedisUnavailable as error:
            is_new = _unnoted(session, change, error)
    if is_new:
        await signals.session_client_changed.asend_robust(SessionStore, **change.told)
    session.meet(change.policy, change.after)
    tell_why(request)


def _unnoted(session: Any, change: ClientChange, error: RedisUnavailable) -> bool:
    if change.policy == "re-authenticate":
        session.unavailable = error
        raise error
    logger.warning("Could not note a client's change: %s", error, extra={"action": "session_client_unnoted"})
    return True
