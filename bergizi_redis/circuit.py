"""A circuit for each pool: a request never waits the whole budget for a silent server twice.

A time-out makes the server *suspect*: the next command has ``PROBE`` (0.1 s) instead of the budget. Answered, all is as
before. Silent again, the circuit is *open* for ``COOL`` (1 s): commands fail at once, and after it one command probes
while the others go on failing. So a page with many reads waits 0.8 + 0.1 s once, then 0.1 s a second at most, and the
first answer closes the circuit. A refused port needs no circuit: it costs some 0.03 s. Costs no round trip.
"""

import time
from collections.abc import Callable
from typing import Any

from redis.exceptions import RedisError, ResponseError, TimeoutError

PROBE = 0.1  # seconds; an answer takes about 0.001
COOL = 1.0  # seconds


class CircuitOpen(TimeoutError):
    """The server was silent a moment ago, so it is not asked."""


class Circuit:
    """Threads share it without a lock: at worst two of them probe at once."""

    __slots__ = ("_clock", "_suspect", "_until")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._suspect = False
        self._until = 0.0

    def allowance(self, budget: float | None) -> float | None:
        """Seconds a command may take; raises ``CircuitOpen`` when it may not be sent. None: no bound, no circuit."""
        if not self._suspect or budget is None:
            return budget
        now = self._clock()
        if now < self._until:
            raise CircuitOpen(f"The server was silent; it is asked again in {self._until - now:.1f} s.")
        if self._until > 0:
            self._until = now + PROBE  # the others wait for what this probe finds
        return min(budget, PROBE)

    def answered(self) -> None:
        self._suspect = False
        self._until = 0.0

    def failed(self, error: RedisError) -> None:
        """A time-out is silence, a server's error an answer; being refused by the circuit itself says nothing new."""
        if isinstance(error, ResponseError):
            self.answered()
        elif isinstance(error, TimeoutError) and not isinstance(error, CircuitOpen):
            self.silent()

    def silent(self) -> None:
        if self._suspect:
            self._until = self._clock() + COOL
        self._suspect = True


def circuit_of(pool: Any) -> Circuit:
    """The circuit of a connection pool, sync or async."""
    try:
        return pool.circuit  # type: ignore[no-any-return]
    except AttributeError:
        circuit = pool.circuit = Circuit()
        return circuit
