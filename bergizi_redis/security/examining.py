"""Reading trails: pages of them, whether they are whole, and where they end.

Procedures of steps, one round trip each, or one for each 100 events where only some are wanted. An outage is
``RedisUnavailable``.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from django_redis.client.default import glob_escape
from redis.exceptions import RedisError, ResponseError

from bergizi_redis import auditkeys
from bergizi_redis.auditkeys import unknown_trail, user_trail
from bergizi_redis.conf import config
from bergizi_redis.connections import client, explain, is_outage
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.security.anchors import Anchor, anchor_of, moved
from bergizi_redis.security.chain import Signer
from bergizi_redis.security.entries import Entry
from bergizi_redis.security.steps import Steps
from bergizi_redis.security.trails import FIRST, LAST, read
from bergizi_redis.security.verdicts import UNREADABLE, Problem, Verdict, decoded, judge

BATCH = 100


def page(
    user_id: object | None, *, tenant: str | None = None, since: datetime | float | None = None, before: str = "",
    size: int = 50, event: str = "", tenants: Iterable[str] | None = None,
) -> Steps[tuple[list[Entry], str]]:  # fmt: skip
    """Newest first, and the id to go on ``before``, "" at the end. ``event``, ``tenants``: those alone."""
    scope = None if tenants is None else set(tenants)
    start, found = FIRST if since is None else str(_ms(since)), list[Entry]()
    until, batch = f"({before}" if before else LAST, max(size, BATCH)
    with unavailable_as_such():
        while True:
            reading = yield from read(trail_of(user_id, tenant), start, until, batch, newest_first=True)
            for row in reading.entries:
                try:
                    entry = decoded(row, reading.chain)
                except UNREADABLE:
                    continue
                fits = tenant in (None, entry.tenant) and (scope is None or entry.tenant in scope)
                if fits and event in ("", entry.event):
                    if len(found) == size:
                        return found, found[-1].id
                    found.append(entry)
            if len(reading.entries) < batch:
                return found, ""
            until = f"({reading.entries[-1][0]}"


def trail_of(user_id: object | None, tenant: str | None = None) -> str:
    """The name of the trail in which events of this user stand."""
    return unknown_trail(tenant) if user_id in (None, "") else user_trail(user_id)


def _ms(since: datetime | float) -> int:
    if not isinstance(since, datetime | float | int):
        raise TypeError(f"since={since!r}: give an aware datetime, or unix seconds.")
    return max(0, round((since.timestamp() if isinstance(since, datetime) else since) * 1000))


def examined(trail: str, anchors: Iterable[Anchor] = ()) -> Steps[Verdict]:
    try:
        with unavailable_as_such():
            reading = yield from read(trail)
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        return Verdict(trail, 0, 0, 0, 0, "", (Problem(0, "", "what stands in its place is no trail"),))
    verdict = judge(reading, Signer.in_force())
    return dataclasses.replace(verdict, problems=(*verdict.problems, *moved(reading, anchors)))


def anchored(trail: str) -> Steps[Anchor | None]:
    with unavailable_as_such():
        reading = yield from read(trail, count=1)
    return anchor_of(reading, Signer.in_force())


@contextmanager
def unavailable_as_such() -> Iterator[None]:
    """An outage as ``RedisUnavailable``."""
    try:
        yield
    except RedisError as error:
        if not is_outage(error):
            raise
        raise RedisUnavailable(f"The audit trail cannot be read. {explain(error)}") from error


def every_trail() -> Iterator[str]:
    """The names of all trails, one at a time: SCAN, for commands."""
    begin = auditkeys.trail("\0").partition("\0")[0]
    for name in client(config.SECURITY_ALIAS).scan_iter(match=f"{glob_escape(begin)}*}}", count=500):
        yield name.decode("utf-8", "replace").removeprefix(begin).removesuffix("}")
