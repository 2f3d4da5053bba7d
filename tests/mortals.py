"""Processes that are killed by ``kill -9`` after so many commands, without the second that a new interpreter takes.

One process, ``python -m tests.mortals``, has everything imported and no connection. For each line of its input it forks
a child that does what the line says and, when it has sent ``after`` commands (see ``interruptions``), is killed by
SIGKILL. The answer is whether the child ``ended`` or was ``killed``.
"""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Mortals:
    """``die(act, *args, after=n)``: does an act of ``ACTS`` in a child that is killed; whether it was."""

    def __init__(self, url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mortals"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": url, "PYTHONPATH": "."},
        )  # fmt: skip

    def die(
        self, act: str, *args: Any, after: int, config: dict[str, Any], prefix: str, backwards: bool = False
    ) -> bool:
        order = {"act": act, "args": args, "after": after, "config": config, "prefix": prefix, "backwards": backwards}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        assert answer in ("ended", "killed"), answer
        return answer == "killed"


@contextmanager
def mortals(url: str) -> Iterator[Mortals]:
    running = Mortals(url)
    try:
        yield running
    finally:
        assert running.process.stdin is not None
        assert running.process.stdout is not None
        running.process.stdin.close()
        running.process.stdout.close()
        running.process.wait(20)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def obey(order: dict[str, Any]) -> None:
    from django.test import override_settings

    from tests import settings
    from tests.interruptions import interrupted
    from tests.sessionacts import ACTS

    act: Callable[..., Any] = ACTS[order["act"]]
    caches = {"default": {**settings.CACHES["default"], "KEY_PREFIX": order["prefix"]}}
    dying = interrupted(order["after"], die, backwards=order["backwards"])
    with override_settings(CACHES=caches, BERGIZI_REDIS=order["config"]), dying:
        act(*order["args"])


def main() -> None:
    import django

    django.setup()
    from tests import interruptions, sessionacts  # noqa: F401 – imported before the first fork

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                obey(json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write({0: "ended", -signal.SIGKILL: "killed"}.get(status, f"failed: {status}") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
