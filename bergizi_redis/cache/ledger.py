"""What runs of warmers know of one another: which tasks are done, and which one of them has under way.

Promise: of several runs at one time – a deploy on each host – each task is done by one; what a run has done before it
was interrupted, or killed, is done for the run that resumes it, for a day. A task that failed is not done, and free for
any. A run that dies holds its tasks for ``CLAIM_LIFE`` at most.

Round trips: 1 when a run begins, 2 for each task, 1 every 10 s. Redis down: every run does every task, as nothing is
stored then either.
"""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from redis.exceptions import RedisError

from bergizi_redis import keys
from bergizi_redis.conf import config
from bergizi_redis.connections import client, explain
from bergizi_redis.scripts.script import script

logger = logging.getLogger("bergizi_redis.cache")

CLAIM_LIFE = 30.0  # seconds; renewed three times in it
DONE_LIFE = 24 * 3600.0  # seconds that an interrupted run can be resumed


class Claim(IntEnum):
    """What a ledger says of a task."""

    BUSY = 0
    OURS = 1
    DONE = 2


class Alone:
    """The ledger of a run that minds no other."""

    def claim(self, task: str) -> Claim:
        return Claim.OURS

    def finish(self, task: str, done: bool) -> None:
        """Nobody asks."""


class Ledger(Alone):
    """One run's view. Made by ``shared_run``."""

    def __init__(self) -> None:
        self._run = uuid.uuid4().hex
        self._done = keys.warming_done()
        self._held: set[str] = set()
        self._warned = False

    def begin(self, resume: bool) -> None:
        self._ask("warm_begin", keys.warming_run(), int(resume), _ms(CLAIM_LIFE))

    def claim(self, task: str) -> Claim:
        """Ask for the task, with one round trip; what is ours is to be finished."""
        claim = Claim(self._ask("warm_claim", keys.warming_task(task), task, self._run, _ms(CLAIM_LIFE), otherwise=1))
        if claim is Claim.OURS:
            self._held.add(task)
        return claim

    def finish(self, task: str, done: bool) -> None:
        """Give it back; ``done`` False leaves it to others, and to the run that resumes this one."""
        self._held.discard(task)
        self._ask("warm_finish", keys.warming_task(task), task, self._run, int(done), _ms(DONE_LIFE))

    def renew(self) -> None:
        """Say that this run lives."""
        try:
            with client(config.CACHE_ALIAS).pipeline(transaction=False) as pipeline:
                pipeline.set(keys.warming_run(), 1, px=_ms(CLAIM_LIFE))
                pipeline.pexpire(self._done, _ms(DONE_LIFE))
                for task in list(self._held):
                    pipeline.pexpire(keys.warming_task(task), _ms(CLAIM_LIFE))
                pipeline.execute()
        except RedisError as error:
            self._warn(error)

    def end(self, complete: bool) -> None:
        """A complete run is not resumed; its record stays a moment longer, for runs that are still under way."""
        try:
            with client(config.CACHE_ALIAS).pipeline(transaction=False) as pipeline:
                pipeline.delete(keys.warming_run())
                if complete:
                    pipeline.pexpire(self._done, _ms(CLAIM_LIFE))
                pipeline.execute()
        except RedisError as error:
            self._warn(error)

    def _ask(self, name: str, claim: str, *arguments: Any, otherwise: int = 0) -> int:
        try:
            return int(script(name).run(client(config.CACHE_ALIAS), [self._done, claim], arguments))
        except RedisError as error:
            self._warn(error)
            return otherwise

    def _warn(self, error: RedisError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "Runs of warmers cannot tell one another what is done. %s", explain(error),
                extra={"action": "warming_unshared"},
            )  # fmt: skip


@contextmanager
def shared_run(resume: bool = False) -> Iterator[Ledger]:
    """A ledger for the block, kept alive by a thread. The block says by ``end`` whether the run was complete."""
    ledger, ended = Ledger(), threading.Event()

    def beat() -> None:
        while not ended.wait(CLAIM_LIFE / 3):
            ledger.renew()

    ledger.begin(resume)
    heart = threading.Thread(target=beat, name="warming-ledger", daemon=True)
    heart.start()
    try:
        yield ledger
    finally:
        ended.set()
        heart.join()


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
