"""``@cache_view``: what is kept and for whom, what is never kept, and who is told that nothing has changed.

Guards taken away once to see these tests go red: storing under the token of before the view ran, asking whether the
request is somebody's own, the tenant, session and credentials in the name of an answer, language and time zone in it,
storing for GET alone, and each thing that keeps an answer from being kept: cookies, tokens, messages, ``Vary``.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import caches
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.template import engines
from django.template.response import TemplateResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.utils import translation
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.vary import (
    vary_on_headers,
    vary_on_language,
    vary_on_query,
    vary_on_tenant,
    vary_on_user,
)
from bergizi_redis.cache.views import cache_view
from bergizi_redis.exceptions import CacheKeyError, ConfigurationError
from bergizi_redis.tenancy import current_tenant, use_tenant

WAYS = ("sync", "async")
Ask = Callable[..., Any]


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


class Counted:
    """A view, sync or async, that counts its calls; ``answer`` makes its response."""

    def __init__(self, way: str, answer: Callable[[HttpRequest], Any] | None = None, **options: Any) -> None:
        self.calls = 0
        self.way = way

        def view(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return answer(request) if answer else HttpResponse(f"answer {self.calls}")

        async def aview(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return view(request, *args, **kwargs)

        decorate = cache_view(**{"timeout": 300, "tags": ["menus"], "per_tenant": False, **options})
        self.view: Any = decorate(view if way == "sync" else aview)

    def ask(self, path: str = "/menus/", method: str = "GET", args: tuple[Any, ...] = (), **request: Any) -> Any:
        user = request.pop("user", AnonymousUser())
        cookies = request.pop("cookies", {})
        made = RequestFactory().generic(method, path, **request)
        made.COOKIES.update(cookies)
        made.user = user
        if self.way == "sync":
            return self.view(made, *args)

        async def auser() -> Any:
            return user

        made.auser = auser
        return asyncio.run(self.view(made, *args))


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_answer_is_kept_until_its_tag_is_voided(way: str, cache: TaggedRedisCache) -> None:
    view = Counted(way)
    first = view.ask()
    assert [view.ask().content for _ in range(2)] == [b"answer 1"] * 2
    assert view.ask().headers == first.headers
    cache.invalidate_tags(["menus"])
    assert [view.ask().content for _ in range(2)] == [b"answer 2"] * 2


def test_who_has_the_answer_is_told_that_nothing_changed(way: str, cache: TaggedRedisCache) -> None:
    view = Counted(way)
    etag = view.ask().headers["ETag"]
    for _ in range(2):
        again = view.ask(headers={"if-none-match": etag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert view.calls == 1
    cache.invalidate_tags(["menus"])
    changed = view.ask(headers={"if-none-match": etag})
    assert (changed.status_code, changed.content) == (200, b"answer 2")
    assert changed.headers["ETag"] != etag
    assert view.ask(headers={"if-none-match": f'W/"other", {changed.headers["ETag"]}'}).status_code == 304


def test_browsers_ask_again_each_time(way: str) -> None:
    assert Counted(way).ask().headers["Cache-Control"] == "no-cache"
    assert Counted(way, vary=vary_on_user).ask().headers["Cache-Control"] == "no-cache, private"
    kept = Counted(way, lambda _: HttpResponse("a", headers={"Cache-Control": "max-age=60", "ETag": '"own"'}))
    for _ in range(2):
        assert kept.ask("/kept/").headers["Cache-Control"] == "max-age=60"
        assert kept.ask("/kept/").headers["ETag"] == '"own"'
    assert kept.calls == 1


def test_an_answer_comes_back_as_it_was(way: str) -> None:
    body = bytes(range(256))
    view = Counted(way, lambda _: HttpResponse(body, content_type="image/png", headers={"X-Source": "database"}))
    for _ in range(2):
        answer = view.ask()
        assert (answer.content, answer.headers["Content-Type"], answer.headers["X-Source"]) == (
            body, "image/png", "database",
        )  # fmt: skip
    assert view.calls == 1
    bare = Counted(way, lambda _: without_type())
    for _ in range(2):
        assert not bare.ask("/bare/").has_header("Content-Type")
        assert not bare.ask("/bare/").has_header("Vary")


def without_type() -> HttpResponse:
    response = HttpResponse("a")
    del response.headers["Content-Type"]
    return response


def test_a_template_response_is_rendered_once(way: str) -> None:
    template = engines["django"].from_string("{{ word }}")
    view = Counted(way, lambda request: TemplateResponse(request, template, {"word": "soto"}))
    for _ in range(2):
        assert view.ask().content == b"soto"
    assert view.calls == 1


def test_head_is_answered_from_what_get_has_left_but_leaves_nothing(way: str) -> None:
    view = Counted(way)
    for _ in range(2):
        view.ask(method="HEAD")
    assert view.calls == 2
    view.ask()
    assert view.ask(method="HEAD").headers["ETag"] == view.ask().headers["ETag"]
    assert view.calls == 3


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_go_to_the_view(way: str, method: str) -> None:
    view = Counted(way)
    view.ask()
    for _ in range(2):
        assert not view.ask(method=method).has_header("ETag")
    assert view.calls == 3


NEVER: dict[str, Callable[[HttpRequest], Any]] = {
    "not found": lambda _: HttpResponse("a", status=404),
    "created": lambda _: HttpResponse("a", status=201),
    "an error": lambda _: HttpResponse("a", status=500),
    "a stream": lambda _: StreamingHttpResponse(["a"]),
    "a cookie": lambda _: with_cookie(),
    "private": lambda _: HttpResponse("a", headers={"Cache-Control": "max-age=5, Private"}),
    "private fields": lambda _: HttpResponse("a", headers={"Cache-Control": 'private="x-name"'}),
    "no-store": lambda _: HttpResponse("a", headers={"Cache-Control": "no-store"}),
    "never_cache": never_cache(lambda _: HttpResponse("a")),
    "vary on cookies": lambda _: HttpResponse("a", headers={"Vary": "Accept-Encoding, Cookie"}),
    "vary on everything": lambda _: HttpResponse("a", headers={"Vary": "*"}),
    "vary on a header that is not told": lambda _: HttpResponse("a", headers={"Vary": "Accept"}),
    "a CSRF token": lambda request: HttpResponse(get_token(request)),
    "messages": lambda request: with_messages(request),
}


def with_cookie() -> HttpResponse:
    response = HttpResponse("a")
    response.set_cookie("a", "b")
    return response


def with_messages(request: HttpRequest) -> HttpResponse:
    from django.contrib.messages import get_messages, info
    from django.contrib.messages.storage.cookie import CookieStorage

    request._messages = CookieStorage(request)  # type: ignore[attr-defined]
    info(request, "saved")
    return HttpResponse("".join(str(message) for message in get_messages(request)))


@pytest.mark.parametrize("what", NEVER)
def test_what_is_never_kept(way: str, what: str) -> None:
    view = Counted(way, NEVER[what], vary=[vary_on_user, vary_on_headers("Cookie")])
    for _ in range(2):
        assert view.ask().status_code in (200, 201, 404, 500)
    assert view.calls == 2


def test_what_fails_is_not_kept(way: str) -> None:
    def fail(request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    view = Counted(way, fail)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            view.ask()
    assert view.calls == 2


def test_an_answer_of_before_an_invalidation_is_not_served_after_it(way: str, cache: TaggedRedisCache) -> None:
    """The writer writes while the view computes."""
    writes = [lambda: cache.invalidate_tags(["menus"])]

    def answer(request: HttpRequest) -> HttpResponse:
        text = "old" if writes else "new"
        while writes:
            writes.pop()()
        return HttpResponse(text)

    view = Counted(way, answer)
    assert [view.ask().content for _ in range(3)] == [b"old", b"new", b"new"]
    assert view.calls == 2


# For whom


def test_the_address_tells_answers_apart(way: str) -> None:
    view = Counted(way)
    for _ in range(2):
        for path in ("/a/", "/b/", "/a/?page=1", "/a/?page=2", "/a/?page=1&page=2"):
            view.ask(path)
        view.ask("/a/", headers={"host": "other.example.org"})
        view.ask("/a/", args=("active",))
    assert view.calls == 7
    view.ask("/a/?x=1&y=2")
    view.ask("/a/?y=2&x=1")
    assert view.calls == 8
    with pytest.raises(CacheKeyError):
        view.ask(args=(object(),))


def test_vary_on_query_heeds_these_parameters_alone(way: str) -> None:
    view = Counted(way, vary=[vary_on_query("page"), vary_on_query("status")])
    for path in ("/?page=1", "/?page=1&utm=x", "/?utm=y&page=1", "/?page=2", "/?page=1&status=a"):
        view.ask(path)
    assert view.calls == 3


def test_vary_on_headers_heeds_them_and_says_so(way: str) -> None:
    view = Counted(way, vary=vary_on_headers("Accept", "X-Unit"))
    for accept in ("text/html", "application/json", "text/html"):
        assert view.ask(headers={"accept": accept}).headers["Vary"] == "Accept, X-Unit"
    assert view.calls == 2
    said = Counted(way, lambda _: HttpResponse("a", headers={"Vary": "accept"}), vary=vary_on_headers("Accept"))
    assert [said.ask("/said/").status_code for _ in range(2)] == [200, 200]
    assert said.calls == 1


def test_each_language_has_its_own_in_any_case(way: str) -> None:
    view = Counted(way, vary=vary_on_language)
    for language in ("id", "en", "id"):
        with translation.override(language):
            assert view.ask().headers["Vary"] == "Accept-Language"
    assert view.calls == 2


SOMEBODY: dict[str, dict[str, Any]] = {
    "signed in": {"user": User(pk=1)},
    "with a session": {"cookies": {"sessionid": "s1"}},
    "with credentials": {"headers": {"authorization": "Bearer 1"}},
}
ELSE: dict[str, dict[str, Any]] = {
    "signed in": {"user": User(pk=2)},
    "with a session": {"cookies": {"sessionid": "s2"}},
    "with credentials": {"headers": {"authorization": "Bearer 2"}},
}


@pytest.mark.parametrize("who", SOMEBODY)
def test_who_says_who_he_is_gets_no_kept_answer_and_leaves_none(way: str, who: str) -> None:
    view = Counted(way)
    for _ in range(2):
        assert not view.ask(**SOMEBODY[who]).has_header("ETag")
    view.ask()
    view.ask(**SOMEBODY[who])
    assert view.calls == 4


@pytest.mark.parametrize("who", SOMEBODY)
def test_vary_on_user_keeps_answers_for_each(way: str, who: str) -> None:
    view = Counted(way, vary=[vary_on_user])
    for _ in range(2):
        for request in (SOMEBODY[who], ELSE[who], {}):
            assert view.ask(**request).headers["Vary"] == "Cookie"
    assert view.calls == 3


def test_vary_on_tenant_gives_all_users_of_a_tenant_the_same(way: str) -> None:
    view = Counted(way, vary=vary_on_tenant)
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            for request in (*SOMEBODY.values(), *ELSE.values()):
                view.ask(**request)
    assert view.calls == 2
    view.ask()
    view.ask()
    assert view.calls == 4  # without a tenant it is nobody's


def test_per_tenant_each_tenant_has_its_own(way: str, cache: TaggedRedisCache) -> None:
    view = Counted(way, lambda _: JsonResponse({"tenant": current_tenant()}), per_tenant=True)
    for _ in range(2):
        for tenant in ("sppg-a", "sppg-b"):
            with use_tenant(tenant):
                assert tenant.encode() in view.ask().content
    assert view.calls == 2
    cache.invalidate_tags(["menus"], tenant="sppg-b")
    with use_tenant("sppg-a"):
        view.ask()
    assert view.calls == 2
    with use_tenant("sppg-b"):
        view.ask()
    assert view.calls == 3


def test_per_tenant_without_a_tenant_the_view_answers(way: str) -> None:
    view = Counted(way, per_tenant=True)
    assert [view.ask().content for _ in range(2)] == [b"answer 1", b"answer 2"]


# Class-based views


def test_a_class_based_view_by_method_decorator() -> None:
    calls: list[str] = []

    @method_decorator(cache_view(timeout=300, per_tenant=False), name="dispatch")
    class One(View):
        def get(self, request: HttpRequest, name: str) -> HttpResponse:
            calls.append(name)
            return HttpResponse(name)

    @method_decorator(cache_view(timeout=300, per_tenant=False), name="dispatch")
    class Other(One):
        pass

    @method_decorator(cache_view(timeout=300, per_tenant=False), name="dispatch")
    class Waiting(View):
        async def get(self, request: HttpRequest, name: str) -> HttpResponse:
            calls.append(name)
            return HttpResponse(name)

    for _ in range(2):
        assert One.as_view()(RequestFactory().get("/"), name="one").content == b"one"  # type: ignore[attr-defined]
        assert Other.as_view()(RequestFactory().get("/"), name="other").content == b"other"  # type: ignore[attr-defined]
        waiting: Any = Waiting.as_view()(AsyncRequestFactory().get("/"), name="waiting")
        assert asyncio.run(waiting).content == b"waiting"
    assert calls == ["one", "other", "waiting"]


# Settings and outages


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": "5"}, {"tags": "menus"}, {"vary": ["page"]}])
def test_wrong_options_are_told_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="@cache_view"):
        cache_view(**{"timeout": 300, **options})


def test_any_serializer_of_the_alias_will_do(way: str, settings: Any) -> None:
    options = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
    settings.CACHES = {"default": {**settings.CACHES["default"], "OPTIONS": options}}
    view = Counted(way, lambda _: HttpResponse(b"\xff\x00"))
    assert [view.ask().content for _ in range(2)] == [b"\xff\x00"] * 2
    assert view.calls == 1


def test_with_redis_down_the_view_answers_with_its_etag(server: Any, way: str) -> None:
    view = Counted(way, lambda _: HttpResponse("same"))
    server.kill()
    etag = view.ask().headers["ETag"]
    assert view.ask(headers={"if-none-match": etag}).status_code == 304
    assert view.calls == 2


def test_a_hit_is_one_round_trip(way: str, commands: Any) -> None:
    view = Counted(way)
    view.ask()
    with commands() as log:
        view.ask()
    assert len(log) == 1
