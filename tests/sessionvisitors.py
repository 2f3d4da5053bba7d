"""The workers of ``sessionload.py`` as threads of several processes, told what to do and telling what they did.

A process is ``python -m tests.sessionvisitors``: orders as JSON on its standard input, answers on the output.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.sessionload import USERS_EACH, Done, Worker, log_in

ROOT = Path(__file__).resolve().parents[1]


class Process:
    """One of them, with ``threads`` workers from number ``first`` on. Use it as a context manager."""

    def __init__(self, url: str, prefix: str, first: int, threads: int) -> None:
        command = [sys.executable, "-m", "tests.sessionvisitors", url, prefix, str(first), str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def told(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A process of visitors ended with {self._process.wait()}.")
        return json.loads(line)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def visited(processes: list[Process], sessions: int, operations: int) -> tuple[list[Done], float]:
    """``sessions`` and ``operations`` of each worker; what all did, and the seconds that the operations took."""
    for process in processes:
        process.tell(sessions=sessions)
    keys = [key for process in processes for key in process.told()]
    began = time.perf_counter()
    for number, process in enumerate(processes):
        process.tell(keys=keys, operations=operations, seed=number)
    done = [
        Done(**{**told, "writes": Counter(told["writes"]), "counts": Counter(told["counts"])})
        for process in processes
        for told in process.told()
    ]
    return done, time.perf_counter() - began


def order() -> Any:
    return json.loads(sys.stdin.readline())


def say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main(url: str, prefix: str, first: int, threads: int) -> None:
    configure(url, prefix)
    done = [Done(number) for number in range(first, first + threads)]
    sessions = order()["sessions"]

    def begin(one: Done) -> list[str]:
        return [log_in(one, number % max(1, sessions // USERS_EACH)) for number in range(sessions)]

    with ThreadPoolExecutor(threads) as pool:
        say([key for keys in pool.map(begin, done) for key in keys])
        then = order()
        workers = [Worker(one, then["keys"], 1_000 * then["seed"] + one.number) for one in done]
        list(pool.map(lambda worker: worker.run(then["operations"]), workers))
    say([{each.name: getattr(one, each.name) for each in fields(one)} for one in done])


def configure(url: str, prefix: str) -> None:
    import django
    from django.conf import settings

    settings.configure(
        INSTALLED_APPS=["bergizi_redis"],
        SECRET_KEY="for tests only",
        SESSION_ENGINE="bergizi_redis.sessions.backend",
        CACHES={"default": {"BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": url}},
        # A busy machine may stop for seconds.
        BERGIZI_REDIS={"KEY_PREFIX": prefix, "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0},
        USE_TZ=True,
    )
    django.setup()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
