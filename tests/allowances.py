"""What commands were given to take at most: how long they can wait in all, however busy the machine is."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from bergizi_redis.circuit import Circuit


@contextmanager
def granted() -> Iterator[list[float]]:
    """``with granted() as waits:`` – for each command that was sent, in seconds; none where a circuit was open."""
    given: list[float] = []
    allowance = Circuit.allowance

    def noted(circuit: Circuit, budget: float | None) -> float | None:
        seconds = allowance(circuit, budget)
        given.append(float("inf") if seconds is None else seconds)
        return seconds

    with mock.patch.object(Circuit, "allowance", noted):
        yield given
