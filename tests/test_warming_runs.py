"""Runs of warmers: how fast they start, what they know of one another, and what a visitor has to do with it.

Guards taken away once to see these tests go red: the claim (``two_runs_at_once``), the record of what is done
(``a_resumed_run``, ``a_killed_run``), giving a task back, and only one's own (``a_killed_run``,
``what_another_has_taken``), beginning afresh, renewing, and the lease of a lookup (``a_visitor_and_a_warmer``).
"""

import io
import json
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from bergizi_redis import keys
from bergizi_redis.cache import refresh, warming
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.ledger import CLAIM_LIFE, Claim, Ledger, shared_run
from bergizi_redis.cache.pacing import Pace
from bergizi_redis.cache.warming import Task, Warmed, Warmer, run, warmer
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.testing import pause_at, redis_is_down
from tests.terminal import Terminal

TENANT = "sppg-a"
TENANTS = ["--tenant", "sppg-1", "--tenant", "sppg-2", "--tenant", "sppg-3"]


@pytest.fixture
def own_warmers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warmers that a test declares are its own."""
    monkeypatch.setattr(warming, "_registry", {})
    monkeypatch.setattr(warming, "autodiscover_modules", lambda name: None)


def tasks(function: Callable[..., Any], *tenants: str) -> list[Task]:
    return [Task(Warmer("menus", function), tenant) for tenant in tenants]


def warmed(*words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and summary of the command."""
    out, code = io.StringIO(), 0
    try:
        call_command("warm_cache", *words, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue().splitlines()[-1])


# Rate


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_starts_are_spread_evenly() -> None:
    clock = Clock()
    pace = Pace(4, clock)
    assert [pace.book() for _ in range(4)] == [0, 0.25, 0.5, 0.75]
    clock.now += 0.75
    assert pace.book() == 0.25


def test_there_is_no_burst_after_a_pause() -> None:
    clock = Clock()
    pace = Pace(4, clock)
    pace.book()
    clock.now += 60
    assert [pace.book() for _ in range(3)] == [0, 0.25, 0.5]


def test_without_a_rate_nobody_waits() -> None:
    assert [Pace().book() for _ in range(3)] == [0, 0, 0]


def test_each_task_waits_for_its_start(settings: Any) -> None:
    class Told(Pace):
        waits: list[float] = []

        def wait(self, stopping: threading.Event) -> bool:
            self.waits.append(self.book())
            return True

    pace = Told(10, Clock())
    results = list(run(tasks(lambda tenant: None, *"abc"), concurrency=2, pace=pace))
    assert len(results) == 3
    assert sorted(pace.waits) == pytest.approx([0, 0.1, 0.2])


@pytest.mark.parametrize("concurrency", [1, 2])
def test_stopping_ends_the_wait_for_a_start(concurrency: int) -> None:
    stopping = threading.Event()
    found = []
    for result in run(
        tasks(lambda tenant: None, *"abcd"), concurrency=concurrency, pace=Pace(0.001), stopping=stopping
    ):
        found.append(result)
        stopping.set()
    assert len(found) == 1


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "inf", "nan"])
def test_a_rate_is_a_number_above_0(rate: str) -> None:
    with pytest.raises(CommandError, match=r"is not a number above 0, such as 5 or 0\.5"):
        warmed(f"--rate={rate}")


def test_the_command_takes_a_rate(own_warmers: None) -> None:
    @warmer("menus")
    def warm_menus(tenant: str) -> None: ...

    assert warmed(*TENANTS, "--rate", "1000")[1]["done"] == 3


# Resuming


def test_a_resumed_run_does_what_is_left(own_warmers: None) -> None:
    begun: list[str] = []

    @warmer("menus")
    def warm_menus(tenant: str) -> None:
        begun.append(tenant)
        if begun == ["sppg-1", "sppg-2"]:
            raise SystemExit

    code, summary = warmed(*TENANTS)
    assert (code, summary["failed"], summary["skipped"]) == (1, 1, 0)
    code, summary = warmed(*TENANTS, "--resume")
    assert begun == ["sppg-1", "sppg-2", "sppg-3", "sppg-2"]
    assert (code, summary["done"], summary["skipped"], summary["failed"]) == (0, 3, 2, 0)


def test_a_run_that_does_not_resume_does_everything(own_warmers: None) -> None:
    begun: list[str] = []

    @warmer("menus")
    def warm_menus(tenant: str) -> None:
        begun.append(tenant)
        if begun == ["sppg-1"]:
            raise ValueError

    warmed(*TENANTS)
    assert warmed(*TENANTS)[1]["skipped"] == 0
    assert len(begun) == 6


def test_a_complete_run_is_soon_forgotten(own_warmers: None, raw: "redis.Redis", settings: Any) -> None:
    @warmer("menus")
    def warm_menus(tenant: str) -> None:
        assert raw.pttl(keys.warming_done()) in (-2, pytest.approx(86_400_000, rel=0.1))

    warmed(*TENANTS)
    assert 0 < int(str(raw.pttl(keys.warming_done()))) <= CLAIM_LIFE * 1000
    assert raw.exists(keys.warming_run()) == 0
    raw.delete(keys.warming_done())
    assert warmed(*TENANTS, "--resume")[1]["skipped"] == 0


def test_a_task_of_one_tenant_is_not_that_of_another_nor_of_none() -> None:
    each = Warmer("menus", lambda: None)
    names = {Task(each, tenant).name for tenant in ("a", "b", None)} | {Task(Warmer("b:menus", lambda: None), "a").name}
    assert len(names) == 4


def test_a_killed_run_is_resumed_and_its_task_free_after_the_claims_life(
    prefix: str, redis_url: str, raw: "redis.Redis"
) -> None:
    words = ["suite.held", "--tenant", "sppg-1", "--tenant", "sppg-2"]
    settings = "tests.warming_settings"
    with Terminal(
        "warm_cache", *words, DJANGO_SETTINGS_MODULE=settings, TEST_PREFIX=prefix, REDIS_URL=redis_url
    ) as console:
        assert raw.blpop([f"{prefix}:begun"], timeout=50)
        raw.rpush(f"{prefix}:go", "one")
        assert raw.blpop([f"{prefix}:begun"], timeout=50)
        os.kill(console.process.pid, 9)
        console.process.wait(60)
    claims = list(raw.scan_iter(match=f"{prefix}:warming:{{run}}:task:*"))
    assert len(claims) == 1
    assert 0 < int(str(raw.pttl(claims[0]))) <= CLAIM_LIFE * 1000
    raw.delete(*claims)  # its life is over
    raw.rpush(f"{prefix}:go", "two")
    code, summary = warmed(*words, "--resume")
    assert (code, summary["done"], summary["skipped"]) == (0, 2, 1)


# Several runs at one time


def test_two_runs_at_once_do_no_task_twice() -> None:
    begun: list[str] = []
    meeting = threading.Barrier(2)

    def work(tenant: str) -> None:
        begun.append(tenant)
        if len(begun) <= 2:
            meeting.wait(60)  # both runs are under way

    found: list[list[Warmed]] = []

    def one_run() -> None:
        with shared_run() as ledger:
            found.append(list(run(tasks(work, *"abcdef"), ledger=ledger)))

    runs = [threading.Thread(target=one_run) for _ in range(2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join(60)
    assert sorted(begun) == [*"abcdef"]
    assert [len(results) for results in found] == [6, 6]
    assert sum(result.skipped for results in found for result in results) == 6


def test_a_task_that_another_run_has_is_waited_for_and_then_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "AGAIN", 0.01)
    other = Ledger()
    assert other.claim("a:menus") is Claim.OURS
    begun: list[str] = []

    def work(tenant: str) -> None:
        begun.append(tenant)
        other.finish("a:menus", done=True)

    with shared_run(resume=True) as ledger:
        results = list(run(tasks(work, "a", "b"), ledger=ledger))
    assert begun == ["b"]
    assert [(result.tenant, result.skipped) for result in results] == [("b", False), ("a", True)]


def test_a_failed_task_of_another_run_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "AGAIN", 0.01)
    other = Ledger()
    other.claim("a:menus")
    begun: list[str] = []

    def work(tenant: str) -> None:
        begun.append(tenant)
        other.finish("a:menus", done=False)

    with shared_run() as ledger:
        list(run(tasks(work, "a", "b"), ledger=ledger))
    assert begun == ["b", "a"]


def test_stopping_ends_the_wait_for_another_run() -> None:
    Ledger().claim("a:menus")
    stopping = threading.Event()

    def work(tenant: str) -> None:
        stopping.set()

    with shared_run() as ledger:
        results = list(run(tasks(work, "a", "b"), ledger=ledger, stopping=stopping))
    assert [result.tenant for result in results] == ["b"]


def test_claims_are_renewed_while_a_task_runs(raw: "redis.Redis") -> None:
    ledger = Ledger()
    ledger.claim("a:menus")
    raw.pexpire(keys.warming_task("a:menus"), 15_000)
    ledger.renew()
    assert int(str(raw.pttl(keys.warming_task("a:menus")))) > 15_000
    assert raw.exists(keys.warming_run()) == 1


def test_a_run_does_not_give_back_what_another_has_taken_since(raw: "redis.Redis") -> None:
    slow, quick = Ledger(), Ledger()
    slow.claim("a:menus")
    raw.delete(keys.warming_task("a:menus"))
    assert quick.claim("a:menus") is Claim.OURS
    slow.finish("a:menus", done=False)
    assert Ledger().claim("a:menus") is Claim.BUSY


def test_when_redis_is_down_every_run_does_every_task(caplog: pytest.LogCaptureFixture) -> None:
    begun: list[str] = []
    with redis_is_down(), shared_run() as ledger:
        results = list(run(tasks(begun.append, "a", "b"), ledger=ledger))
        ledger.renew()
        ledger.end(complete=True)
    assert begun == ["a", "b"]
    assert [result.error for result in results] == [None, None]
    told = [record for record in caplog.records if record.name == "bergizi_redis.cache"]
    assert [vars(record)["action"] for record in told] == ["warming_unshared"]


def test_a_warmer_that_could_store_nothing_has_failed() -> None:
    def store(tenant: str) -> None:
        menu.get_or_compute(tenant, 1, lambda: "rice")

    with redis_is_down():
        (lost,) = run(tasks(store, "a"))
    assert isinstance(lost.error, RedisUnavailable)
    assert "not all that it computed is kept" in str(lost.error)
    (kept,) = run(tasks(store, "a"))
    assert kept.error is None


# Live traffic


def test_a_visitor_and_a_warmer_share_one_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "LEASE_UNKNOWN", 60.0)  # who waits for a computing waits until it ends
    computed: list[str] = []

    def visit(who: str) -> Any:
        def compute() -> str:
            computed.append(who)
            return who

        return menu.get_or_compute(TENANT, 42, compute)

    def work(tenant: str) -> None:
        found.append(visit("warmer"))

    found: list[Any] = []
    with pause_at("before_store", timeout=60) as storing:
        visitor = storing.start(visit, "visitor")
        with pause_at("after_look", timeout=60) as looking:
            warming_run = looking.start(lambda: list(run(tasks(work, TENANT))))  # it has missed too
            looking.resume()
            storing.resume()
            assert visitor.result(60) == "visitor"
            assert warming_run.result(60)[0].error is None
    assert computed == found == ["visitor"]
    assert menu.get(TENANT, 42) == "visitor"


def test_what_is_invalidated_while_it_is_warmed_is_not_served() -> None:
    def work(tenant: str) -> None:
        menu.get_or_compute(tenant, 42, lambda: "old")

    with pause_at("before_store", timeout=60) as paused:
        warming_run = paused.start(lambda: list(run(tasks(work, TENANT))))
        menu.invalidate(TENANT)
        paused.resume()
        assert warming_run.result(60)[0].error is None
    assert menu.get(TENANT, 42) is None
