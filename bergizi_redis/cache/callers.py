"""Whether a statement is that of a save or deletion that Django announces by signals, told from who called.

A signal says that an instance is being saved, not which statements are the save's: a receiver, or a field that numbers
its rows, may run an ``update()`` meanwhile. The caller on the stack does say it. Where the stack tells nothing the
statement counts as unannounced, which voids more and never less.
"""

import sys
from types import FrameType
from typing import Any

from django.db import models
from django.db.models import deletion, query

FURTHEST = 60  # frames
SAVES = models.base.__file__
DELETIONS = deletion.__file__
QUERIES = query.__file__
UNANNOUNCED = {"update", "bulk_create", "bulk_update", "abulk_create", "abulk_update", "_raw_delete", "aupdate"}


def announced(verb: str, table: str) -> list[Any] | None:
    """The instances whose save or deletion this statement on ``table`` is, or None where no signal tells of it."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(FURTHEST):
        if frame is None:
            return None
        place, name = frame.f_code.co_filename, frame.f_code.co_name
        if place == QUERIES and name in UNANNOUNCED:
            return None
        if place == SAVES and name == "_save_table" and verb in ("INSERT", "UPDATE"):
            return _saved(frame.f_locals, table)
        if place == DELETIONS and name == "delete" and verb == "DELETE":
            return _deleted(frame.f_locals.get("self"), table)
        frame = frame.f_back
    return None


def _saved(told: dict[str, Any], table: str) -> list[Any] | None:
    instance, kind = told.get("self"), told.get("cls")
    if kind is None or kind._meta.db_table.lower() != table:
        return None
    return [instance]


def _deleted(collector: Any, table: str) -> list[Any] | None:
    """Every instance that the collector deletes from the table; Django sends no signal for a table it made itself."""
    found = []
    for kind, instances in getattr(collector, "data", {}).items():
        if kind._meta.db_table.lower() == table:
            if kind._meta.auto_created:
                return None
            found += instances
    return found or None
