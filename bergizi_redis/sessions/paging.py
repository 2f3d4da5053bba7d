"""Pages of sessions, the longest-lived first, however many there are: a page is two round trips, wherever it lies.

A page begins behind the last session of the one before (keyset), so that log-ins and log-outs in between shift nothing.
A session that is used meanwhile moves ahead: it is not shown twice. ``total`` is exact but for sessions that were
lost, whose entries go when their page is read: that is one round trip more.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index
from bergizi_redis.sessions.asking import Call, aask, ask, evaluate_all, raise_first
from bergizi_redis.sessions.info import SessionInfo, info_of
from bergizi_redis.sessions.sweeping import tenants_noted

MOST = 500
CURSOR = re.compile(r"(\d{1,16}(?:\.\d{1,17})?)-([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Page:
    """``cursor`` names the next page, None on the last one; ``total`` counts all sessions of the list."""

    sessions: tuple[SessionInfo, ...]
    cursor: str | None
    total: int


def scope_of(tenant: str | None) -> str | None:
    """None for ``"@"``, which names the sessions that belong to no tenant, as in the rest of the package."""
    return None if tenant == keys.SHARED else tenant


def page_for_user(user_id: object, cursor: str | None = None, size: int = 50) -> Page:
    """A page of the user's sessions; ``size`` is 1 to 500. Raises ``ValueError`` for what is no cursor or size."""
    return ask(_page(keys.user_sessions(user_id), cursor, size, user_id=str(user_id)), budget=config.COMMAND_TIMEOUT)


async def apage_for_user(user_id: object, cursor: str | None = None, size: int = 50) -> Page:
    """As ``page_for_user``."""
    page = _page(keys.user_sessions(user_id), cursor, size, user_id=str(user_id))
    return await aask(page, budget=config.COMMAND_TIMEOUT)


def page_for_tenant(tenant: str | None, cursor: str | None = None, size: int = 50) -> Page:
    """As ``page_for_user``, of a tenant; "@" or None: the sessions of no tenant. Raises ``TenantError`` too."""
    tenant = scope_of(tenant)
    return ask(_page(keys.tenant_sessions(tenant), cursor, size, tenant=tenant), budget=config.COMMAND_TIMEOUT)


async def apage_for_tenant(tenant: str | None, cursor: str | None = None, size: int = 50) -> Page:
    """As ``page_for_tenant``."""
    tenant = scope_of(tenant)
    page = _page(keys.tenant_sessions(tenant), cursor, size, tenant=tenant)
    return await aask(page, budget=config.COMMAND_TIMEOUT)


def first_of_all(most: int) -> tuple[list[SessionInfo], bool]:
    """Sessions of all tenants and of none, ``most`` at most, and whether that is all: 1 round trip, and the pages'."""
    found: list[SessionInfo] = []
    for tenant in ask(tenants_noted(0), budget=config.COMMAND_TIMEOUT):
        cursor: str | None = None
        while True:
            page = page_for_tenant(tenant, cursor, MOST)
            found += page.sessions
            cursor = page.cursor
            if len(found) > most:
                return found[:most], False
            if cursor is None:
                break
    return found, True


def _page(listing: str, cursor: str | None, size: int, **whose: Any) -> Exchange[Page]:
    if not 1 <= size <= MOST:
        raise ValueError(f"size is {size!r}; give 1 to {MOST}.")
    place = CURSOR.fullmatch(cursor or "")
    if cursor is not None and place is None:
        raise ValueError(f"{cursor[:80]!r} is no cursor; give the one of the page before, or None for the first page.")
    after = ("", "") if place is None else (place[1], place[2])
    total, *flat = yield from evaluate(script("session_page"), [listing], [size + 1, *after])
    entries = [(sid.decode(), score.decode()) for sid, score in zip(flat[::2], flat[1::2], strict=True)]
    sids = [sid for sid, _ in entries[:size]]
    barred = set[str]()  # no ghosts: their clean-up will look for them here
    records = (yield from index.records(sids, barred)) if sids else {}
    name, owner = next(iter(whose.items()))
    found = {sid: record for sid, record in records.items() if (getattr(record, name) or None) == owner}
    total = int(total) - len(barred)
    if lost := [sid for sid in sids if sid not in found and sid not in barred]:
        grace = max(5, math.ceil(2 * config.REQUEST_BUDGET))
        (removed,) = yield from evaluate_all([Call(script("session_prune"), listing, [grace, *lost])])
        raise_first([removed])
        total -= int(removed)
    infos = (info_of(sid, found[sid]) for sid in sids if sid in found)
    sid, score = entries[size - 1] if len(entries) > size else ("", "")
    return Page(tuple(info for info in infos if info), f"{score}-{sid}" if sid else None, total)
