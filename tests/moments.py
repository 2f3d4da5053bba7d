"""What is left of a time that runs while a test does.

A busy machine stands still for seconds, and a lock of half an hour that a test has just closed has 1,796 s left then.
``left_of(1800)`` is equal to 1800 alone in a test that has taken less than a second, and to 1796 too in one that has
taken four: as exact as can be, and no more. By the clock of the wall, which is the server's.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

ROUNDING = 0.002  # seconds; Redis tells whole milliseconds

_began = time.time()


def begin() -> None:
    """A test begins."""
    global _began
    _began = time.time()


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    seconds: float

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, int | float):
            return NotImplemented
        gone = time.time() - _began + ROUNDING
        return self.seconds - gone <= other <= math.ceil(self.seconds)

    __hash__ = None  # type: ignore[assignment] # equal to more than one number


def left_of(seconds: float) -> Any:
    """Equal to what may be left of so many seconds, as seconds, rounded up or not, where they began in this test."""
    return Left(seconds)
