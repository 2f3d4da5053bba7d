"""For the tests of projects that use this package: isolation, outages, races and invalidation, on a real server.

A pytest plugin (found by itself where the package is installed) and functions that work without pytest as well, each
told with examples in the guide "Test a project that uses this package". Loading it imports neither Django nor Redis,
and it changes nothing in a project that does not ask.
"""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bergizi_redis.rehearsal.pauses import Paused

TIMEOUT = 10.0  # seconds; what a test waits at most, unless it says otherwise


def pause_at(point: str, *, times: int = 1, timeout: float = TIMEOUT) -> "AbstractContextManager[Paused]":
    """Hold the first ``times`` threads or tasks that come to the point, until ``paused.resume()`` or the block's end.

    ``with pause_at("before_store") as paused:`` – then ``paused.start(read)`` calls ``read`` in a thread and returns
    when it stands there (``await paused.astart(aread())`` for a task), or ``paused.wait()`` waits for whoever comes
    (``await paused.awaited()``). Who opened the block is never held. The points are told in ``points.py``; any other
    is a ``ValueError``. After ``timeout`` seconds who waits or is held gets an ``AssertionError``.
    """
    from bergizi_redis.rehearsal.pauses import pausing

    return pausing(point, times, timeout)
