"""Guessing a password: how many checks get through a storm, and what an attempt asks of Redis and of the database.

Each package guards a log-in form of its own process; the attempts go through the whole of it. Then the packages take
turns, round by round, at refusing. On an embedded server of its own, so that nobody else's commands are counted.
Exits 1 where a bar is missed.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from _bench import Size, benchmark, is_installed, size_asked
from _logins import LIMIT, PEERS, RIGHT, WRONG
from _measure import bar, code, lines, progress

from bergizi_redis import embedded

HERE = Path(__file__).resolve().parent
OURS = "bergizi_redis"
ADDRESSES = {"storm0": "203.0.113.1", "wrong": "203.0.113.20", "right": "203.0.113.30"}
STORMS = [f"storm{number}" for number in range(5)]


class Site:
    """A process that serves one package's log-in form."""

    def __init__(self, name: str, directory: Path, url: str, size: Size) -> None:
        self.name = name
        directory.mkdir()
        environment = {**os.environ, "REDIS_URL": url, "BENCH_COST": str(size.of(12, 12, 4))}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "_logins.py"), name, str(directory)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.ask("prepare", *STORMS, "wrong", "right")

    def ask(self, *words: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(words), file=self._process.stdin, flush=True)
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"The site of {self.name} ended; see what it printed above.")
        return json.loads(line)

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


def stormed(sites: list[Site], size: Size) -> tuple[float, float]:
    """Our checks in the worst storm, and our p99 in units of the best other's, the median of the rounds.

    Who lets so many through that a storm takes minutes is stormed once.
    """
    attempts, workers = size.of(300, 300, 20), size.of(64, 64, 8)
    rounds, checks = size.of(5, 3, 1), dict[str, list[float]]()
    slow: dict[str, list[float]] = {}
    told = {}
    for done in range(rounds):
        for site in sites:
            if done and slow[site.name][0] > 3 * slow[OURS][0]:
                continue
            progress(f"storm {done + 1} of {rounds} at {site.name}")
            told[site.name] = one = site.ask("storm", f"storm{done}", f"203.0.113.{done + 1}", attempts, workers)
            checks.setdefault(site.name, []).append(one["checks"])
            slow.setdefault(site.name, []).append(percentile(one["ms"], 99))
    progress("")
    rows = {
        name: [max(checks[name]), percentile(one["ms"], 50), median(slow[name]), one["seconds"]]
        for name, one in told.items()
    }
    heads = ["checks", "p50, ms", "p99, ms", "all, s"]
    lines(f"{attempts} wrong passwords, {workers} at once, limit {LIMIT}", "an attempt", heads, rows)
    return max(checks[OURS]), best_of_others(slow)


def percentile(values: list[float], which: int) -> float:
    return quantiles(values, n=100)[which - 1]


def best_of_others(slow: dict[str, list[float]]) -> float:
    """Ours, in units of the best other's; 1 where there is none."""
    ratios = [
        median(mine / theirs for mine, theirs in zip(slow[OURS], each, strict=False))
        for name, each in slow.items()
        if name != OURS
    ]
    return max(ratios, default=1.0)


def asked(sites: list[Site], size: Size) -> dict[str, list[float]]:
    """What one attempt asks, by kind; returns our round trips of each kind."""
    ours: dict[str, list[float]] = {}
    for title, user, password, times in (
        ("A wrong password", "wrong", WRONG, 4), ("A refused attempt", "storm0", WRONG, size.of(50, 20, 2)),
        ("The right password", "right", RIGHT, 5),
    ):  # fmt: skip
        rows = {}
        for site in sites:
            site.ask("attempts", "right", RIGHT, ADDRESSES["right"], 1) if user == "right" else None
            told = site.ask("attempts", user, password, ADDRESSES[user], times)
            rows[site.name] = [told[name] for name in ("commands", "trips", "sql", "checks")]
        lines(title, "median of the attempts", ["commands", "trips", "SQL", "checks"], rows)
        ours[title] = rows[OURS]
    return ours


def refused(sites: list[Site], size: Size) -> None:
    """Print the milliseconds of a refusal. Where a package refuses before the form is read, that is saved too."""
    rounds, times = size.of(20, 6, 1), size.of(100, 100, 3)
    spent: dict[str, list[list[float]]] = {site.name: [] for site in sites}
    for done in range(rounds):
        progress(f"refusals, round {done + 1} of {rounds}")
        for site in sites:
            spent[site.name].append(site.ask("attempts", "storm0", WRONG, ADDRESSES["storm0"], times)["ms"])
    progress("")
    every = {name: [ms for one in each for ms in one] for name, each in spent.items()}
    rows = {name: [percentile(ms, 50), percentile(ms, 99)] for name, ms in every.items()}
    lines("A refusal, the whole request", "ms", ["p50", "p99"], rows)


def main() -> int:
    size = size_asked(__doc__)
    with benchmark(size), tempfile.TemporaryDirectory() as directory:
        sites: list[Site] = []
        place = Path(directory, "valkey")
        try:
            url = embedded.ensure(place, persist=False)
            for number, (name, peer) in enumerate(PEERS.items()):
                if is_installed(peer.package):
                    sites.append(Site(name, Path(directory, str(number)), url, size))
                else:
                    print(f"  {name}: not installed")
            checks, slowest = stormed(sites, size)
            trips = asked(sites, size)
            refused(sites, size)
        finally:
            for site in sites:
                site.end()
            embedded.leave(place)
    kept = [
        bar("password checks in a storm", checks, at_most=LIMIT, unit="checks"),
        bar("password checks in a storm, no fewer", checks, at_least=LIMIT, unit="checks"),
        bar("a wrong password", trips["A wrong password"][1], at_most=1, unit="round trips"),
        bar("a refused attempt", trips["A refused attempt"][1], at_most=1, unit="round trips"),
        bar("the right password", trips["The right password"][1], at_most=2, unit="round trips"),
        bar("p99 in a storm, of the best other's", slowest, at_most=1.0),
    ]
    return code(size, kept)


if __name__ == "__main__":
    sys.exit(main())
