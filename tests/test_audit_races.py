"""Many writers of one trail, in threads, tasks and processes, some of them killed: none is lost, and the chain holds.

Mutants that turn these tests red: an append that does not compare the head, one that gives up after its tries instead
of letting the event wait, and a seal that does not look whether the chain has moved.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from bergizi_redis import keys
from bergizi_redis.security import audit
from bergizi_redis.security.trails import HEADS
from tests.audit_writer import MAXLEN, USER

Child = subprocess.Popen[str]


@pytest.fixture(autouse=True)
def no_heads(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_MAXLEN": MAXLEN}
    HEADS.clear()


@contextmanager
def writer(redis_url: str, prefix: str, name: str, threads: int = 1, events: int = 1) -> Iterator[Child]:
    arguments = [sys.executable, "-m", "tests.audit_writer", redis_url, prefix, name, str(threads), str(events)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: Child) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def go(child: Child) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def test_four_processes_of_four_threads_lose_none_and_keep_the_chain(redis_url: str, prefix: str) -> None:
    with ExitStack() as stack:
        children = [stack.enter_context(writer(redis_url, prefix, f"p{number}", 4, 6)) for number in range(4)]
        assert [line(child) for child in children] == ["ready"] * 4
        for child in children:
            go(child)
        written = {reason for child in children for reason in child.communicate(timeout=240)[0].split()}
    assert len(written) == 4 * 4 * 6
    audit.record("authz_admin", USER, reason="last")
    verdict = audit.verify(USER)
    assert verdict.problems == ()
    assert (verdict.events, verdict.waiting) == (len(written) + 1, 0)
    assert {entry.reason for entry in audit.events(USER)} == written | {"last"}


def test_a_hundred_tasks_lose_none() -> None:
    async def storm() -> None:
        await asyncio.gather(*(audit.arecord("authz_admin", USER, reason=str(number)) for number in range(100)))
        await audit.arecord("authz_admin", USER, reason="last")

    asyncio.run(storm())
    verdict = audit.verify(USER)
    assert (verdict.problems, verdict.events, verdict.waiting) == ((), 101, 0)
    assert len({entry.reason for entry in audit.events(USER)}) == 101


def test_a_writer_that_is_killed_loses_nothing_that_it_had_recorded(redis_url: str, prefix: str) -> None:
    with writer(redis_url, prefix, "killed", 4, 10_000) as child:
        assert line(child) == "ready"
        go(child)
        recorded = {line(child) for _ in range(40)}
        child.kill()
    audit.record("authz_admin", USER, reason="after")
    verdict = audit.verify(USER)
    assert (verdict.problems, verdict.waiting) == ((), 0)
    assert recorded <= {entry.reason for entry in audit.events(USER, limit=10_000)}


def test_killed_between_its_steps_its_event_is_there_and_sealed_by_the_next(
    redis_url: str, prefix: str, raw: Any
) -> None:
    audit.record("authz_admin", USER, reason="before")
    with writer(redis_url, prefix, "dies") as child:
        assert line(child) == "ready"
        go(child)
        assert line(child) == "waiting"
        child.kill()
    ((_, fields),) = raw.xrevrange(keys.audit(USER), count=1)
    assert b"link" not in fields
    assert (audit.verify(USER).problems, audit.verify(USER).waiting) == ((), 1)
    audit.record("authz_admin", USER, reason="after")
    assert (audit.verify(USER).problems, audit.verify(USER).waiting) == ((), 0)
    assert [entry.reason for entry in audit.events(USER)] == ["before", "dies.0.0", "after"]
