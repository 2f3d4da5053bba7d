"""What settings of the audit trail and of alerts get wrong. Reads settings alone; see ``checks``."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.core.checks import CheckMessage, Tags, register
from django.utils.module_loading import import_string

from bergizi_redis import checklist
from bergizi_redis.conf import SETTINGS_NAME
from bergizi_redis.security.sinks import NAMED
from bergizi_redis.wiring import value_of

SHORTEST_KEY = 32  # characters
LOCAL = ("localhost", "127.0.0.1", "::1")


@register("bergizi_redis", Tags.security)
def check_audit(app_configs: object = None, **kwargs: Any) -> list[CheckMessage]:
    """``AUDIT_SINKS``, ``AUDIT_KEY``, ``ALERT_WEBHOOKS``, ``ALERT_EMAILS``."""
    return [*_sinks(), *_keys(), *_alerts()]


def _sinks() -> Iterator[CheckMessage]:
    for name in value_of("AUDIT_SINKS"):
        if name == "file" and not value_of("AUDIT_FILE"):
            yield checklist.WRONG_SINK.found(f"{SETTINGS_NAME}['AUDIT_SINKS'] has 'file', and AUDIT_FILE is empty.")
        elif name not in NAMED and (problem := _uncallable(name)):
            yield checklist.WRONG_SINK.found(f"{SETTINGS_NAME}['AUDIT_SINKS'] has {name!r}, {problem}.")


def _uncallable(path: str) -> str:
    try:
        found = import_string(path)
    except ImportError as error:
        return f"which cannot be imported: {error}"
    return "" if callable(found) else "which cannot be called"


def _keys() -> Iterator[CheckMessage]:
    given = value_of("AUDIT_KEY")
    for number, key in enumerate([given] if isinstance(given, str) else given, 1):
        if key and len(key) < SHORTEST_KEY:
            yield checklist.SHORT_AUDIT_KEY.found(f"{SETTINGS_NAME}['AUDIT_KEY'], key {number}: {len(key)} characters.")


def _alerts() -> Iterator[CheckMessage]:
    hooks = value_of("ALERT_WEBHOOKS")
    if not value_of("ALERTS"):
        if hooks or value_of("ALERT_EMAILS"):
            yield checklist.SILENT_ALERTS.found(f"{SETTINGS_NAME}['ALERTS'] is False.")
        return
    for url in hooks:
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in LOCAL:
            where = f"{parts.scheme}://{parts.hostname}"  # no more: such addresses hold secrets
            yield checklist.OPEN_WEBHOOK.found(f"{SETTINGS_NAME}['ALERT_WEBHOOKS'] has {where}.")
    if hooks and not value_of("ALERT_WEBHOOK_KEY"):
        yield checklist.OPEN_WEBHOOK.found(f"{SETTINGS_NAME}['ALERT_WEBHOOK_KEY'] is empty.")
