"""Where events go besides Redis, as ``AUDIT_SINKS`` says: each is called with the entry, once, after it was written.

| name | what it does |
| --- | --- |
| ``logger`` | one line to the logger ``bergizi_redis.audit``, at the vocabulary's level |
| ``database`` | a row of ``AuditEvent``, in a savepoint; it goes with its transaction where that is rolled back |
| ``file`` | a line of JSON appended to ``AUDIT_FILE`` |

A sink that fails harms neither the log-in nor the others: it is logged and counted. What comes again while it is
coalesced goes to no sink; see ``times`` of the entry in Redis.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async

from bergizi_redis.conf import config, import_setting
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.security.entries import Entry
from bergizi_redis.security.vocabulary import level_of

logger = logging.getLogger("bergizi_redis.security")
lines = logging.getLogger("bergizi_redis.audit")

Sink = Callable[[Entry], object]
FAILURES: Counter[str] = Counter()  # by sink, of this process


def told(entry: Entry) -> dict[str, Any]:
    """The entry as JSON has it, without what is empty."""
    facts = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(entry).items()}
    return {name: value for name, value in facts.items() if value not in (None, "", {}, 0)}


def to_logger(entry: Entry) -> None:
    facts = told(entry)
    text = json.dumps(facts, ensure_ascii=True, separators=(",", ":"))  # one line, whatever stands in it
    lines.log(level_of(entry.event), "%s %s", entry.event, text, extra={"action": "audit", "audit": facts})


def to_database(entry: Entry) -> None:
    from django.db import router, transaction

    from bergizi_redis.models import AuditEvent

    with transaction.atomic(using=router.db_for_write(AuditEvent)):  # a savepoint, where a transaction is open
        AuditEvent.objects.create(
            at=entry.noted or entry.at, event=entry.event, user=entry.user_id or "", tenant=entry.tenant or "",
            actor=entry.actor or "", outcome=entry.outcome, network=entry.network or "", agent=entry.agent or "",
            reason=entry.reason, request=entry.request_id or "", entry=entry.id,
            details=json.dumps(entry.details) if entry.details else "",
        )  # fmt: skip


def to_file(entry: Entry) -> None:
    if not config.AUDIT_FILE:
        raise ConfigurationError("The sink 'file' needs BERGIZI_REDIS['AUDIT_FILE'], the path of its file.")
    line = json.dumps(told(entry), ensure_ascii=True, separators=(",", ":")) + "\n"
    # One write of a file opened to append: lines of several processes do not mix.
    descriptor = os.open(config.AUDIT_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


NAMED: dict[str, Sink] = {"logger": to_logger, "database": to_database, "file": to_file}


def deliver(entry: Entry) -> None:
    """To each sink. Raises nothing."""
    for name in config.AUDIT_SINKS:
        try:
            sink: Sink = NAMED.get(name) or import_setting("AUDIT_SINKS", name)
            sink(entry)
        except Exception:
            FAILURES[name] += 1
            logger.exception("The audit sink %r failed", name, extra={"action": "audit_sink_failed", "sink": name})


class Deliver:
    """The step that takes an entry to the sinks; from async code in the thread that Django keeps for the database."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def run(self) -> None:
        deliver(self.entry)

    async def arun(self) -> None:
        if set(config.AUDIT_SINKS) <= {"logger"}:
            deliver(self.entry)
        else:
            await sync_to_async(deliver)(self.entry)
