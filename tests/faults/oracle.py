"""What a reader may be served: rows with numbers that only grow, and what every reader must see at least of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = tuple[str, str]  # (tenant or what owns it, tag or name)
Computed = tuple[str, dict[Row, int], bytes]  # (key, the rows it was computed from, padding)

ABSENT = object()


class Stale(AssertionError):
    """A reader was served what it must not be."""


@dataclass
class Oracle:
    """``rows`` is the database. ``settled`` is what a reader that starts now must see at least: the number of each
    row at the last write that was reported as done, or whose COMMIT came while its fence stood."""

    rows: defaultdict[Row, int] = field(default_factory=lambda: defaultdict(int))
    settled: defaultdict[Row, int] = field(default_factory=lambda: defaultdict(int))
    plain: dict[str, Any] = field(default_factory=dict)
    served: int = 0

    def compute(self, key: str, rows: Iterable[Row], padding: int) -> Computed:
        return key, {row: self.rows[row] for row in rows}, b"x" * padding

    def write(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.rows[row] += 1

    def settle(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.settled[row] = self.rows[row]

    def check(self, key: str, value: Computed, rows: Iterable[Row] | None = None) -> None:
        """``rows``: what the reader says that the entry depends on, where it says so."""
        name, seen, _ = value
        self.served += 1
        if name != key:
            raise Stale(f"{key} was served what stands under {name}")
        if rows is not None and set(seen) != set(rows):
            raise Stale(f"{key} was served what was computed from {sorted(seen)} for {sorted(rows)}")
        old = {row: (number, self.settled[row]) for row, number in seen.items() if number < self.settled[row]}
        if old:
            raise Stale(f"{key} was served rows of before a write, (served, written): {old}")

    def check_plain(self, key: str, found: Any) -> None:
        """An untagged entry is what was last stored, or evicted; never what was there before."""
        if found is ABSENT:
            self.plain[key] = ABSENT
            return
        self.served += 1
        if found != self.plain.get(key, ABSENT):
            raise Stale(f"{key} was served {found!r}, stored is {self.plain.get(key, ABSENT)!r}")

    def check_many(self, keys: Iterable[str], found: Mapping[str, Any]) -> None:
        for key in keys:
            if key in found:
                self.check(key, found[key])
