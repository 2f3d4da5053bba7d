"""Named points on a value's way, where a test may hold the code still (``bergizi_redis.testing.pause_at``).

Off – always, but inside a test's ``with pause_at(…):`` – a point costs the one comparison that stands before it, some
10 ns, and nothing is imported for it. In plain code it is a line, in an exchange it is a request like any other::

    if points.hold is not None:
        points.hold("before_commit")                 # in a coroutine: await points.hold.awaiting("before_commit")

    if points.hold is not None:
        yield points.stop("before_store")

| point | where |
| --- | --- |
| ``after_look`` | entry and versions have been read, and not been judged yet |
| ``before_compute`` | a lookup has missed and has token and lease in hand; the value is computed next |
| ``before_store`` | the value is computed; the command that stores it is sent next, where it may be stored |
| ``after_store`` | the server has it, the caller does not yet know |
| ``before_fence`` | a transaction is about to commit; its fence goes up next |
| ``before_commit`` | the fence stands; COMMIT is sent next |
| ``after_commit`` | the database has committed; the fence still stands |
| ``before_release`` | the fence comes down next, or where there was none the versions are made anew |
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

POINTS = (
    "after_look", "before_compute", "before_store", "after_store", "before_fence", "before_commit", "after_commit",
    "before_release",
)  # fmt: skip


class Hold(Protocol):
    def __call__(self, point: str) -> None:
        """Hold this thread, if a test wants it held here."""

    async def awaiting(self, point: str) -> None:
        """Hold this task; the loop goes on meanwhile."""


hold: Hold | None = None  # set by ``pause_at`` while a block of it runs


def reach(point: str) -> None:
    """The plain-code way to a point, where its cost does not matter."""
    if hold is not None:
        hold(point)


def stop(point: str) -> Callable[[Any], Awaitable[None] | None]:
    """The request that holds an exchange at the point, blocking or awaiting as its client does."""

    def request(client: Any) -> Awaitable[None] | None:
        if inspect.iscoroutinefunction(client.execute_command):
            return awaiting(point)
        reach(point)
        return None

    return request


async def awaiting(point: str) -> None:
    if hold is not None:
        await hold.awaiting(point)
