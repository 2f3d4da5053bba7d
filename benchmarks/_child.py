"""A process for what cannot share one: an order a line on its input, an answer a line on its output, both JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from _bench import PREFIX, URL


class Child:
    """The other end: ``file --serve`` with the arguments. Use it as a context manager."""

    def __init__(self, file: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, file, "--serve", *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "BENCH_PREFIX": PREFIX, "REDIS_URL": URL},
        )  # fmt: skip

    def ask(self, do: str, **order: Any) -> Any:
        self.order(do, **order)
        return self.answer()

    def order(self, do: str, **order: Any) -> None:
        """Ask without waiting; ``answer`` waits."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}; what it said stands above.")
        return json.loads(answer)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def serve(answer: Callable[[dict[str, Any]], Any]) -> int:
    """The child's side, until its input ends."""
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
    return 0
