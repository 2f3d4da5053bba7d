"""What a session may be called by strangers, and what becomes of one that runs out while a request is at work on it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

from bergizi_redis import keys, signals
from bergizi_redis.exceptions import TenantError
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions import sweeping
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import sid_of
from tests.sessionacts import PROFILE, TENANT, log_in_by_form
from tests.sessionsite import SARI, Site

Commands = Callable[[], AbstractContextManager[list[str]]]


def count(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse(str(request.session["n"]))


def slow(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    during(request.session.session_key or "")
    return HttpResponse("done")


def during(key: str) -> None:
    raise NotImplementedError


urlpatterns = [path("", count), path("slow/", slow)]


@pytest.fixture
def browser(settings: Any) -> Client:
    settings.ROOT_URLCONF = __name__
    return Client()


@pytest.fixture
def expired() -> Iterator[list[str]]:
    log: list[str] = []

    def note(sid: str, **_: Any) -> None:
        log.append(sid)

    signals.session_expired.connect(note)
    yield log
    signals.session_expired.disconnect(note)


# Names


TENANTS = ["a}b", "}", "{a}", "a:b", ":", "*", "a*", "a?", "[a]", "a b", "a\n", "\0", "", "x" * 65]


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_tenant_id_that_could_be_a_pattern_or_a_hash_tag_is_refused(tenant: str, commands: Commands) -> None:
    with commands() as log:
        for call in (
            lambda: sessions.create_session(SARI, tenant, **PROFILE),
            lambda: asyncio.run(sessions.acreate_session(SARI, tenant, **PROFILE)),
            lambda: sessions.sessions_for_tenant(tenant),
            lambda: sessions.page_for_tenant(tenant),
            lambda: sessions.revoke("0" * 32, tenant),
            lambda: sessions.revoke_user(SARI, tenant=tenant),
            lambda: sessions.revoke_tenant(tenant),
            lambda: asyncio.run(sessions.arevoke_tenant(tenant)),
            lambda: sessions.stats(tenant),
        ):
            with pytest.raises(TenantError):
                call()
    assert log == []


@pytest.mark.parametrize("cookie", ["{}{}", "{" * 40, "nul\0nul", "k" * 4096, "*", "é", "..%2f", "a\r\nb", '"'])
def test_a_cookie_that_nobody_gave_is_replaced_and_never_taken_over(browser: Client, cookie: str, raw: Any) -> None:
    browser.cookies["sessionid"] = cookie
    assert browser.get("/").content == b"1"
    given = browser.cookies["sessionid"].value
    assert given != cookie
    assert len(given) == 32
    assert browser.get("/").content == b"2"
    assert not raw.exists(keys.session(sid_of(cookie)))


def test_a_public_id_sent_as_a_cookie_opens_nothing(browser: Client) -> None:
    browser.get("/")
    public_id = sid_of(browser.cookies["sessionid"].value)
    thief = Client()
    thief.cookies["sessionid"] = public_id
    assert thief.get("/").content == b"1"
    assert thief.cookies["sessionid"].value != public_id
    assert browser.get("/").content == b"2"


# Time


def run_out(raw: Any, key: str) -> None:
    """As its TTL ends it, and not as a log-out does."""
    assert raw.pexpire(keys.session(sid_of(key)), 0)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_session_that_runs_out_between_load_and_save_stays_out(
    raw: "redis.Redis", settings: Any, prefix: str, expired: list[str], asynchronous: bool
) -> None:
    site = Site(raw, settings, prefix)
    key = log_in_by_form(SARI)
    session = SessionStore(key)
    session["n"] = 1
    run_out(raw, key)
    with pytest.raises(UpdateError):
        asyncio.run(session.asave()) if asynchronous else session.save()
    assert not raw.exists(keys.session(sid_of(key)))
    assert sweeping.sweep() == 0  # its time, as it was known, is not over
    site.run_out(sid_of(key))
    assert sweeping.sweep() == 1
    assert expired == [sid_of(key)]
    assert sessions.stats(TENANT).live == 0


def test_a_request_whose_session_runs_out_is_told_so_as_django_does(
    browser: Client, raw: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.get("/")
    monkeypatch.setattr(f"{__name__}.during", lambda key: run_out(raw, key))
    assert browser.get("/slow/").status_code == 400
    assert browser.get("/").content == b"1"
