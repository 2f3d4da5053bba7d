"""What the time of a refused log-in tells a stranger about the account: nine states, told apart by it or not.

The states take turns in a random order. Those that are checked are compared with one another, and so are those that
are refused. Exits 1 where the time of one differs from that of another more than by chance.
"""

import os
import random
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from statistics import median, quantiles

from _bench import Size, remove, size_asked, versions
from _logins import PEERS, attempt, configure
from _measure import bar, code, lines, progress

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what the tests have too


def times(states: tuple[str, ...], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each attempt, by state; each at an account of its own, from an address of its own.

    All accounts are made before: what was done last to make one, such as a write, makes the next query slower.
    """
    from tests.accountstates import prepared

    found: dict[str, list[float]] = {state: [] for state in states}
    progress("making accounts")
    turns = [(state, *prepared(state)) for state in states for _ in range(rounds)]
    random.shuffle(turns)
    for done, (state, name, password) in enumerate(turns):
        progress(f"attempt {done + 1} of {len(turns)}")
        address = f"2001:db8:{random.randrange(1 << 16):x}:{random.randrange(1 << 16):x}::1"
        began = time.perf_counter()
        attempt(name, password, address)
        found[state].append((time.perf_counter() - began) * 1000)
    progress("")
    return found


def least_chance(found: dict[str, list[float]]) -> float:
    """Of all pairs, the smallest probability of such a difference by chance, times the number of pairs (Bonferroni)."""
    from tests.accountstates import sameness

    pairs = list(combinations(found, 2))
    return min(1.0, min(sameness(found[one], found[other]) for one, other in pairs) * len(pairs))


def compared(title: str, found: dict[str, list[float]]) -> bool:
    rows = {state: [median(ms), quantiles(ms, n=100)[98]] for state, ms in found.items()}
    lines(title, "ms", ["p50", "p99"], rows)
    return bar(f"{title}: chance of such a difference", least_chance(found), at_least=0.001, unit="")


def measured(size: Size) -> list[bool]:
    from tests.accountstates import CHECKED, REFUSED

    rounds = size.of(400, 100, 3)
    times(CHECKED + REFUSED, 3)  # scripts, templates and connections are known from here on
    return [
        compared("A password that was checked", times(CHECKED, rounds)),
        compared("A password that was not", times(REFUSED, rounds)),
    ]


def main() -> int:
    size = size_asked(__doc__)
    os.environ["BENCH_COST"] = str(size.of(8, 8, 4))
    with tempfile.TemporaryDirectory() as directory:
        configure(PEERS["bergizi_redis"], Path(directory))
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        print(f"timing ({size.name}): {versions()}", flush=True)
        try:
            kept = measured(size)
        finally:
            remove()
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
