"""Limits of views: whom they count, what they cost, what they tell; sync and async, functions and classes."""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils.decorators import method_decorator
from django.utils.functional import SimpleLazyObject
from django.views.generic import View
from django_ratelimit import ALL as THEIR_ALL
from django_ratelimit import UNSAFE as THEIR_UNSAFE
from django_ratelimit import core as their_core
from django_ratelimit.decorators import ratelimit as their_ratelimit
from django_ratelimit.exceptions import Ratelimited as TheirRatelimited
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.security import ratelimit as module
from bergizi_redis.security.limiting.rates import Rate, rate_of
from bergizi_redis.security.limiting.sources import tag_of
from bergizi_redis.security.ratelimit import Ratelimited, get_usage, is_ratelimited, ratelimit
from bergizi_redis.tenancy import use_tenant
from tests.moments import left_of
from tests.spoken import WAYS, Spoken

Commands = Callable[[], AbstractContextManager[list[str]]]
rf = RequestFactory()
OK = HttpResponse("ok")


def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    return HttpResponse("ok")


async def aview(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    return HttpResponse("ok")


class Limited:
    """A view behind limits, called either way: whether each of the calls passed."""

    def __init__(self, way: str, *decorators: Any) -> None:
        self.view: Any = view if way == "blocking" else aview
        for decorate in reversed(decorators):
            self.view = decorate(self.view)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        call = async_to_sync(self.view) if iscoroutinefunction(self.view) else self.view
        response: HttpResponse = call(request)
        return response

    def passes(self, *requests: HttpRequest) -> list[bool]:
        return [self.pass_one(request) for request in requests]

    def pass_one(self, request: HttpRequest) -> bool:
        try:
            return self(request).status_code == 200
        except Ratelimited:
            return False


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["exact", "gcra", "fixed"])
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def get(address: str = "192.0.2.1", data: Any = None, **extra: Any) -> HttpRequest:
    return rf.get("/", data, REMOTE_ADDR=address, **extra)


def post(data: Any, address: str = "192.0.2.1") -> HttpRequest:
    return rf.post("/", data, REMOTE_ADDR=address)


def signed_in(pk: int, address: str = "192.0.2.1") -> HttpRequest:
    request = get(address)
    request.user = User(pk=pk)
    return request


def choose(settings: Any, **chosen: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **chosen}


def test_the_names_are_those_of_django_ratelimit() -> None:
    assert Ratelimited is TheirRatelimited
    assert issubclass(Ratelimited, PermissionDenied)
    assert module.ALL is ratelimit.ALL is is_ratelimited.ALL is THEIR_ALL  # type: ignore[attr-defined]
    assert module.UNSAFE is ratelimit.UNSAFE is get_usage.UNSAFE is THEIR_UNSAFE  # type: ignore[attr-defined]


class TestWhatAViewIsAllowed:
    def test_so_many_calls_and_no_more(self, way: str, algorithm: str) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="3/d", algorithm=algorithm))
        assert limited.passes(*(get() for _ in range(5))) == [True, True, True, False, False]

    def test_without_blocking_the_view_is_told(self, way: str) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="1/d", block=False))
        requests = [get(), get()]
        assert limited.passes(*requests) == [True, True]
        assert [request.limited for request in requests] == [False, True]  # type: ignore[attr-defined]

    def test_no_rate_is_no_limit_and_asks_nothing(self, way: str, commands: Commands) -> None:
        limited = Limited(way, ratelimit(key="ip", rate=None))
        with commands() as log:
            assert all(limited.passes(*(get() for _ in range(5))))
        assert not log

    @pytest.mark.parametrize("rate", [0, "0/d", (0, 86_400), lambda group, request: "0/s"])
    def test_a_rate_of_nothing_refuses_everything(self, way: str, algorithm: str, rate: Any) -> None:
        limited = Limited(way, ratelimit(key="ip", rate=rate, algorithm=algorithm))
        assert limited.passes(get(), get()) == [False, False]

    def test_a_function_says_the_rate(self, way: str) -> None:
        limited = Limited(way, ratelimit(key="ip", rate=lambda group, request: "1/d" if request.GET else None))
        assert limited.passes(get(), get(), get(data={"q": 1}), get(data={"q": 1})) == [True, True, True, False]

    def test_a_path_names_the_functions(self, way: str) -> None:
        limited = Limited(way, ratelimit(key=f"{__name__}.by_agent", rate=f"{__name__}.one", cost=2, group="paths"))
        assert limited.passes(get(HTTP_USER_AGENT="a"), get(HTTP_USER_AGENT="a"), get(HTTP_USER_AGENT="b")) == [
            True, False, True,
        ]  # fmt: skip

    def test_other_methods_pass_uncounted(self, way: str) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="1/d", method=ratelimit.UNSAFE))  # type: ignore[attr-defined]
        assert limited.passes(get(), get(), post({}), post({})) == [True, True, True, False]

    def test_a_function_says_the_cost(self, way: str, algorithm: str) -> None:
        limited = Limited(
            way,
            ratelimit(key="ip", rate="10/d", algorithm=algorithm, cost=lambda group, request: int(request.GET["n"])),
        )
        assert limited.passes(*(get(data={"n": n}) for n in (6, 4, 1))) == [True, True, False]

    @pytest.mark.parametrize("cost", [-1, 1.5, True, "2"])
    def test_a_cost_that_is_none_is_refused(self, cost: Any) -> None:
        with pytest.raises(ConfigurationError, match="an int of 0 or more"):
            Limited("blocking", ratelimit(key="ip", rate="1/d", cost=cost))(get())

    def test_in_shadow_it_counts_and_tells_the_log_alone(self, way: str, caplog: pytest.LogCaptureFixture) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="1/d", shadow=True, group="api"))
        requests = [get(), get()]
        assert limited.passes(*requests) == [True, True]
        assert not any(request.limited for request in requests)  # type: ignore[attr-defined]
        (told,) = [record for record in caplog.records if record.name.startswith("bergizi_redis")]
        assert told.action == "ratelimit.shadow"  # type: ignore[attr-defined]
        assert "192.0.2.1" not in caplog.text
        assert not is_ratelimited(get(), "api", key="ip", rate="1/d", shadow=True)
        assert is_ratelimited(get(), "api", key="ip", rate="1/d")

    def test_a_project_may_turn_all_of_it_off(self, way: str, settings: Any, commands: Commands) -> None:
        settings.RATELIMIT_ENABLE = False
        with commands() as log:
            assert all(Limited(way, ratelimit(key="ip", rate="1/d")).passes(get(), get()))
        assert not log

    def test_a_project_may_have_an_exception_of_its_own(self, way: str, settings: Any) -> None:
        settings.RATELIMIT_EXCEPTION_CLASS = f"{__name__}.TooFast"
        with pytest.raises(TooFast):
            Limited(way, ratelimit(key="ip", rate="0/d"))(get())


class TooFast(Exception):
    pass


def by_agent(group: str, request: HttpRequest) -> str:
    return str(request.META["HTTP_USER_AGENT"])


def by_pk(group: str, request: HttpRequest) -> int:
    return 1


def one(group: str, request: HttpRequest) -> tuple[int, int]:
    return (2, 86_400)


class TestWhoIsCounted:
    def limited(self, key: Any, rate: str = "1/d") -> Limited:
        return Limited("blocking", ratelimit(key=key, rate=rate))

    def test_addresses_apart(self) -> None:
        assert self.limited("ip").passes(get("192.0.2.1"), get("192.0.2.2"), get("192.0.2.1")) == [True, True, False]

    def test_an_ipv6_network_as_one(self) -> None:
        addresses = "2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"
        assert self.limited("ip").passes(*map(get, addresses)) == [True, False, True]

    def test_ipv4_in_ipv6_dress_as_the_address_that_it_is(self) -> None:
        addresses = "::ffff:192.0.2.1", "::ffff:192.0.2.2", "192.0.2.1"
        assert self.limited("ip").passes(*map(get, addresses)) == [True, True, False]

    def test_the_one_before_the_trusted_proxies(self, settings: Any) -> None:
        choose(settings, TRUSTED_PROXIES=["10.0.0.0/8"])
        told = ["203.0.113.1", "203.0.113.2", "1.1.1.1, 203.0.113.1", "nonsense", "203.0.113.9:80"]
        requests = [get("10.1.1.1", HTTP_X_FORWARDED_FOR=header) for header in told]
        assert self.limited("ip").passes(*requests) == [True, True, False, True, True]

    def test_no_claim_of_a_stranger(self) -> None:
        requests = [get(HTTP_X_FORWARDED_FOR=f"203.0.113.{n}") for n in range(3)]
        assert self.limited("ip").passes(*requests) == [True, False, False]

    def test_the_header_that_a_project_names(self, settings: Any) -> None:
        settings.RATELIMIT_IP_META_KEY = "HTTP_X_REAL_IP"
        addresses = "203.0.113.1", "203.0.113.2", "::ffff:203.0.113.1"
        assert self.limited("ip").passes(*(get("", HTTP_X_REAL_IP=address) for address in addresses)) == [
            True, True, False,
        ]  # fmt: skip

    def test_no_address_at_all_is_the_projects_fault(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="RATELIMIT_IP_META_KEY"):
            self.limited("ip")(get(""))

    @pytest.mark.parametrize("key", ["user", "user_or_ip"])
    def test_users_wherever_they_are(self, key: str) -> None:
        requests = signed_in(1), signed_in(2), signed_in(1, "192.0.2.9")
        assert self.limited(key).passes(*requests) == [True, True, False]

    @pytest.mark.parametrize("key", ["user", "user_or_ip"])
    def test_those_who_are_not_signed_in_by_their_addresses(self, key: str) -> None:
        requests = [get("192.0.2.1"), get("192.0.2.2"), get("192.0.2.1")]
        for request in requests[:2]:
            request.user = AnonymousUser()
        assert self.limited(key).passes(*requests) == [True, True, False]

    def test_a_user_whose_id_is_another_ones_address_apart(self) -> None:
        request = signed_in(1)
        request.user.pk = "192.0.2.1"
        assert self.limited("user").passes(get("192.0.2.1"), request) == [True, True]

    def test_tenants(self) -> None:
        limited = self.limited("tenant")
        passed = []
        for tenant in ("sppg-1", "sppg-2", "sppg-1"):
            with use_tenant(tenant):
                passed.append(limited.pass_one(get()))
        assert passed == [True, True, False]
        assert limited.passes(get("192.0.2.1"), get("192.0.2.2")) == [True, True]

    def test_an_address_whichever_tenant_it_turns_to(self) -> None:
        limited = self.limited("ip")
        with use_tenant("sppg-1"):
            assert limited.pass_one(get())
        with use_tenant("sppg-2"):
            assert not limited.pass_one(get())

    @pytest.mark.parametrize("key", ["post:email", "get:email", "header:email"])
    def test_a_field_for_each_tenant_apart_as_names_are_compared(self, key: str) -> None:
        def request(email: str) -> HttpRequest:
            if key == "header:email":
                return get(HTTP_EMAIL=email)
            return post({"email": email}) if key == "post:email" else get(data={"email": email})

        limited = self.limited(key)
        names = "budi@gizi.id", "siti@gizi.id", "BUDI@gizi.id", "ｂｕｄｉ@gizi.id", "budi\u200b@gizi.id"
        assert limited.passes(*map(request, names)) == [True, True, False, False, False]
        with use_tenant("sppg-1"):
            assert limited.pass_one(request("budi@gizi.id"))

    def test_requests_without_the_field_by_their_addresses(self) -> None:
        requests = post({}), post({"email": ""}, "192.0.2.2"), post({}), post({"email": "a"})
        assert self.limited("post:email").passes(*requests) == [True, True, False, True]

    def test_a_function_is_asked_for_the_group_and_the_request(self) -> None:
        asked = []

        def key(group: str, request: HttpRequest) -> object:
            asked.append((group, request))
            return 7

        request = get()
        Limited("blocking", ratelimit(key=key, rate="1/d", group="api"))(request)
        assert asked == [("api", request)]

    def test_an_exact_limit_is_small_enough_to_be_charged_at_once(self) -> None:
        big: dict[str, Any] = {"key": "ip", "cost": 100_000, "group": "upload"}
        assert Limited("blocking", ratelimit(rate="100000/d", **big)).pass_one(get())
        assert Limited("blocking", ratelimit(rate="100001/d", algorithm="gcra", **big)).pass_one(get())
        with pytest.raises(ConfigurationError, match="algorithm='gcra'"):
            Limited("blocking", ratelimit(rate="100001/d", **big))(get())

    @pytest.mark.parametrize("key", [None, "", "ipp", "cookie:x", ":x", "post:"])
    def test_a_key_that_is_none_names_those_that_are(self, key: Any) -> None:
        with pytest.raises(ConfigurationError, match="'user_or_ip', 'tenant'"):
            self.limited(key)(get())

    def test_an_asynchronous_function_is_refused(self) -> None:
        async def key(group: str, request: HttpRequest) -> str:
            return "x"

        with pytest.raises(ConfigurationError, match="asynchronous"):
            self.limited(key)(get())


class TestWhatIsKept:
    def test_no_key_holds_whom_it_counts(self, raw: "redis.Redis", prefix: str, algorithm: str) -> None:
        for key in ("ip", "user", "post:email"):
            request = post({"email": "budi@gizi.id"})
            request.user = User(pk=4711)
            Limited("blocking", ratelimit(key=key, rate="5/d", algorithm=algorithm))(request)
        names = set(raw.scan_iter(f"{prefix}*ratelimit*"))
        assert len(names) == 3
        for name in names:
            held = name + raw.dump(name)
            assert not [secret for secret in (b"192.0.2.1", b"4711", b"budi") if secret in held]
            assert name.decode().removeprefix(f"{prefix}:security:ratelimit:{{").removesuffix("}").isalnum()

    def test_a_digest_needs_the_secret_key(self, settings: Any) -> None:
        before = tag_of("ip", "192.0.2.1")
        settings.SECRET_KEY = "another"
        assert tag_of("ip", "192.0.2.1") != before
        settings.SECRET_KEY = b"bytes"
        assert len(tag_of("ip", "192.0.2.1")) == 32

    @given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
    def test_no_separator_makes_two_lists_one(self, these: list[str], those: list[str]) -> None:
        assert (tag_of(*these) == tag_of(*those)) == (these == those)

    def test_lone_surrogates_have_a_digest_too(self) -> None:
        assert len(tag_of("\ud800")) == 32

    def test_what_makes_limits_differ(self) -> None:
        def used(**given: Any) -> int:
            return get_usage(get(), **{"group": "a", "key": "ip", "rate": "5/h", **given})["count"]  # type: ignore[index]

        get_usage(get(), "a", key="ip", rate="5/h", increment=True)
        assert used() == used(rate=(5, 3600)) == used(rate="5/3600s") == 1
        others: list[dict[str, Any]] = [
            {"group": "b"}, {"rate": "6/h"}, {"rate": "5/3601s"}, {"algorithm": "gcra"}, {"method": "GET"},
            {"key": by_pk},
        ]  # fmt: skip
        assert [used(**other) for other in others] == [0] * len(others)

    def test_methods_are_one_set_in_any_order(self) -> None:
        get_usage(get(), "a", key="ip", rate="5/d", method=["GET", "post"], increment=True)
        assert get_usage(get(), "a", key="ip", rate="5/d", method=("POST", "GET"))["count"] == 1  # type: ignore[index]


class TestNetworks:
    def test_those_allowed_are_not_counted_and_ask_nothing(self, way: str, commands: Commands) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="1/d", allow=["192.0.2.0/24", "2001:db8::/32"]))
        with commands() as log:
            assert all(limited.passes(get(), get(), get("::ffff:192.0.2.3"), get("2001:db8::1"), get("2001:db8::1")))
        assert not log
        assert limited.passes(get("198.51.100.1"), get("198.51.100.1")) == [True, False]

    def test_those_denied_are_refused_before_any_question(self, way: str, commands: Commands) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="9/d", deny=["192.0.2.0/24"], allow=["192.0.2.1"]))
        with commands() as log:
            assert limited.passes(get("192.0.2.1"), get("::ffff:192.0.2.2")) == [False, False]
        assert not log
        assert limited.passes(get("198.51.100.1")) == [True]

    def test_settings_hold_for_every_limit(self, settings: Any) -> None:
        choose(settings, RATELIMIT_ALLOW=["192.0.2.0/24"], RATELIMIT_DENY=["198.51.100.0/24"])
        limited = Limited("blocking", ratelimit(key="ip", rate="1/d"))
        assert limited.passes(get(), get(), get("198.51.100.1"), get("203.0.113.1")) == [True, True, False, True]

    @pytest.mark.parametrize("given", [{"allow": ["192.0.2.0/99"]}, {"deny": ["nowhere"]}, {"allow": "10.0.0.0/8"}])
    def test_nonsense_is_refused_where_it_stands(self, given: Any) -> None:
        with pytest.raises(ConfigurationError, match=f"{next(iter(given))}.* of a rate limit"):
            ratelimit(key="ip", rate="1/d", **given)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("5/s", 1), ("5/10s", 10), ("5/10", 10), ("5/m", 60), ("5/10m", 600), ("5/h", 3600), ("5/d", 86_400), ("5/", 1),
     ("5/minute", 60), ("5/2hours", 7200), (" 5/M ", 60), ((5, 7), 7), ([5, 7], 7)],
)  # fmt: skip
def test_a_rate_is_a_number_and_a_period(given: Any, seconds: int) -> None:
    assert rate_of(given) == Rate(5, seconds)


@pytest.mark.parametrize(
    "given", ["5", "", "m", "5/month", "5/0", "5/0s", "-5/m", "5/m/h", "٥/m", (5, 0), (-1, 60), (5,), 5, True, "5/999d"]
)  # fmt: skip
def test_what_is_no_rate_says_what_would_be(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="such as '5/m'"):
        rate_of(given)


@pytest.mark.parametrize("given", [{"algorithm": "exakt"}, {"on_error": "shut"}])
def test_a_choice_that_there_is_not_names_those_that_are(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="choose one of"):
        ratelimit(key="ip", rate="1/m", **given)


class TestUsage:
    @pytest.fixture
    def spoken(self, way: str) -> Spoken:
        return Spoken(module, way)

    def test_tells_how_a_limit_stands(self, spoken: Spoken, algorithm: str) -> None:
        asked = {"group": "a", "key": "ip", "rate": "2/h", "algorithm": algorithm}
        first = spoken.get_usage(get(), increment=True, **asked)
        assert first == {
            "count": 1, "limit": 2, "should_limit": False, "remaining": 1, "retry_after": 0,
            "time_left": 1800 if algorithm == "gcra" else 3600,
        }  # fmt: skip
        spoken.get_usage(get(), increment=True, **asked)
        third = spoken.get_usage(get(), increment=True, **asked)
        assert third["should_limit"]
        assert third["remaining"] == 0
        assert third["retry_after"] == left_of(1800 if algorithm == "gcra" else 3600)

    def test_asking_without_counting_says_whether_a_call_would_pass(self, spoken: Spoken) -> None:
        asked = {"group": "a", "key": "ip", "rate": "1/d"}
        assert not spoken.is_ratelimited(get(), **asked)
        assert not spoken.is_ratelimited(get(), increment=True, **asked)
        assert spoken.is_ratelimited(get(), **asked)

    def test_is_nothing_where_the_limit_does_not_concern_the_request(self, spoken: Spoken) -> None:
        assert spoken.get_usage(get(), group="a", key="ip", rate="1/d", method="POST") is None
        assert spoken.is_ratelimited(get(), group="a", key="ip", rate="1/d", method="POST") is False

    def test_needs_a_group_or_a_function(self, spoken: Spoken) -> None:
        with pytest.raises(ImproperlyConfigured, match="`group`"):
            spoken.get_usage(get(), key="ip", rate="1/d")
        assert spoken.get_usage(get(), fn=view, key="ip", rate="1/d")["count"] == 0


class TestOneRoundTrip:
    def test_a_call_is_one_command(self, way: str, algorithm: str, commands: Commands) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="3/d", algorithm=algorithm))
        limited(get())
        with commands() as log:
            limited(get())
        assert len(log) == 1
        assert log[0].startswith("EVALSHA")

    def test_of_several_limits_too(self, way: str, commands: Commands) -> None:
        limited = Limited(
            way,
            ratelimit(key="ip", rate="9/d"),
            ratelimit(key="user_or_ip", rate="3/d", algorithm="gcra"),
            ratelimit(key="header:user-agent", rate="99/d", algorithm="fixed"),
        )
        limited(get())
        with commands() as log:
            response = limited(get())
        assert len(log) == 1
        assert response.headers["RateLimit"].count(";r=") == 3
        assert limited.passes(get(), get()) == [True, False]

    def test_a_decorator_in_between_goes_on_being_called(self, commands: Commands) -> None:
        from functools import wraps

        seen = []

        def between(inner: Any) -> Any:
            @wraps(inner)
            def called(request: HttpRequest) -> Any:
                seen.append(request)
                return inner(request)

            return called

        limited = Limited("blocking", ratelimit(key="ip", rate="5/d"), between, ratelimit(key="ip", rate="1/d"))
        assert limited.passes(get(), get()) == [True, False]
        assert len(seen) == 2

    def test_a_view_that_is_limited_twice_keeps_its_own_limit(self) -> None:
        inner = ratelimit(key="ip", rate="1/d")(view)
        outer = ratelimit(key="header:x", rate="9/d", group="outer")(inner)
        assert outer(get()).status_code == 200
        with pytest.raises(Ratelimited):
            inner(get())

    def test_a_refusal_of_an_outer_limit_leaves_the_inner_one_alone(self) -> None:
        limited = Limited(
            "blocking", ratelimit(key="ip", rate="1/d", group="outer"), ratelimit(key="ip", rate="9/d", group="inner")
        )
        limited.passes(get(), get(), get())
        assert get_usage(get(), "inner", key="ip", rate="9/d")["count"] == 1  # type: ignore[index]


class TestHeaders:
    def test_tell_both_generations_of_clients(self, way: str) -> None:
        limited = Limited(way, ratelimit(key="ip", rate="5/m", group="api"))
        headers = limited(get()).headers
        assert {name: value for name, value in headers.items() if name.startswith("RateLimit")} == {
            "RateLimit-Limit": "5",
            "RateLimit-Remaining": "4",
            "RateLimit-Reset": "60",
            "RateLimit-Policy": '"api";q=5;w=60',
            "RateLimit": '"api";r=4;t=60',
        }

    def test_are_about_the_limit_that_is_nearest_to_its_end(self) -> None:
        limited = Limited("blocking", ratelimit(key="ip", rate="9/m"), ratelimit(key="ip", rate="3/h"))
        headers = limited(get()).headers
        assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("3", "2")
        assert headers["RateLimit-Policy"] == '"9/60s";q=9;w=60, "3/3600s";q=3;w=3600'

    def test_say_nothing_of_what_does_not_count(self) -> None:
        shadow = Limited("blocking", ratelimit(key="ip", rate="9/d", shadow=True))
        free = Limited("blocking", ratelimit(key="ip", rate=None))
        assert not [name for limited in (shadow, free) for name in limited(get()).headers if "Limit" in name]

    def test_may_be_turned_off(self, settings: Any) -> None:
        choose(settings, RATELIMIT_HEADERS=False)
        assert "RateLimit" not in Limited("blocking", ratelimit(key="ip", rate="9/d"))(get()).headers

    def test_cannot_be_broken_by_a_groups_name(self) -> None:
        limited = Limited("blocking", ratelimit(key="ip", rate="9/d", group='a"b\\\r\nSet-Cookie: x=dapur ❤'))
        assert limited(get()).headers["RateLimit"].startswith('"a\\"b\\\\??Set-Cookie: x=dapur ?";r=8')

    def test_come_from_limits_asked_by_hand_too(self) -> None:
        @ratelimit(key="ip", rate="9/d")
        def by_hand(request: HttpRequest) -> HttpResponse:
            return HttpResponse(json.dumps(get_usage(request, "b", key="ip", rate="2/d", increment=True)))

        assert by_hand(get()).headers["RateLimit-Limit"] == "2"


limit_ip = ratelimit(key="ip", rate="1/d", group="classes")


class TestClasses:
    """A class-based view, called as Django does."""

    def answers(self, made: type[View], *requests: HttpRequest) -> list[bool]:
        called: Any = made.as_view()
        call: Any = async_to_sync(called) if made.view_is_async else called
        return [self.answer(call, request) for request in requests]

    def answer(self, call: Any, request: HttpRequest) -> bool:
        try:
            response = call(request)
        except Ratelimited:
            return False
        assert isinstance(response, HttpResponse)
        return response.headers["RateLimit-Limit"] == "1"

    def test_a_method(self) -> None:
        class Menus(View):
            @method_decorator(limit_ip)
            def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        assert self.answers(Menus, get(), get()) == [True, False]

    def test_an_asynchronous_method_is_awaited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Menus(View):
            @method_decorator(limit_ip)
            async def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        forbid_blocking(monkeypatch)
        assert Menus.view_is_async
        assert self.answers(Menus, get(), get()) == [True, False]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_the_dispatch_of_a_class(self, is_async: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        class Menus(View):
            def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        class AsyncMenus(View):
            async def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        if is_async:
            forbid_blocking(monkeypatch)
        made = method_decorator(limit_ip, name="dispatch")(AsyncMenus if is_async else Menus)
        assert self.answers(made, get(), get()) == [True, False]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_list_of_limits_is_one_round_trip(self, is_async: bool, commands: Commands) -> None:
        both = [limit_ip, ratelimit(key="ip", rate="5/h")]

        class Menus(View):
            @method_decorator(both)
            def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        class AsyncMenus(View):
            @method_decorator(both)
            async def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        with commands() as log:
            assert self.answers(AsyncMenus if is_async else Menus, get(), get()) == [True, False]
        assert len([command for command in log if command.startswith("EVALSHA")]) == 2

    def test_what_as_view_makes_is_named_after_its_class(self) -> None:
        class Menus(View):
            def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        class Orders(Menus):
            pass

        limit = ratelimit(key="ip", rate="1/d")
        menus, orders = limit(Menus.as_view()), limit(Orders.as_view())
        assert [self.answer(call, get()) for call in (menus, orders, menus)] == [True, True, False]

    def test_what_as_view_makes_of_an_asynchronous_class_is_asynchronous(self) -> None:
        class Menus(View):
            async def get(self, request: HttpRequest) -> HttpResponse:
                return HttpResponse("ok")

        limited = limit_ip(Menus.as_view())
        assert iscoroutinefunction(limited)
        assert self.answer(async_to_sync(limited), get())


def forbid_blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocked(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("an asynchronous view asked Redis while blocking its loop")

    monkeypatch.setattr("bergizi_redis.security.limiting.charging.client", blocked)


class TestAsynchronousViews:
    def test_are_awaited_and_answer_a_response(self, monkeypatch: pytest.MonkeyPatch) -> None:
        forbid_blocking(monkeypatch)
        awaited = []

        @ratelimit(key="ip", rate="1/d")
        async def menus(request: HttpRequest) -> HttpResponse:
            awaited.append(request)
            return HttpResponse("ok")

        assert iscoroutinefunction(menus)
        assert async_to_sync(menus)(get()).headers["RateLimit-Remaining"] == "0"
        assert len(awaited) == 1
        with pytest.raises(Ratelimited):
            async_to_sync(menus)(get())
        assert len(awaited) == 1

    @pytest.mark.django_db(transaction=True)
    def test_functions_of_the_project_may_ask_the_database(self) -> None:
        def key(group: str, request: HttpRequest) -> int:
            return User.objects.count()

        assert Limited("awaiting", ratelimit(key=key, rate="1/d")).passes(get(), get()) == [True, False]

    def test_the_user_is_loaded_natively(self) -> None:
        loaded = []

        async def auser() -> User:
            loaded.append(True)
            return User(pk=1)

        def forbidden() -> User:
            raise AssertionError("the database was asked while the loop was blocked")

        def request() -> HttpRequest:
            made = get()
            made.user = SimpleLazyObject(forbidden)  # type: ignore[assignment]
            made.auser = auser
            return made

        assert Limited("awaiting", ratelimit(key="user", rate="1/d")).passes(request(), request()) == [True, False]
        assert loaded == [True, True]

    def test_a_user_that_another_middleware_has_set_stays(self) -> None:
        async def auser() -> AnonymousUser:
            return AnonymousUser()

        requests = signed_in(1), signed_in(2)
        for request in requests:
            request.auser = auser
        assert Limited("awaiting", ratelimit(key="user", rate="1/d")).passes(*requests) == [True, True]


def test_both_packages_work_in_one_project(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(their_core, "time", SimpleNamespace(time=lambda: now))  # their windows end by the clock's day
    theirs = their_ratelimit(key="ip", rate="1/d")(view)
    ours = ratelimit(key="ip", rate="1/d")(view)
    both = ratelimit(key="ip", rate="1/d", group="both")(their_ratelimit(key="ip", rate="9/d")(view))
    for limited in (theirs, ours, both):
        assert limited(get()).status_code == 200
        with pytest.raises(Ratelimited):
            limited(get())


def test_django_ratelimits_settings_are_read_live(settings: Any) -> None:
    limited = Limited("blocking", ratelimit(key="ip", rate="1/h"))
    assert limited.passes(get(), get()) == [True, False]
    settings.RATELIMIT_ENABLE = False
    assert limited.passes(get()) == [True]
    settings.RATELIMIT_ENABLE = True
    assert limited.passes(get()) == [False]
    del settings.RATELIMIT_ENABLE
    assert limited.passes(get()) == [False]
