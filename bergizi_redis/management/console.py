"""Text for a console: aligned tables, and a progress bar that stays on its line."""

import os
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Style = Callable[[str], str]

GAP = "  "
BAR = 24  # characters
REDRAW = 0.1  # seconds between two pictures of the bar: a terminal is slower than a cache
COLUMNS = 80  # of a terminal that does not tell
CLEAR = "\x1b[H\x1b[2J\x1b[3J"


@dataclass(frozen=True, slots=True)
class Cell:
    """Text with a colour: aligned by its text, not by the escape codes around it."""

    text: str
    style: Style = str


def table(heading: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> str:
    """Left-aligned columns under their heading, parted by two blanks; no trailing blanks."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(len(cell.text) for cell in column) for column in zip(*cells, strict=True)]
    return "\n".join(_line(row, widths) for row in cells)


def _line(row: Sequence[Cell], widths: Sequence[int]) -> str:
    padded = [cell.style(cell.text) + " " * (width - len(cell.text)) for cell, width in zip(row, widths, strict=True)]
    return GAP.join(padded).rstrip()


def clock(seconds: float) -> str:
    """``0:07``, ``12:40``, ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass
class Progress:
    """A bar with count, rate and time left, redrawn on one line of the terminal ``stream``."""

    stream: Any
    total: int
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    _drawn: float = 0.0

    def advance(self, label: str = "") -> None:
        """One more is done; ``label`` says which."""
        self.done += 1
        now = time.monotonic()
        if now - self._drawn >= REDRAW or self.done == self.total:
            self._drawn = now
            self._draw(now, label)

    def end(self) -> None:
        """Leave the bar as it stands and go on below it."""
        if self._drawn:
            self.stream.write("\n")
            self.stream.flush()

    def _draw(self, now: float, label: str) -> None:
        filled = BAR * self.done // self.total
        rate = self.done / max(now - self.began, 1e-6)
        text = (
            f"[{'#' * filled}{'-' * (BAR - filled)}] {self.done}/{self.total}"
            f"  {rate:.1f}/s  ETA {clock((self.total - self.done) / rate)}  {label}"
        )
        # One column less: at full width some terminals move on to the next line.
        self.stream.write(f"\r{text[: self._columns() - 1]}\x1b[K")
        self.stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or COLUMNS
        except (OSError, ValueError):  # not a terminal after all
            return COLUMNS


def positive_seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
