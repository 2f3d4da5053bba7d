"""When an entry is computed anew before it is gone, and how long who computes is waited for. No round trips.

Early refresh (XFetch): each reader of an entry that is near its end decides by chance, the sooner the longer computing
took, so that one of them computes while the value still serves all others. With ``-ln(random)`` as the chance, one that
took 2 s is computed some 2–10 s before its end, however many readers there are.
Source: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.

The entry tells when it was made and how long it is fresh, in whole seconds, rounded down: it counts as at its end up to
2 s before it is. Clocks of several machines are compared, so theirs should agree to a second or so; what is void is
void whatever a clock says.
"""

import math
import random
import time

FURTHEST = 20.0  # times the cost; chance reaches further back once in 500 million reads
SHORTEST_LIFE = 10.0  # seconds; an entry that lives shorter is not refreshed early: it is rounded to seconds

LEASE_UNKNOWN = 5.0  # seconds, where nothing is known of the cost
LEASE_SHORTEST, LEASE_LONGEST = 1.0, 30.0
LEASE_COSTS = 3  # a lease lives so many times the cost

clock = time.time
draw = random.random


def soft_life(seconds: float, stale: float, cost: float) -> int:
    """For how many seconds the entry is fresh, as its envelope keeps it; 0 for one that is never refreshed early.

    ``stale`` is how long it may be served beyond that. What computing in less than a millisecond is not worth it.
    """
    if stale > 0:
        return max(1, int(seconds))
    return int(seconds) if seconds >= SHORTEST_LIFE and cost >= 0.001 else 0


def is_due(created: int, soft: int, cost: int) -> bool:
    """Whether this reader should compute an entry anew that still lives. ``cost`` in ms; see ``soft_life``."""
    if not soft:
        return False
    left = created + soft - clock()
    seconds = cost / 1000
    if left > seconds * FURTHEST:
        return False
    return left <= 0 or left <= -seconds * math.log(1.0 - draw())


def lease_life(cost: float) -> float:
    """Seconds that a lease lives, and that the death of who holds it costs at most. ``cost`` in s, 0 if unknown."""
    if cost <= 0:
        return LEASE_UNKNOWN
    return min(max(LEASE_COSTS * cost, LEASE_SHORTEST), LEASE_LONGEST)


def patience(cost: float) -> tuple[float, float]:
    """Seconds that who waits for a lease waits, and who waits for another thread or task: it may have to, before."""
    life = lease_life(cost)
    return 1.5 * life, 2 * life
