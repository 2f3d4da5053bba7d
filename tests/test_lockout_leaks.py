"""Nothing to learn from outside: answers, headers and work are the same for accounts in whatever state.

Time is compared in the benchmark; here it is what takes the time: hashes, queries, round trips.

Seen red: with another end of the lock in the answer of a capped account, and where a refusal that must look like a
wrong password is told from it by its status.
"""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import authenticate
from django.contrib.auth.views import LoginView
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path

from bergizi_redis.security import floor
from bergizi_redis.security.floor import Floor
from bergizi_redis.security.steps import Call, arun, run
from tests import passwordcount
from tests.accountstates import CHECKED, REFUSED, prepared, sameness
from tests.moments import left_of

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


def api(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    return JsonResponse({"user": user.pk}) if user else JsonResponse({"detail": "wrong"}, status=401)


urlpatterns = [path("login/", LoginView.as_view(template_name="login.html")), path("api/", api)]


@pytest.fixture(autouse=True)
def pages(settings: Any) -> Iterator[None]:
    settings.PASSWORD_HASHERS = ["tests.passwordcount.CountingHasher"]
    loader = ("django.template.loaders.locmem.Loader", {"login.html": "<form>{{ form.errors }}</form>"})
    options = {"loaders": [loader, "django.template.loaders.app_directories.Loader"]}
    engine = {"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": options}
    with override_settings(TEMPLATES=[engine]):
        yield


def seen(url: str, state: str, log: Any) -> tuple[Any, ...]:
    """Everything but the time, less what is random for everybody."""
    who, password = prepared(state)
    passwordcount.reset()
    with CaptureQueriesContext(connection) as queries, log() as commands:
        response = Client().post(url, {"username": who, "password": password})
    body = re.sub(r'nonce="[\w-]+"', "", response.content.decode()).replace(who, "")
    headers = {name: re.sub(r"'nonce-[\w-]+'", "", value) for name, value in response.headers.items()}
    headers.pop("Expires", None)  # the time of day
    if int(headers.get("Retry-After", 0)) == left_of(1800):
        headers["Retry-After"] = "the lock"
    cookies = sorted(response.cookies)
    asked = [line.split()[0] for line in commands if "security:" in line]
    sql = [re.sub(r"'[^']*'", "?", query["sql"]) for query in queries]
    return response.status_code, body, sorted(headers.items()), cookies, passwordcount.checks(), sql, asked


@pytest.mark.parametrize("url", ["/login/", "/api/"])
@pytest.mark.parametrize("states", [CHECKED, REFUSED], ids=["checked", "refused"])
def test_accounts_look_alike(url: str, states: tuple[str, ...], commands: Any, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 0}
    seen(url, "wrong", commands)  # scripts and connections are known from here on
    found = {}
    for state in states:
        if state == "capped":
            settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 5}
        found[state] = seen(url, state, commands)
    first = found.pop(states[0])
    assert found == dict.fromkeys(found, first)
    status, _, headers, _, hashes, _, asked = first
    assert (status, hashes) == ((200 if url == "/login/" else 401, 1) if states is CHECKED else (429, 0))
    assert len(asked) == 1
    assert ("Retry-After", "the lock") in headers or states is CHECKED


@pytest.mark.parametrize("url", ["/login/", "/api/"])
def test_where_a_lock_must_look_wrong_all_of_them_do(url: str, commands: Any, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKED_LOOKS_WRONG": True}
    answers = {repr(seen(url, state, commands)[:4]) for state in (*CHECKED, *REFUSED)}
    assert len(answers) == 1


def test_and_take_as_long_as_a_check_took(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(floor, "FLOOR", Floor())
    monkeypatch.setattr(floor, "time", SimpleNamespace(sleep=waited.append))
    (step,) = list(floor.as_late_as_a_check())
    assert isinstance(step, Call), "before any check was seen, a hash is computed"
    passwordcount.reset()
    step.run()
    assert passwordcount.checks() == 1
    for seconds in (0.1, 0.3, 60.0):
        floor.FLOOR.note(seconds)
    run(floor.as_late_as_a_check())
    assert waited == [0.3]
    for _ in range(4):
        floor.FLOOR.note(0.0)
    async_to_sync(arun)(floor.as_late_as_a_check())
    assert floor.FLOOR.seconds() == 0.0


def test_to_reveal_a_lock_is_a_choice(settings: Any) -> None:
    who, password = prepared("locked")
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REVEAL_LOCK": True}
    answers = set()
    for name in (who, prepared("locked, unknown")[0]):
        answers.add(re.sub(r'nonce="[\w-]+"', "", Client().post(
            "/login/", {"username": name, "password": password}).content.decode()))  # fmt: skip
    (page,) = answers
    assert "This account is locked" in page


def test_async_answers_are_the_same() -> None:
    who, password = prepared("locked")
    response = async_to_sync(AsyncClient().post)("/api/", {"username": who, "password": password})
    assert (response.status_code, int(response.headers["Retry-After"])) == (429, left_of(1800))


def test_the_benchmarks_measure_tells_times_apart() -> None:
    one = [1 + n / 1000 for n in range(200)]
    assert sameness(one, [1.0005 + n / 1000 for n in range(200)]) > 0.5
    assert sameness(one, [1.1 + n / 1000 for n in range(200)]) < 0.001
