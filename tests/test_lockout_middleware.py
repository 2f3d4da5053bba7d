"""A refused log-in answers 429 with ``Retry-After``, through every view, sync and async; else nothing changes."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.sites import AdminSite
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.test.signals import template_rendered
from django.urls import path
from django.utils import translation

from bergizi_redis.security import lockout
from tests.moments import left_of
from tests.passwordcount import RIGHT
from tests.servers import PrivateServer

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


def api(request: HttpRequest) -> HttpResponse:
    user = authenticate(username=request.POST["username"], password=request.POST["password"])  # without the request
    return JsonResponse({"user": user.pk}) if user else JsonResponse({"detail": "wrong"}, status=401)


async def async_api(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, username=request.POST["username"], password=request.POST["password"])
    return HttpResponse("in" if user else "wrong", status=200 if user else 401)


def own_page(request: HttpRequest) -> HttpResponse:
    authenticate(request, username=request.POST["username"], password=request.POST["password"])
    refusal = request.login_refusal  # type: ignore[attr-defined]
    return HttpResponse(f"mine: {refusal.retry_after}", status=429) if refusal else HttpResponse("wrong")


def either_name(request: HttpRequest) -> HttpResponse:
    """Tries the name, then the e-mail address."""
    names = (request.POST["username"], request.POST.get("email", ""))
    user = next(
        filter(None, (authenticate(request, username=name, password=request.POST["password"]) for name in names)), None
    )
    return HttpResponse("in" if user else "wrong")


def guarded(request: HttpRequest) -> HttpResponse:
    with lockout.guard_login(request.POST["username"]):
        return HttpResponse("wrong")


async def async_guarded(request: HttpRequest) -> HttpResponse:
    async with lockout.guard_login(request.POST["username"]):
        return HttpResponse("wrong")


def swallowing(request: HttpRequest) -> HttpResponse:
    """As the exception handlers of REST frameworks do."""
    try:
        return guarded(request)
    except lockout.AccountLocked:
        return HttpResponse(status=403)


def unavailable(request: HttpRequest) -> HttpResponse:
    raise lockout.LockoutUnavailable("down")


def other_error(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


urlpatterns = [
    path("login/", LoginView.as_view(template_name="login.html")),
    path("admin/", AdminSite().urls),
    path("api/", api),
    path("async-api/", async_api),
    path("own/", own_page),
    path("either/", either_name),
    path("guarded/", guarded),
    path("async-guarded/", async_guarded),
    path("swallowing/", swallowing),
    path("unavailable/", unavailable),
    path("other-error/", other_error),
]


@pytest.fixture(autouse=True)
def pages(settings: Any) -> Iterator[None]:
    """The admin, a log-in page, and the context processors that they ask for."""
    processors = ["request", "auth", "messages"]
    modules = ("django.template.context_processors", "django.contrib.auth.context_processors",
               "django.contrib.messages.context_processors")  # fmt: skip
    options = {
        "context_processors": [f"{module}.{name}" for module, name in zip(modules, processors, strict=True)],
        "loaders": [
            ("django.template.loaders.locmem.Loader", {"login.html": "<form>{{ form.errors }}</form>"}),
            "django.template.loaders.app_directories.Loader",
        ],
    }
    engine = {"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": options}
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS, "django.contrib.admin"], TEMPLATES=[engine]):
        yield


@pytest.fixture
def who() -> str:
    return f"rina-{uuid.uuid4().hex}"


@pytest.fixture
def user(who: str) -> User:
    return User.objects.create_user(who, password=RIGHT, is_staff=True)


def lock(who: str) -> None:
    for _ in range(5):
        lockout.record_login_attempt(who, success=False)


def post(url: str, who: str, password: str = RIGHT, is_async: bool = False, **options: Any) -> Any:
    data = {"username": who, "password": password}
    if is_async:
        return async_to_sync(AsyncClient().post)(url, data, **options)
    return Client().post(url, data, **options)


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
EVERY_VIEW = [
    "/login/",
    "/admin/login/",
    "/api/",
    "/async-api/",
    "/guarded/",
    "/async-guarded/",
    "/swallowing/",
    "/either/",
]


@both
@pytest.mark.parametrize("url", EVERY_VIEW)
def test_a_refused_login_answers_429(user: User, url: str, is_async: bool) -> None:
    lock(user.username)
    response = post(url, user.username, is_async=is_async)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) == left_of(1800)
    assert response.headers["Cache-Control"] == "no-store"
    assert "_auth_user_id" not in Client().session


@both
@pytest.mark.parametrize("url", ["/login/", "/admin/login/"])
def test_a_form_that_nobody_sees_is_not_rendered(user: User, url: str, is_async: bool) -> None:
    rendered: list[str | None] = []

    def note(template: Any, **_: Any) -> None:
        rendered.append(template.name)

    template_rendered.connect(note)
    try:
        lock(user.username)
        page = post(url, user.username, is_async=is_async)
        assert rendered == ["bergizi_redis/locked.html"]
        assert page.content.count(b"Try again in 30 minutes.") == 1
        rendered.clear()
        assert post(url, "somebody", "wrong", is_async=is_async).status_code == 200
        assert "bergizi_redis/locked.html" not in rendered
        assert rendered
    finally:
        template_rendered.disconnect(note)


@both
@pytest.mark.parametrize("url", EVERY_VIEW)
def test_a_wrong_password_answers_as_ever(user: User, url: str, is_async: bool) -> None:
    response = post(url, user.username, "wrong", is_async=is_async)
    assert response.status_code in (200, 401)
    assert "Retry-After" not in response.headers


@both
@pytest.mark.parametrize("url", ["/login/", "/admin/login/?next=/admin/"])
def test_the_right_password_logs_in(user: User, settings: Any, url: str, is_async: bool) -> None:
    assert post(url, user.username, is_async=is_async).status_code == 302
    assert lockout.is_account_locked(user.username).failures == 0


def test_five_wrong_passwords_on_the_form_lock_and_the_sixth_is_429(user: User) -> None:
    answers = [post("/login/", user.username, "wrong").status_code for _ in range(6)]
    assert answers == [200, 200, 200, 200, 200, 429]


def test_the_page_is_the_same_whether_the_account_exists(user: User) -> None:
    def page(who: str) -> str:
        lock(who)
        response = post("/login/", who)
        assert response.status_code == 429
        return re.sub(r'nonce="[^"]*"', "", response.content.decode())

    assert page(user.username) == page(f"nobody-{user.username}")


def test_the_page_is_complete_and_its_policy_allows_only_its_style(user: User) -> None:
    lock(user.username)
    response = post("/login/?next=/%22%3E", user.username)
    page = response.content.decode()
    policy = response.headers["Content-Security-Policy"]
    nonce = re.search(r"style-src 'nonce-([\w-]+)'", policy)
    assert nonce
    assert f'<style nonce="{nonce[1]}">' in page
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert re.search(r'<html lang="en-us" dir="ltr">', page)
    assert page.count("<h1>") == page.count("<main>") == page.count('role="alert"') == 1
    assert "30 minutes" in page
    assert 'href="/login/?next=/%22%3E"' in page
    assert "<script" not in page
    assert user.username not in page


def test_each_page_has_a_nonce_of_its_own(user: User) -> None:
    lock(user.username)
    policies = {post("/login/", user.username).headers["Content-Security-Policy"] for _ in range(3)}
    assert len(policies) == 3


def test_the_page_speaks_the_language_of_the_request(user: User) -> None:
    lock(user.username)
    with translation.override("ar"):
        page = post("/login/", user.username).content.decode()
    assert '<html lang="ar" dir="rtl">' in page


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("/guarded/", {"headers": {"Accept": "application/json"}}),
        ("/login/", {"headers": {"Accept": "application/json, text/html;q=0.5"}}),
        ("/api/", {}),
    ],
)
@both
def test_who_speaks_json_is_answered_in_json(user: User, url: str, options: dict[str, Any], is_async: bool) -> None:
    lock(user.username)
    response = post(url, user.username, is_async=is_async, **options)
    assert response.status_code == 429
    assert response.headers["Content-Type"] == "application/json"
    answer = json.loads(response.content)
    assert answer == {"detail": answer["detail"], "code": "login_refused", "retry_after": left_of(1800)}
    assert "30 minutes" in answer["detail"]


def test_who_sends_json_is_answered_in_json() -> None:
    response = Client().post("/unavailable/", {"username": "x"}, content_type="application/json")
    assert response.json()["code"] == "login_unavailable"


def test_a_browser_gets_the_page(user: User) -> None:
    lock(user.username)
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    response = post("/login/", user.username, headers={"Accept": accept})
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Vary"].startswith("Accept")


def test_a_view_that_answers_429_keeps_its_page(user: User) -> None:
    lock(user.username)
    response = post("/own/", user.username)
    assert response.status_code == 429
    mine = response.content.decode().removeprefix("mine: ")
    assert int(mine) == left_of(1800)
    assert response.headers["Retry-After"] == mine


def test_a_success_after_a_refusal_is_a_success(user: User) -> None:
    lock(f"nobody-{user.username}")
    data = {"username": f"nobody-{user.username}", "email": user.username, "password": RIGHT}
    response = Client().post("/either/", data)
    assert (response.status_code, response.content) == (200, b"in")


def test_revealing_names_the_lock_and_does_so_for_any_name(user: User, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REVEAL_LOCK": True}
    for who in (user.username, f"nobody-{user.username}"):
        lock(who)
        assert "This account is locked" in post("/login/", who).content.decode()


@both
def test_attempts_that_cannot_be_counted_answer_503(is_async: bool) -> None:
    response = post("/unavailable/", "rina", is_async=is_async)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError):
        post("/other-error/", "rina")


def test_without_templates_there_is_plain_text(user: User, settings: Any) -> None:
    settings.TEMPLATES = []
    lock(user.username)
    response = post("/api/", user.username, headers={"Accept": "text/html"})
    assert response.status_code == 429
    response = post("/guarded/", user.username)
    assert response.content.decode().startswith("Too many sign-in attempts.")


def test_one_request_does_not_see_the_refusal_of_another(user: User) -> None:
    lock(user.username)
    client = Client()
    assert client.post("/login/", {"username": user.username, "password": RIGHT}).status_code == 429
    assert client.get("/login/").status_code == 200


@both
def test_while_redis_is_down_the_admin_fails_closed_and_other_log_ins_degrade(
    user: User, server: PrivateServer, is_async: bool
) -> None:
    server.kill()
    response = post("/admin/login/", user.username, "wrong", is_async)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "Your password was not checked." in response.content.decode()
    assert post("/login/", user.username, "wrong", is_async).status_code == 200
    assert [post("/api/", user.username, "wrong", is_async).status_code for _ in range(5)] == [401] * 4 + [429]
