"""Recording: an event on its way to the trail and the sinks, and what becomes of it while Redis is down.

Procedures of steps, see ``steps``; ``audit`` speaks them. Round trips: see ``trails``.
"""

import dataclasses
import logging
import time
from collections.abc import Mapping
from typing import Any, TypedDict

from redis.exceptions import MaxConnectionsError, RedisError

from bergizi_redis.addresses import client_ip
from bergizi_redis.connections import explain, is_outage
from bergizi_redis.security.courier import COURIER
from bergizi_redis.security.entries import Draft, Entry, draft, entry_of
from bergizi_redis.security.postponed import POSTPONED
from bergizi_redis.security.sinks import Deliver
from bergizi_redis.security.steps import Steps, run
from bergizi_redis.security.trails import appended
from bergizi_redis.tenancy import find_tenant

logger = logging.getLogger("bergizi_redis.security")


class About(TypedDict, total=False):
    """What may be said of an event; see ``audit.record``."""

    tenant: str | None
    actor: object | None
    outcome: str | None
    reason: str
    details: Mapping[str, Any]
    ip: str | None
    user_agent: str | None
    request: Any
    request_id: str | None


def drafted(event: str, user_id: object | None, about: About, same: str = "", same_ms: int = 0) -> Draft:
    """``same`` and ``same_ms``: see ``Draft``. Raises ``ValueError``."""
    request = about.get("request")
    headers = getattr(request, "META", {})
    return draft(
        event, user_id, tenant=about.get("tenant") or find_tenant(), actor=about.get("actor"),
        outcome=about.get("outcome") or outcome_of(str(event)),
        ip=about.get("ip") or (client_ip(request) if request is not None else None),
        user_agent=about.get("user_agent") or headers.get("HTTP_USER_AGENT"), reason=about.get("reason", ""),
        request_id=about.get("request_id") or headers.get("HTTP_X_REQUEST_ID"), details=about.get("details"),
        same=same, same_ms=same_ms,
    )  # fmt: skip


def outcome_of(event: str) -> str:
    """What the event's name says: ``failure`` where something failed or was locked, else ``success``."""
    return "failure" if {"fail", "lock", "malicious", "reuse"} & set(event.split("_")) else "success"


def recorded(one: Draft) -> Steps[Entry]:
    """Write it, or keep it until Redis is back; then the sinks."""
    now = round(time.time() * 1000)
    try:
        receipt = yield from appended(one)
    except RedisError as error:
        if not _cannot_serve(error):
            logger.error("Redis refused an event (%s): %s", error, one.payload, extra={"action": "audit_refused"})
            raise
        _postpone(one, now, error)
        entry = entry_of(one.fields, now)
        yield Deliver(entry)
        return entry
    again = f"{receipt.times} {now}" if receipt.times else ""
    entry = entry_of(one.fields, receipt.ms, seq=receipt.seq, entry_id=receipt.id, again=again)
    if not receipt.times:
        yield Deliver(entry)
    if POSTPONED:
        COURIER.send_once(lambda: run(replayed()), "events that waited for Redis")
    return entry


def _cannot_serve(error: RedisError) -> bool:
    return is_outage(error) or isinstance(error, MaxConnectionsError)


def _postpone(one: Draft, now: int, error: RedisError) -> None:
    kept = POSTPONED.add(dataclasses.replace(one, noted=now))
    logger.error(
        "An event is not in the audit trail yet (%s): %s", explain(error), one.payload,
        extra={"action": "audit_postponed", "kept": kept, "dropped": POSTPONED.dropped},
    )  # fmt: skip


def replayed() -> Steps[int]:
    """Write what was kept; how many events."""
    written = 0
    while (one := POSTPONED.take()) is not None:
        try:
            yield from appended(one)
        except BaseException as error:
            POSTPONED.put_back(one)
            if isinstance(error, RedisError) and _cannot_serve(error):
                return written
            raise
        written += 1
    return written
