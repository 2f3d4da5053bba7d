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
from pathlib import Path
from typing import Any


class Mortals:
    """``die(act, *args, after=n)``: does an act of ``ACTS`` in a child that is killed; whether it was."""

    def __init__(self, url: str, skew: float = 0) -> None:
        environment = {"DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": url, "PYTHONPATH": "."}
        if skew:  # seconds that its clocks are ahead of everybody else's
            environment |= {"PYTHONPATH": f"{Path(__file__).parent / 'skewed'}:.", "SKEW": str(skew)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.mortals"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip

    def die(
        self, act: str, *args: Any, after: int, config: dict[str, Any], prefix: str, backwards: bool = False,
        many: int = 1,
    ) -> bool:  # fmt: skip
        order = {"act": act, "args": args, "after": after, "config": config, "prefix": prefix, "backwards": backwards,
                 "many": many}  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        assert answer in ("ended", "killed"), answer
        return answer == "killed"

    def do(self, act: str, *args: Any, config: dict[str, Any], prefix: str, many: int = 1) -> None:
        """Does the act in a process, or in so many at once, that live until they have done it."""
        assert not self.die(act, *args, after=10**9, config=config, prefix=prefix, many=many)


@contextmanager
def mortals(url: str, skew: float = 0) -> Iterator[Mortals]:
    running = Mortals(url, skew)
    try:
        yield running
    finally:
        assert running.process.stdin is not None
        assert running.process.stdout is not None
        running.process.stdin.close()
        running.process.stdout.close()
        running.process.wait(60)


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


def fork(order: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            obey(order)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def main() -> None:
    import django

    django.setup()
    from tests import interruptions, sessionacts  # noqa: F401 – imported before the first fork

    for line in sys.stdin:
        order = json.loads(line)
        children = [fork(order) for _ in range(order["many"])]
        status = max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
        sys.stdout.write({0: "ended", -signal.SIGKILL: "killed"}.get(status, f"failed: {status}") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
