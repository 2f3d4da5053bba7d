"""Where alerts go: the signal ``security_alert`` and the log at once; webhooks and mail behind the request.

A webhook gets a POST of JSON. With ``ALERT_WEBHOOK_KEY`` it is signed: ``Bergizi-Signature: t=<unix time>,v1=<hex>``,
the HMAC-SHA256 of ``<t>.<body>``. Compare it, and refuse what is older than some minutes. It has ``PATIENCE`` seconds,
follows no redirect, and is not tried again: the log has every alert. What fails is logged.
"""

import hashlib
import hmac
import json
import logging
import time
import urllib.request
from functools import partial
from typing import Any

from django.core.mail import send_mail

from bergizi_redis import signals
from bergizi_redis.conf import config
from bergizi_redis.security.alertkinds import Alert
from bergizi_redis.security.courier import COURIER
from bergizi_redis.security.entries import plain

logger = logging.getLogger("bergizi_redis.security")

PATIENCE = 5.0  # seconds for one webhook
SIGNATURE = "Bergizi-Signature"


def deliver(alert: Alert) -> None:
    """Tell of it. Raises nothing."""
    level = logging.INFO if alert.is_over else logging.ERROR
    logger.log(level, "%s", _line(alert), extra={"action": "alert", "alert": alert.told})
    signals.security_alert.send_robust(type(alert), alert=alert)
    body = json.dumps(alert.told, separators=(",", ":")).encode()
    for url in config.ALERT_WEBHOOKS:
        COURIER.send(partial(post, url, body), "an alert's webhook")
    if config.ALERT_EMAILS:
        COURIER.send(partial(mail, alert), "an alert's mail")


def _line(alert: Alert) -> str:
    about = [alert.subject or "all who are unknown", f"tenant {alert.tenant}" if alert.tenant else "no tenant"]
    return plain(f"{alert.title}: {', '.join(about)}")


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """An address that a project has set is the one that is posted to."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(NoRedirects)


def post(url: str, body: bytes) -> None:
    """Raises ``OSError`` for what does not answer with 2xx in time."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310 – checked by the setting
    if config.ALERT_WEBHOOK_KEY:
        request.add_header(SIGNATURE, signature(config.ALERT_WEBHOOK_KEY, body, int(time.time())))
    with _opener.open(request, timeout=PATIENCE) as answer:
        answer.read(1024)


def signature(key: str, body: bytes, now: int) -> str:
    digest = hmac.digest(key.encode(), b"%d." % now + body, hashlib.sha256).hex()
    return f"t={now},v1={digest}"


def mail(alert: Alert) -> None:
    """By Django's mail, from ``DEFAULT_FROM_EMAIL``."""
    facts = "".join(f"{plain(name)}: {plain(value)}\n" for name, value in alert.told.items())
    send_mail(f"[{alert.kind}] {_line(alert)}"[:200], facts, None, list(config.ALERT_EMAILS))
