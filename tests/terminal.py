"""A command on a real terminal (a pty): read what it shows, press Ctrl-C, see how it ends."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0  # seconds until a test gives up


class Terminal:
    """``manage.py <words>`` with the settings of the suite, or those that ``environment`` names."""

    def __init__(self, *words: str, columns: int = 200, **environment: str) -> None:
        self.shown = ""
        self.screen, inside = pty.openpty()
        termios.tcsetwinsize(inside, (50, columns))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "django", *words],
            cwd=ROOT,
            env=django_environment(**environment),
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.screen)

    def until(self, text: str, times: int = 1) -> str:
        """Read until the terminal has shown ``text`` so often."""
        deadline = time.monotonic() + PATIENCE
        while self.shown.count(text) < times:
            assert self._read(deadline), f"The command ended without {text!r}: {self.shown}"
        return self.shown

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.screen], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"Nothing more came within {PATIENCE} s: {self.shown}"
        try:
            text = os.read(self.screen, 65536)
        except OSError:  # Linux's way of saying that nobody has the other end open
            return False
        self.shown += text.decode()
        return bool(text)


def django_environment(**changes: str) -> dict[str, str]:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT), **changes}
    environment.pop("NO_COLOR", None)
    return {**environment, "TERM": "xterm"}
