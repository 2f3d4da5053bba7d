"""The audit trail: who did what, when and from where, in a form that cannot be changed unseen.

Promise: an event that was recorded is in the trail, in order; who reads and writes Redis but does not hold the key
cannot change, move, add or take away one without ``verify`` telling where – see ``verdicts`` for what needs anchors.
Trails hold no secret and, with ``SESSION_CLIENT_PRIVACY``, as little of an address as is wanted; their names hold no
personal data. They are kept ``AUDIT_RETENTION`` (30 days) and bounded by ``AUDIT_MAXLEN``; attempts while an account is
locked become a count on one event, so that no flood pushes evidence out. Each goes to ``AUDIT_SINKS`` as well.

A user has a trail, whatever the tenant; those who are no known user share one of their tenant. Times are Redis's. Round
trips: see ``trails``; a record is one where this process wrote the trail's last event.

When Redis is down, after at most ``REQUEST_BUDGET``: recording logs the event, keeps it in this process, and writes it
when Redis is back, with the time at which it happened as ``noted``; reading raises ``RedisUnavailable``. Async twins
begin with ``a``.

Sources: OWASP Logging Vocabulary and Logging Cheat Sheets (names; what to leave out), OWASP ASVS 5.0 V16, RFC 2104.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Unpack

from bergizi_redis.security.anchors import Anchor
from bergizi_redis.security.entries import Entry, SecretRefused
from bergizi_redis.security.examining import anchored, examined, page, trail_of
from bergizi_redis.security.recording import About, drafted, recorded, replayed
from bergizi_redis.security.steps import Steps, arun, run
from bergizi_redis.security.verdicts import Problem, Verdict

__all__ = [
    "Anchor", "Entry", "Problem", "SecretRefused", "Verdict", "aanchor", "aevents", "anchor", "arecord", "areplay",
    "averify", "events", "record", "replay", "verify",
]  # fmt: skip


def record(event: str, user_id: object | None = None, **about: Unpack[About]) -> Entry:
    """Record what was done to, or by, a user; None: somebody unknown at the tenant. The entry as it was written.

    ``event``: of ``vocabulary``, or a project's own. ``actor``: who did it, where that is another. ``outcome``:
    ``success``, ``failure``, ``denied`` or ``unknown``; else as the event's name says. ``tenant``: else the one in
    force. ``request`` gives ``ip``, ``user_agent`` and ``request_id`` (``X-Request-ID``). ``reason``: a few words.
    ``details``: up to 16 small values. Raises ``ValueError`` for what is no event, ``SecretRefused``, which is one,
    for a detail that is called like a secret.
    """
    return run(recorded(drafted(event, user_id, about)))


async def arecord(event: str, user_id: object | None = None, **about: Unpack[About]) -> Entry:
    """As ``record``."""
    return await arun(recorded(drafted(event, user_id, about)))


def replay() -> int:
    """Write what was kept during an outage; how many events. Called by itself once Redis answers again."""
    return run(replayed())


async def areplay() -> int:
    """As ``replay``."""
    return await arun(replayed())


def events(
    user_id: object | None = None, since: datetime | float | None = None, *, tenant: str | None = None,
    limit: int = 1000,
) -> list[Entry]:  # fmt: skip
    """The newest ``limit`` events of a user, of the tenant alone where one is given; oldest first. One round trip.

    Without a user: those of who is unknown at the tenant. ``since``: aware datetime, or unix seconds. What cannot be
    read is left out here: ``verify`` names it. Raises ``RedisUnavailable``.
    """
    return run(_events(user_id, since, tenant, limit))


async def aevents(
    user_id: object | None = None, since: datetime | float | None = None, *, tenant: str | None = None,
    limit: int = 1000,
) -> list[Entry]:  # fmt: skip
    """As ``events``."""
    return await arun(_events(user_id, since, tenant, limit))


def _events(
    user_id: object | None, since: datetime | float | None, tenant: str | None, limit: int
) -> Steps[list[Entry]]:
    entries, _ = yield from page(user_id, tenant=tenant, since=since, size=limit)
    return entries[::-1]


def verify(user_id: object | None = None, *, tenant: str | None = None, anchors: Iterable[Anchor] = ()) -> Verdict:
    """Whether the trail is whole: a ``Verdict``, true if it is, whose ``problems`` say where it is not. One round trip.

    ``anchors``, as exported before: then also whether it was set back or deleted. Raises ``RedisUnavailable``.
    """
    return run(examined(trail_of(user_id, tenant), anchors))


async def averify(
    user_id: object | None = None, *, tenant: str | None = None, anchors: Iterable[Anchor] = ()
) -> Verdict:
    """As ``verify``."""
    return await arun(examined(trail_of(user_id, tenant), anchors))


def anchor(user_id: object | None = None, *, tenant: str | None = None) -> Anchor | None:
    """Where the trail ends now, signed, to be kept elsewhere; None of an empty one. Raises ``RedisUnavailable``."""
    return run(anchored(trail_of(user_id, tenant)))


async def aanchor(user_id: object | None = None, *, tenant: str | None = None) -> Anchor | None:
    """As ``anchor``."""
    return await arun(anchored(trail_of(user_id, tenant)))
