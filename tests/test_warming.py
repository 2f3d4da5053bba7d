"""Warming: declared functions run for each tenant, some at a time, and what fails is told."""

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from bergizi_redis.cache import warming
from bergizi_redis.cache.warming import Task, Warmed, Warmer, find, plan, run, warm, warmer
from bergizi_redis.exceptions import ConfigurationError, TenantError, UnknownWarmer
from bergizi_redis.management.console import Cell, Progress, clock, table
from bergizi_redis.tenancy import current_tenant, find_tenant
from tests.terminal import Terminal

TENANTS = "tests.warmers.every_kitchen"
NOT_CALLABLE = ("sppg-1",)
Named = Callable[..., Task]


@pytest.fixture
def own_warmers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Warmer]:
    """An empty registry, but for what the test declares."""
    warming.discover()  # the suite's own, if this is the first test to look, are not to go with it
    registry: dict[str, Warmer] = {}
    monkeypatch.setattr(warming, "_registry", registry)
    return registry


@pytest.fixture
def tenants(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TENANTS": TENANTS}


def task(function: Callable[..., Any], tenant: str | None = "sppg-1") -> Task:
    return Task(Warmer("menus", function, per_tenant=tenant is not None), tenant)


def warmed(*words: str, **options: Any) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and the lines of JSON of the command."""
    out = io.StringIO()
    try:
        call_command("warm_cache", *words, stdout=out, **options)
    except SystemExit as end:
        return int(str(end.code)), [json.loads(line) for line in out.getvalue().splitlines()]
    return 0, [json.loads(line) for line in out.getvalue().splitlines()]


# Declaring


def test_a_declared_function_stays_what_it_was(own_warmers: dict[str, Warmer]) -> None:
    @warmer("menus")
    def warm_menus(tenant: str) -> str:
        return tenant

    assert warm_menus("sppg-1") == "sppg-1"
    assert own_warmers["menus"].function is warm_menus


def test_two_functions_cannot_have_one_name(own_warmers: dict[str, Warmer]) -> None:
    @warmer("menus")
    def first(tenant: str) -> None: ...

    with pytest.raises(ConfigurationError, match=r"two warmers 'menus': .*first and .*second\. Give one"):

        @warmer("menus")
        def second(tenant: str) -> None: ...


def test_a_reloaded_module_may_declare_its_warmers_again(own_warmers: dict[str, Warmer]) -> None:
    def declared() -> Callable[..., None]:
        @warmer("menus")
        def warm_menus(tenant: str) -> None: ...

        return warm_menus

    assert declared() is not (again := declared())
    assert own_warmers["menus"].function is again


@pytest.mark.parametrize("name", ["", None, lambda tenant: None])
def test_a_warmer_needs_a_name(name: object) -> None:
    with pytest.raises(TypeError, match="give it a name"):
        warmer(name)


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(UnknownWarmer, match=r"no warmer 'suite\.menu'\. Did you mean 'suite\.menus'\? The warmers are"):
        find(["suite.menu"])
    with pytest.raises(UnknownWarmer, match=r"no warmer 'zzz'\. The warmers are .*suite\.menus"):
        find(["zzz"])


def test_without_any_warmer_the_error_says_how_to_declare_one(own_warmers: dict[str, Warmer]) -> None:
    with pytest.raises(UnknownWarmer, match="None is declared: see @warmer"):
        find(["menus"])


# Planning


def test_every_warmer_meets_every_tenant_once(tenants: None) -> None:
    tasks = [(task.warmer.name, task.tenant) for task in plan(["suite.menus", "suite.shared"])]
    assert tasks == [
        ("suite.menus", "sppg-jakarta-001"),
        ("suite.menus", "sppg-bandung-002"),
        ("suite.shared", None),
    ]


def test_named_tenants_come_first_and_once(settings: Any) -> None:
    assert [task.tenant for task in plan(["suite.menus"], ["sppg-9", "sppg-9"])] == ["sppg-9"]


def test_tenants_are_not_asked_for_where_nobody_needs_them(settings: Any) -> None:
    assert [task.tenant for task in plan(["suite.shared"])] == [None]


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", ConfigurationError, r"Which tenants\? Name them \(--tenant sppg-1\), or set BERGIZI_REDIS\['TENANTS'\]"),
        ("no.such.callable", ConfigurationError, "cannot be imported"),
        (f"{__name__}.NOT_CALLABLE", ConfigurationError, "cannot be called"),
        (f"{__name__}.odd_tenants", TenantError, "is not a tenant id"),
        (f"{__name__}.no_tenants", ConfigurationError, "no_tenants, which .* failed: OSError: no table"),
    ],
)
def test_tenants_that_cannot_be_had_are_an_error(
    settings: Any, path: str, error: type[Exception], message: str
) -> None:
    settings.BERGIZI_REDIS = {"TENANTS": path}
    with pytest.raises(error, match=message):
        plan(["suite.menus"])


def no_tenants() -> list[str]:
    raise OSError("no table")


def odd_tenants() -> list[str]:
    return ["sppg 1"]


def test_a_named_tenant_must_be_one() -> None:
    with pytest.raises(TenantError):
        plan(["suite.menus"], ["sppg:1"])


# Running


def test_a_warmer_runs_for_its_tenant() -> None:
    seen = []
    result = warm(task(lambda tenant: seen.append((tenant, current_tenant()))))
    assert seen == [("sppg-1", "sppg-1")]
    assert (result.warmer, result.tenant, result.error) == ("menus", "sppg-1", None)
    assert result.seconds >= 0


def test_a_coroutine_function_runs_for_its_tenant() -> None:
    seen = []

    async def warm_menus(tenant: str) -> None:
        seen.append((tenant, current_tenant()))

    assert warm(task(warm_menus)).error is None
    assert seen == [("sppg-1", "sppg-1")]


def test_a_warmer_without_tenant_has_none() -> None:
    seen: list[str | None] = []
    assert warm(task(lambda: seen.append(find_tenant()), tenant=None)).error is None
    assert seen == [None]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_failing_warmer_stops_no_other(concurrency: int) -> None:
    def fail(tenant: str) -> None:
        raise ValueError("no rice")

    def leave(tenant: str) -> None:
        raise SystemExit(3)

    results = list(run([task(fail), task(leave), task(lambda tenant: None)], concurrency=concurrency))
    assert sorted(type(result.error).__name__ for result in results) == ["NoneType", "SystemExit", "ValueError"]


def test_as_many_run_at_a_time_as_asked_for() -> None:
    meeting = threading.Barrier(3)
    results = list(run([task(lambda tenant: meeting.wait(60)) for _ in range(6)], concurrency=3))
    assert [result.error for result in results] == [None] * 6


def test_each_thread_closes_its_database_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Connections:
        def close_all(self) -> None:
            closed.append(threading.current_thread().name)

    monkeypatch.setattr(warming, "connections", Connections())
    list(run([task(lambda tenant: None) for _ in range(4)], concurrency=2))
    assert sorted(closed) == ["warmer-0", "warmer-1"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_stopping_lets_those_under_way_end_and_starts_no_other(concurrency: int) -> None:
    stopping = threading.Event()
    meeting = threading.Barrier(concurrency, action=stopping.set)
    results = run([task(lambda tenant: meeting.wait(60)) for _ in range(9)], concurrency=concurrency, stopping=stopping)
    assert len(list(results)) == concurrency


@pytest.mark.parametrize("concurrency", [1, 2])
def test_leaving_early_starts_no_other(concurrency: int) -> None:
    begun = []
    gate = threading.Semaphore(concurrency)

    def step(tenant: str) -> None:
        assert gate.acquire(timeout=60)
        begun.append(tenant)

    results = run([task(step) for _ in range(9)], concurrency=concurrency)
    assert next(iter(results)).error is None
    gate.release(concurrency)
    threading.Thread(target=gate.release, args=(9,)).start()
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("warmer-")]


def test_no_task_is_no_result() -> None:
    assert list(run([], concurrency=4)) == []


# The command


def test_lines_of_json_where_there_is_no_terminal(tenants: None, raw: "redis.Redis", prefix: str) -> None:
    code, lines = warmed("suite.menus", "suite.shared")
    assert code == 0
    assert [(line["warmer"], line["tenant"], line["error"]) for line in lines[:-1]] == [
        ("suite.menus", "sppg-jakarta-001", None),
        ("suite.menus", "sppg-bandung-002", None),
        ("suite.shared", None, None),
    ]
    assert all(line["seconds"] >= 0 for line in lines)
    summary = lines[-1]
    assert (summary["total"], summary["done"], summary["failed"], summary["interrupted"]) == (3, 3, 0, False)
    assert raw.get(f"{prefix}:t:{{sppg-bandung-002}}:menus") == b"warm"


def test_failures_are_told_again_at_the_end_and_exit_1(tenants: None) -> None:
    code, lines = warmed("suite.failing", "--concurrency", "2")
    assert code == 1
    (failure,) = lines[-1]["failures"]
    assert (failure["warmer"], failure["tenant"]) == ("suite.failing", "sppg-bandung-002")
    assert failure["error"] == "ValueError: no rice at sppg-bandung-002"
    assert "traceback" not in failure


def test_verbosity_2_has_the_traceback_and_0_the_summary_alone(tenants: None) -> None:
    _, lines = warmed("suite.failing", verbosity=2)
    assert "in warm_failing" in lines[1]["traceback"]
    _, lines = warmed("suite.failing", verbosity=0)
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite.menu"], "Did you mean 'suite.menus'"),
        (["suite.menus"], "Which tenants"),
        (["suite.menus", "--tenant", "a:b"], "is not a tenant id"),
        (["--concurrency", "0"], "not a number from 1 to 64"),
    ],
)
def test_a_wrong_argument_is_an_error_before_anything_runs(words: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        warmed(*words)
    assert caught.value.returncode == 2 or words[0] == "--concurrency"


def test_outside_the_main_thread_it_runs_all_the_same(tenants: None) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(warmed("suite.shared")[0]))
    thread.start()
    thread.join(60)
    assert codes == [0]


def terminal(prefix: str, redis_url: str, *words: str) -> Terminal:
    settings = "tests.warming_settings"
    return Terminal("warm_cache", *words, DJANGO_SETTINGS_MODULE=settings, TEST_PREFIX=prefix, REDIS_URL=redis_url)


def test_a_terminal_shows_progress_and_what_failed(prefix: str, redis_url: str) -> None:
    with terminal(prefix, redis_url, "suite.menus", "suite.failing", "-v", "2", "--no-color") as console:
        assert console.end() == 1
        assert f"[{'#' * 24}] 4/4" in console.shown
        assert "ETA 0:00" in console.shown
        assert "/s" in console.shown
        assert "suite.failing for sppg-bandung-002: ValueError: no rice at sppg-bandung-002" in console.shown
        assert "in warm_failing" in console.shown
        assert "3 of 4 warmed in" in console.shown
        assert ", 1 failed." in console.shown


def test_a_quiet_terminal_shows_nothing_when_all_is_well(prefix: str, redis_url: str) -> None:
    with terminal(prefix, redis_url, "suite.menus", "-v", "0") as console:
        assert console.end() == 0
        assert console.shown == ""


def test_json_on_a_terminal_is_lines_too(prefix: str, redis_url: str) -> None:
    with terminal(prefix, redis_url, "suite.shared", "--json") as console:
        assert console.end() == 0
        assert [json.loads(line)["seconds"] >= 0 for line in console.shown.splitlines()] == [True, True]


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_ctrl_c_waits_for_those_under_way_and_exits_130(
    prefix: str, redis_url: str, raw: "redis.Redis", concurrency: str
) -> None:
    names = [word for number in range(5) for word in ("--tenant", f"sppg-{number}")]
    with terminal(prefix, redis_url, "suite.held", "--concurrency", concurrency, *names) as console:
        for _ in range(int(concurrency)):
            assert raw.blpop([f"{prefix}:begun"], timeout=50)
        console.interrupt()
        console.until("Stopping after the warmers under way")
        raw.rpush(f"{prefix}:go", *range(int(concurrency)))
        assert console.end() == 130
        assert f"Interrupted: {concurrency} of 5 warmed" in console.shown
        assert "Traceback" not in console.shown


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_a_second_ctrl_c_leaves_them_behind(prefix: str, redis_url: str, raw: "redis.Redis", concurrency: str) -> None:
    with terminal(prefix, redis_url, "suite.held", "--concurrency", concurrency) as console:
        assert raw.blpop([f"{prefix}:begun"], timeout=50)
        console.interrupt()
        console.until("Stopping after the warmers under way")
        console.interrupt()
        assert console.end() == 130
        assert "Traceback" not in console.shown


def test_nothing_to_warm_is_said(prefix: str, redis_url: str) -> None:
    with Terminal("warm_cache", DJANGO_SETTINGS_MODULE="tests.no_warmers_settings", REDIS_URL=redis_url) as console:
        assert console.end() == 0
        assert "nothing to warm" in console.shown


# The console


def test_columns_are_aligned_by_text_not_by_colour() -> None:
    text = table(["A", "B"], [["long word", "x"], [Cell("y", lambda word: f"\x1b[31m{word}\x1b[0m"), "z"]])
    assert text.splitlines() == ["A          B", "long word  x", "\x1b[31my\x1b[0m          z"]


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (67, "1:07"), (3723, "1:02:03")])
def test_a_clock_shows_what_is_left(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_bar_is_drawn_now_and_then_and_at_the_end() -> None:
    stream = io.StringIO()
    bar = Progress(stream, total=1000)
    bar.end()
    assert stream.getvalue() == ""
    for number in range(1000):
        bar.advance(f"menus for sppg-{number}")
    bar.end()
    pictures = stream.getvalue().split("\r")
    assert 2 <= len(pictures) < 500
    assert "1000/1000" in pictures[-1]
    assert stream.getvalue().endswith("\n")
    assert all(len(picture) <= 79 + len("\x1b[K\n") for picture in pictures)


def test_a_result_is_a_plain_value() -> None:
    assert Warmed("menus", None, 0.5) == Warmed("menus", None, 0.5)
