"""The settings of the audit trail and of alerts; ``conf.config`` has them with all others."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from bergizi_redis.setting import SECONDS, Setting, are_names, is_positive


def are_addresses(value: Any) -> bool:
    """http(s) URLs with a host."""
    try:
        parts = [urlsplit(url) for url in value]
    except (ValueError, AttributeError, TypeError):
        return False
    return all(part.scheme in ("http", "https") and part.hostname for part in parts)


class AuditConfig:
    """Read ``config.NAME``; never write."""

    AUDIT = Setting(
        False, "Note log-ins, failures, locks, sessions, passwords and permissions in the audit trail: 1 round trip"
        " each. What a project records itself is noted either way.",
    )  # fmt: skip
    AUDIT_RETENTION = Setting(
        30 * 24 * 3600, "Seconds that events are kept in Redis.", types=SECONDS,
        valid=lambda value: 3600 <= value <= 3660 * 24 * 3600,
    )  # fmt: skip
    AUDIT_MAXLEN = Setting(
        2000, "Events kept of each user, five times as many of those who are unknown at a tenant; some 450 bytes each.",
        valid=lambda value: 10 <= value <= 100_000,
    )  # fmt: skip
    AUDIT_KEY = Setting[Any](
        "", "Secret that signs the trail, or a list: the first signs, the others verify what they signed before. `''`:"
        " `SECRET_KEY`, then `SECRET_KEY_FALLBACKS`.",
        types=(str, tuple, list), valid=are_names,
    )  # fmt: skip
    AUDIT_SINKS = Setting[Sequence[str]](
        ("logger",), "Where events go besides Redis: `logger`, `database`, `file`, or dotted paths of `sink(entry)`.",
        types=(tuple, list), valid=are_names,
    )  # fmt: skip
    AUDIT_FILE = Setting("", "Path of the file that the sink `file` appends JSON lines to.")
    ALERTS = Setting(
        False, "Tell of locked accounts, sprayed and distributed guessing, successes after failures and broken trails."
    )
    ALERT_WINDOW = Setting(
        3600, "Seconds of quiet after which an alert is over; until then its subject raises no other.", types=SECONDS,
        valid=is_positive,
    )  # fmt: skip
    ALERT_LIMIT = Setting(
        20, "Alerts of one kind that a tenant raises in a window at most; the rest are only logged.", valid=is_positive
    )
    ALERT_WEBHOOKS = Setting[Sequence[str]](
        (), "http(s) URLs that each alert is posted to, as JSON.", types=(tuple, list), valid=are_addresses
    )
    ALERT_WEBHOOK_KEY = Setting("", "Secret that signs what is posted: see the header `Bergizi-Signature`.")
    ALERT_EMAILS = Setting[Sequence[str]](
        (), "Addresses that each alert is mailed to, by Django's mail.", types=(tuple, list), valid=are_names
    )
