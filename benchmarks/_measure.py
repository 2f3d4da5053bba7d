"""Fair measuring, tables, and the bars that are kept.

Calls take turns, round by round, and what counts is the median of the rounds' ratios: the machine's speed drifts, and
all lines of one round drift together. Trust the ratios of one run, not its times. Beside the time stands the
processor time of this process, which knows no waiting. With ``BENCH_RESULTS`` set, results are added to that file, a
JSON object a line, for the summary and the picture.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any

from _bench import Size

Calls = Mapping[str, Callable[[], object]]
Spent = tuple[float, float]  # µs a call: by the clock, by the processor


@dataclass(frozen=True, slots=True)
class Times:
    """µs a call in each round."""

    rounds: dict[str, list[Spent]] = field(default_factory=dict)

    def add(self, name: str, spent: Spent) -> None:
        self.rounds.setdefault(name, []).append(spent)

    def wall(self, name: str) -> float:
        return median(spent[0] for spent in self.rounds[name])

    def cpu(self, name: str) -> float:
        return median(spent[1] for spent in self.rounds[name])

    def ratio(self, name: str, to: str) -> float:
        """Median of the rounds' ratios, by the clock."""
        return median(ours[0] / theirs[0] for ours, theirs in self._pairs(name, to))

    def cpu_ratio(self, name: str, to: str) -> float:
        return median(ours[1] / max(theirs[1], 1e-3) for ours, theirs in self._pairs(name, to))

    def _pairs(self, name: str, to: str) -> list[tuple[Spent, Spent]]:
        return list(zip(self.rounds[name], self.rounds[to], strict=True))


def spent_on(call: Callable[[], object], number: int) -> Spent:
    """µs a call, without the garbage collector, as ``timeit`` has it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in repeat(None, number):
            call()
        return (time.perf_counter() - wall) / number * 1e6, (time.process_time() - cpu) / number * 1e6
    finally:
        if collects:
            gc.enable()


def measure(calls: Calls, size: Size, number: int = 50) -> Times:
    """Each call has its turn in each round; before the first, one that does not count."""
    times, rounds = Times(), size.of(150, 40, 2)
    for call in calls.values():
        call()
    for done in range(rounds):
        progress(f"round {done + 1} of {rounds}")
        for name, call in calls.items():
            times.add(name, spent_on(call, size.of(number, number, 2)))
    progress("")
    return times


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:40}\r{text}", end="", file=sys.stderr)


def show(title: str, times: Times, baseline: str) -> None:
    print(f"\n{title:34}{'time':>14}{'processor':>14}{'× ' + baseline:>18}")
    for name in times.rounds:
        ratio = times.ratio(name, baseline)
        print(f"  {name:32}{times.wall(name):11,.1f} µs{times.cpu(name):11,.1f} µs{ratio:18.3g}")
    record(table=title, rows={name: times.wall(name) for name in times.rounds})
    sys.stdout.flush()


def lines(title: str, unit: str, heads: list[Any], rows: Mapping[str, list[float]]) -> None:
    """A table with a column for each of ``heads``."""
    print(f"\n{title + ', ' + unit:48}" + "".join(f"{head:>11}" for head in heads))
    for name, values in rows.items():
        print(f"  {name:46}" + "".join(f"{value:11,.1f}" if value < 1000 else f"{value:11,.0f}" for value in values))
    record(table=title, unit=unit, heads=[str(head) for head in heads], rows=dict(rows))
    sys.stdout.flush()


def bar(
    claim: str, value: float, *, at_most: float | None = None, at_least: float | None = None, unit: str = "×",
    cpu: float | None = None,
) -> bool:  # fmt: skip
    """Print whether the value keeps what the project promises, and return it. ``cpu``: the same by processor time."""
    kept = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    sign, bound = ("≤", at_most) if at_most is not None else ("≥", at_least)
    text = f"{claim}: {value:,.3g} {unit} ({sign} {bound:,g})"
    text += "" if cpu is None else f", by processor time {cpu:,.3g} ×"
    print(f"  {verdict(kept)} {text}", flush=True)
    record(bar=text, kept=kept)
    return kept


def verdict(kept: bool) -> str:
    return "ok    " if kept else "MISSED"


def code(size: Size, bars: list[bool]) -> int:
    """What the process ends with: 1 where a bar was missed. Numbers of a smoke run say nothing."""
    return 0 if size.is_smoke or all(bars) else 1


def record(**result: Any) -> None:
    if path := os.environ.get("BENCH_RESULTS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
