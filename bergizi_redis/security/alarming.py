"""Which signals raise an alert, where ``ALERTS`` is on, and which end it. No receiver raises.

Of those who are unknown at a tenant all locks are one alert: made-up names could raise any number.
"""

import logging
import time
from typing import Any

from bergizi_redis import signals
from bergizi_redis.conf import config
from bergizi_redis.security import alerts
from bergizi_redis.security.alerts import Alert, end_alert, end_due_alerts, raise_alert
from bergizi_redis.security.auditing import Receiver, _tenant
from bergizi_redis.security.courier import COURIER
from bergizi_redis.security.postponed import POSTPONED
from bergizi_redis.security.recording import replayed
from bergizi_redis.security.steps import run
from bergizi_redis.security.subjects import user_id_of

logger = logging.getLogger("bergizi_redis.security")

PLACE = "bergizi_redis.security.alarming"
EVERY = 30.0  # seconds between two looks of a process for alerts that are over
_looked = 0.0


def quietly(receiver: Receiver) -> Receiver:
    def guarded(sender: Any, **about: Any) -> None:
        try:
            if config.ALERTS:
                receiver(sender, **about)
        except Exception:
            logger.exception("An alert was not raised", extra={"action": "alert_failed", "by": receiver.__name__})

    return guarded


@quietly
def account_locked(
    sender: Any, identifier: str, tenant: str, scope: str, failures: int, retry_after: float, capped: bool, **about: Any
) -> None:
    if about.get("device"):  # everybody else signs in as before
        return
    facts = {"scope": scope, "failures": failures, "capped": capped}
    subject = user_id_of(identifier, tenant) or ""
    raise_alert(Alert(alerts.LOCKED, subject, _tenant(tenant), facts), quiet=float(retry_after or 0))


@quietly
def account_unlocked(sender: Any, identifier: str, tenant: str, **about: Any) -> None:
    if subject := user_id_of(identifier, tenant):
        end_alert(alerts.LOCKED, subject, _tenant(tenant))


@quietly
def spray_detected(
    sender: Any, kind: str, tenant: str, scope: str, network: str | None, identifier: str | None, count: int,
    limit: int, **about: Any,
) -> None:  # fmt: skip
    facts = {"scope": scope, "count": count, "limit": limit}
    subject = network or (user_id_of(identifier, tenant) if identifier else "") or ""
    raise_alert(Alert(kind, subject, _tenant(tenant), facts))


@quietly
def succeeded_after_failures(
    sender: Any, identifier: str, tenant: str, scope: str, failures: int, user: Any, **about: Any
) -> None:
    subject = str(getattr(user, "pk", None) or user_id_of(identifier, tenant) or "")
    raise_alert(Alert(alerts.SUCCESS, subject, _tenant(tenant), {"scope": scope, "failures": failures}))


def at_request(sender: Any, **about: Any) -> None:
    """After a response: have what an outage held up written, and told what is over. Asks nothing itself."""
    global _looked
    if POSTPONED:
        COURIER.send_once(lambda: run(replayed()), "events that waited for Redis")
    now = time.monotonic()
    if now - _looked >= EVERY and config.ALERTS:
        _looked = now
        COURIER.send_once(end_due_alerts, "alerts that are over")


def connect() -> None:
    """Listen; twice is once."""
    from django.core.signals import request_finished

    signals.account_locked.connect(account_locked, dispatch_uid=f"{PLACE}.locked")
    signals.account_unlocked.connect(account_unlocked, dispatch_uid=f"{PLACE}.unlocked")
    signals.spray_detected.connect(spray_detected, dispatch_uid=f"{PLACE}.spray")
    signals.success_after_failures.connect(succeeded_after_failures, dispatch_uid=f"{PLACE}.success")
    request_finished.connect(at_request, dispatch_uid=f"{PLACE}.request")
