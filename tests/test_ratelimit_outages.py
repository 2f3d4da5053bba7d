"""Redis killed, hung, full, a replica or forgetful: each limit does what its ``on_error`` says, and never hangs."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError

from bergizi_redis import connections
from bergizi_redis.budget import within
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.security.limiting.charging import charge
from bergizi_redis.security.limiting.fallback import LOCAL
from bergizi_redis.security.ratelimit import Ratelimited, RateLimitUnavailable, get_usage, is_ratelimited, ratelimit
from tests.allowances import granted
from tests.ratelimits import quota
from tests.servers import PrivateServer, free_port

rf = RequestFactory()
MODES = ("degrade", "closed", "open")
both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    LOCAL.forget()
    yield
    connections.disconnect_all()
    LOCAL.forget()


def calls(times: int, is_async: bool = False, **given: Any) -> list[str]:
    """What became of each call: "passed", "refused" or "unavailable"."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    async def aview(request: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    decorate = ratelimit(**{"group": "menus", "key": "ip", "rate": "3/h", **given})
    call: Any = async_to_sync(decorate(aview)) if is_async else decorate(view)

    def one() -> str:
        try:
            call(rf.get("/"))
        except RateLimitUnavailable:
            return "unavailable"
        except Ratelimited:
            return "refused"
        return "passed"

    return [one() for _ in range(times)]


class TestKilled:
    @pytest.fixture(autouse=True)
    def killed(self, server: PrivateServer) -> None:
        server.kill()

    @both
    def test_degrading_counts_in_this_process(self, is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
        assert calls(5, is_async) == ["passed"] * 3 + ["refused"] * 2
        assert "Redis cannot count calls" in caplog.text

    def test_degrading_is_exact_for_threads(self) -> None:
        with ThreadPoolExecutor(32) as pool:
            outcomes = list(pool.map(lambda _: calls(1)[0], range(64)))
        assert outcomes.count("passed") == 3

    @both
    def test_failing_closed_refuses(self, is_async: bool) -> None:
        assert calls(2, is_async, on_error="closed") == ["unavailable"] * 2

    @both
    def test_failing_open_lets_pass(self, is_async: bool) -> None:
        assert calls(5, is_async, on_error="open") == ["passed"] * 5

    def test_a_refusal_that_is_an_outage_says_why(self) -> None:
        @ratelimit(key="ip", rate="3/h", on_error="closed")
        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse("ok")

        with pytest.raises(RateLimitUnavailable) as refusal:
            view(rf.get("/"))
        assert isinstance(refusal.value, Ratelimited)
        assert isinstance(refusal.value, RedisUnavailable)
        assert isinstance(refusal.value.__cause__, RedisError)
        assert refusal.value.retry_after > 0

    def test_settings_say_it_for_limits_that_do_not(self, settings: Any) -> None:
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "RATELIMIT_ON_OUTAGE": "closed"}
        assert calls(1) == ["unavailable"]
        assert calls(1, on_error="open") == ["passed"]
        settings.RATELIMIT_FAIL_OPEN = True
        assert calls(1) == ["passed"]

    @pytest.mark.parametrize("mode", MODES)
    def test_a_limit_of_nothing_refuses_all_the_same(self, mode: str) -> None:
        for algorithm in ("exact", "fixed"):
            assert "passed" not in calls(2, rate="0/m", on_error=mode, algorithm=algorithm)

    @pytest.mark.parametrize("mode", MODES)
    def test_in_shadow_nothing_is_refused(self, mode: str) -> None:
        assert calls(5, on_error=mode, shadow=True) == ["passed"] * 5

    def test_without_blocking_the_view_is_told(self) -> None:
        request = rf.get("/")
        ratelimit(key="ip", rate="3/h", on_error="closed", block=False)(lambda request: HttpResponse())(request)
        assert request.limited is True  # type: ignore[attr-defined]

    def test_who_asks_by_hand_is_told_as_by_django_ratelimit(self) -> None:
        asked: Any = {"group": "a", "key": "ip", "rate": "3/h"}
        usage = get_usage(rf.get("/"), on_error="closed", increment=True, **asked)
        assert usage == {
            "count": 0, "limit": 0, "should_limit": True, "time_left": -1, "remaining": 0, "retry_after": 5,
        }  # fmt: skip
        assert is_ratelimited(rf.get("/"), on_error="closed", **asked)
        assert not is_ratelimited(rf.get("/"), on_error="open", increment=True, **asked)

    def test_a_project_s_own_exception_is_raised_here_too(self, settings: Any) -> None:
        settings.RATELIMIT_EXCEPTION_CLASS = ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            calls(1, on_error="closed")

    def test_limits_of_one_view_each_do_as_they_say(self) -> None:
        verdicts = charge([quota(1, on_error="open"), quota(1, on_error="degrade"), quota(1, on_error="closed")])
        assert [verdict.refused for verdict in verdicts] == [False, False, True]


def test_an_outage_begins_where_redis_left_off(server: PrivateServer) -> None:
    assert calls(2) == ["passed"] * 2
    server.kill()
    assert calls(3) == ["passed", "refused", "refused"]


def test_when_redis_is_back_it_counts_again(server: PrivateServer) -> None:
    server.kill()
    calls(4)
    server.start()
    assert calls(4) == ["passed"] * 3 + ["refused"]


class TestHung:
    @pytest.fixture(autouse=True)
    def hung(self, server: PrivateServer, settings: Any) -> Iterator[None]:
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 0.3}
        calls(1, group="warm")
        async_to_sync(asyncio.sleep)(0)
        server.pause()
        yield
        server.resume()

    @both
    def test_calls_to_a_hung_server_wait_for_one_budget(self, is_async: bool) -> None:
        with granted() as waits:
            assert calls(5, is_async) == ["passed"] * 3 + ["refused"] * 2
        assert sum(waits) < 2, "each command once"

    def test_a_storm_at_a_hung_server_does_not_wait_in_line(self) -> None:
        with granted() as waits, ThreadPoolExecutor(100) as pool:
            outcomes = list(pool.map(lambda _: calls(1)[0], range(100)))
        assert outcomes.count("passed") == 3
        assert sum(waits) < 15, "half of what they would wait one by one"


@both
def test_a_server_out_of_memory_counts_as_down(server: PrivateServer, is_async: bool) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "1")
        for algorithm in ("exact", "gcra", "fixed"):
            outcomes = calls(4, is_async, algorithm=algorithm)
            assert outcomes == ["passed"] * 3 + ["refused"], algorithm
            assert calls(1, is_async, algorithm=algorithm, on_error="closed") == ["unavailable"]
        client.config_set("maxmemory", "0")


@both
def test_a_replica_counts_as_down(server: PrivateServer, is_async: bool) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", free_port())
        assert calls(4, is_async) == ["passed"] * 3 + ["refused"]
        assert calls(1, is_async, on_error="closed") == ["unavailable"]
        client.replicaof("NO", "ONE")
    assert calls(4, is_async) == ["passed"] * 3 + ["refused"]


@both
def test_a_server_that_forgot_the_script_is_told_it_again(server: PrivateServer, is_async: bool) -> None:
    with server.client() as client:
        assert calls(2, is_async) == ["passed"] * 2
        client.script_flush()
        assert calls(2, is_async) == ["passed", "refused"]


def test_a_flushed_server_starts_afresh(server: PrivateServer) -> None:
    with server.client() as client:
        assert calls(4)[-1] == "refused"
        client.flushall()
        assert calls(1) == ["passed"]


@pytest.mark.parametrize("mode", MODES)
def test_an_error_that_is_no_outage_is_raised(server: PrivateServer, mode: str) -> None:
    asked = quota(3, on_error=mode)
    with server.client() as client:
        client.set(asked.key, "not a list")
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            charge([asked])


@pytest.mark.parametrize(
    ("mode", "outcome"), [("degrade", "unavailable"), ("closed", "unavailable"), ("open", "passed")]
)
def test_a_full_pool_is_no_outage_and_is_not_counted_here(settings: Any, mode: str, outcome: str) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "MAX_CONNECTIONS": 1}
    connections.disconnect_all()
    pool = connections.client().connection_pool
    taken = pool.get_connection()
    try:
        with within(0.2):
            assert calls(2, on_error=mode) == [outcome] * 2
            (verdict,) = charge([quota(3, on_error="closed")])
        assert isinstance(verdict.cause, MaxConnectionsError)
    finally:
        pool.release(taken)
    assert calls(3, on_error=mode) == ["passed"] * 3
