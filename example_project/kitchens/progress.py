"""A progress bar for a terminal; silent in a pipe or a log."""

import time
from typing import TextIO


class Progress:
    """``[######----]  350/1000  12 s`` on one line that rewrites itself."""

    WIDTH = 30

    def __init__(self, total: int, stream: TextIO) -> None:
        self.total, self.stream, self.done = total, stream, 0
        self.visible = stream.isatty()
        self.started = time.monotonic()

    def advance(self, steps: int) -> None:
        """``steps`` more are done."""
        self.done += steps
        if not self.visible:
            return
        filled = self.WIDTH * self.done // max(1, self.total)
        bar = "#" * filled + "-" * (self.WIDTH - filled)
        seconds = time.monotonic() - self.started
        self.stream.write(f"\r[{bar}] {self.done}/{self.total}  {seconds:.0f} s")
        self.stream.flush()

    def close(self) -> None:
        """Leave the line."""
        if self.visible and self.done:
            self.stream.write("\n")
