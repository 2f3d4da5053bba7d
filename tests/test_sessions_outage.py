"""Redis down is not "no session": 503 within the budget, the cookie kept, nothing saved, and back without a restart."""

import asyncio
import base64
import copy
import hashlib
import json
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import redis
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from bergizi_redis import circuit as circuits
from bergizi_redis.circuit import Circuit, CircuitOpen
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import new_key
from bergizi_redis.sessions.middleware import SessionMiddleware
from tests.deadlines import ends_within
from tests.proxies import proxy, relay
from tests.servers import PrivateServer, private_server
from tests.sessionsite import PATIENCE

BUDGET = PATIENCE["REQUEST_BUDGET"]
WAITED = 0.3  # seconds, in place of BUDGET, for an answer that does not come
AT_ONCE = 5  # seconds; what was bounded by nothing would take BUDGET
NOBODY = "127.0.0.1", "1"  # a port that is no server's

Middleware = Callable[[HttpRequest], Any]


def visit(view: Callable[[HttpRequest], HttpResponse], key: str | None, *, asynchronous: bool, **headers: str) -> Any:
    """One request through the middleware."""
    request = RequestFactory().get("/", headers=headers)
    if key is not None:
        request.COOKIES["sessionid"] = key

    def guarded(request: HttpRequest) -> HttpResponse:
        try:
            return view(request)
        except Exception as error:  # as Django's handler asks the middleware
            response = SessionMiddleware(view).process_exception(request, error)
            if response is None:
                raise
            return response  # type: ignore[return-value]

    async def aguarded(request: HttpRequest) -> HttpResponse:
        return guarded(request)

    async def avisit() -> Any:
        return await SessionMiddleware(aguarded)(request)

    return asyncio.run(avisit()) if asynchronous else SessionMiddleware(guarded)(request)


def kept(response: HttpResponse) -> bool:
    """503, says when to come again, and leaves the cookie alone."""
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert response["Cache-Control"] == "no-store"
    return not response.cookies


def saved(**data: Any) -> str:
    session = SessionStore()
    session.update(data)
    session.save()
    return session.session_key or ""


def unused(request: HttpRequest) -> HttpResponse:
    return HttpResponse("page")


def used(request: HttpRequest) -> HttpResponse:
    request.session["n"] = request.session.get("n", 0) + 1
    return HttpResponse(str(request.session["n"]))


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@dataclass
class Silence:
    """From ``begin`` to ``end`` the server does not answer, and how long each command may wait for it is noted."""

    hang: Callable[[], Any]
    resume: Callable[[], Any]
    monkeypatch: pytest.MonkeyPatch
    is_on: bool = False
    waits: list[float | None] = field(default_factory=list)  # seconds, as granted

    def begin(self) -> None:
        self.hang()
        self.is_on = True

    def end(self) -> None:
        self.is_on = False
        self.resume()
        self.monkeypatch.setattr(circuits, "PROBE", BUDGET)  # a busy machine answers in its own time

    def note(self, seconds: float | None) -> float | None:
        if not self.is_on:
            return seconds
        self.waits.append(seconds)
        return WAITED if seconds is None else min(seconds, WAITED)


@pytest.fixture
def silence(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> Silence:
    """What answers has the time of a busy machine; what does not is not waited for as long as it might be."""
    one, granted = Silence(server.pause, server.resume, monkeypatch), Circuit.allowance
    monkeypatch.setattr(Circuit, "allowance", lambda circuit, budget: one.note(granted(circuit, budget)))
    return one


def test_a_silent_server_is_503_within_the_budget_and_recovers(silence: Silence, asynchronous: bool) -> None:
    key = saved(n=1)
    silence.begin()
    with ends_within(AT_ONCE):
        response = visit(used, key, asynchronous=asynchronous)
    assert kept(response)
    assert silence.waits == [BUDGET]
    silence.end()
    assert visit(used, key, asynchronous=asynchronous).content == b"2"
    assert visit(used, key, asynchronous=asynchronous).content == b"3"


def test_a_killed_server_is_503_at_once_and_recovers(server: PrivateServer, asynchronous: bool) -> None:
    key = saved(n=1)
    server.kill()
    with ends_within(AT_ONCE):
        assert kept(visit(unused, key, asynchronous=asynchronous))
    server.start()
    assert visit(used, key, asynchronous=asynchronous).content == b"1"  # a new session, for the data are lost


def test_a_visitor_without_a_cookie_gets_the_page(server: PrivateServer, asynchronous: bool) -> None:
    server.kill()
    assert visit(unused, None, asynchronous=asynchronous).content == b"page"


def test_a_save_that_fails_is_no_success_and_is_not_waited_for_twice(silence: Silence, asynchronous: bool) -> None:
    key = saved(n=1)

    def view(request: HttpRequest) -> HttpResponse:
        silence.begin()
        return used(request)

    with ends_within(AT_ONCE):
        response = visit(view, key, asynchronous=asynchronous)
    assert kept(response)
    assert silence.waits == [BUDGET]


def test_a_first_save_that_fails_sets_no_cookie(server: PrivateServer, asynchronous: bool) -> None:
    server.kill()
    assert kept(visit(used, None, asynchronous=asynchronous))


def test_a_view_that_runs_into_the_outage_is_not_waited_for_twice(silence: Silence, asynchronous: bool) -> None:
    key = saved(n=1)

    def view(request: HttpRequest) -> HttpResponse:
        silence.begin()
        request.session["n"] = 2
        request.session.cycle_key()
        raise AssertionError("not reached")

    with ends_within(AT_ONCE):
        assert kept(visit(view, key, asynchronous=asynchronous))
    assert silence.waits == [BUDGET]


def test_a_server_that_stays_silent_is_not_waited_for_again(
    server: PrivateServer, settings: Any, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """Red on a loop when a timer around all round trips ends a command: the circuit does not hear of it."""
    monkeypatch.setattr(circuits, "COOL", 600.0)
    made = sessions.create_session("sari", "sppg-1", "COOK", "U", "e", "n", [])

    async def main() -> list[BaseException | None]:
        async def asked() -> BaseException | None:
            with pytest.raises(RedisUnavailable) as caught:
                await sessions.avalidate_session(made.key) if asynchronous else sessions.validate_session(made.key)
            return caught.value.__cause__

        assert await sessions.avalidate_session(made.key)
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": WAITED}
        server.pause()
        return [await asked() for _ in range(3)]

    first, second, third = asyncio.run(main())
    server.resume()
    assert not isinstance(first, CircuitOpen)
    assert not isinstance(second, CircuitOpen)
    assert isinstance(third, CircuitOpen)


def test_a_view_that_swallows_the_outage_does_not_answer_as_if_it_had_saved(
    silence: Silence, asynchronous: bool
) -> None:
    """Red when the middleware does not ask the session whether it met an outage."""
    key = saved(n=1)

    def view(request: HttpRequest) -> HttpResponse:
        silence.begin()
        with pytest.raises(RedisUnavailable):
            request.session.flush()
        request.session.modified = False
        return HttpResponse("logged out")

    assert kept(visit(view, key, asynchronous=asynchronous))
    assert silence.waits == [BUDGET]


def test_an_outage_that_is_over_is_forgotten(server: PrivateServer) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        server.kill()
        with pytest.raises(RedisUnavailable):
            request.session.save()
        server.start()
        request.session["n"] = 7
        request.session.save()
        return HttpResponse("saved")

    response = visit(view, None, asynchronous=False)
    assert response.content == b"saved"
    assert SessionStore(response.cookies["sessionid"].value)["n"] == 7


def test_other_errors_of_a_view_are_its_own(asynchronous: bool) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        visit(view, None, asynchronous=asynchronous)


def test_a_full_server_saves_nothing_and_says_so(server: PrivateServer, asynchronous: bool) -> None:
    key = saved(n=1)
    with server.client() as client:
        client.config_set("maxmemory", 1)
        client.config_set("maxmemory-policy", "noeviction")
        assert kept(visit(used, key, asynchronous=asynchronous))
        client.config_set("maxmemory", 0)
    assert visit(used, key, asynchronous=asynchronous).content == b"2"


def test_a_server_that_has_become_a_replica_saves_nothing_and_says_so(
    server: PrivateServer, asynchronous: bool
) -> None:
    key = saved(n=1)
    with server.client() as client:
        client.config_set("replica-serve-stale-data", "yes")
        client.replicaof(*NOBODY)
        assert kept(visit(used, key, asynchronous=asynchronous))
        client.replicaof("NO", "ONE")
    assert visit(used, key, asynchronous=asynchronous).content == b"2"


def test_the_error_names_the_alias_and_keeps_its_cause(server: PrivateServer) -> None:
    server.kill()
    with pytest.raises(RedisUnavailable, match=r"CACHES\['default'\], cannot serve; .*ConnectionError") as caught:
        SessionStore(new_key()).load()
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    with pytest.raises(RedisUnavailable):
        sessions.validate_session(new_key())
    with pytest.raises(RedisUnavailable):
        asyncio.run(sessions.avalidate_session(new_key()))


def test_a_wrong_command_is_not_taken_for_an_outage(server: PrivateServer) -> None:
    with server.client() as client:
        client.acl_setuser("default", enabled=True, nopass=True, commands=["-evalsha"], keys=["*"])
    with pytest.raises(redis.exceptions.NoPermissionError):
        SessionStore(new_key()).load()


def test_neither_the_key_nor_the_password_gets_into_error_or_log(
    server: PrivateServer, caplog: pytest.LogCaptureFixture, asynchronous: bool
) -> None:
    key = saved(n=1)
    server.kill()
    response = visit(used, key, asynchronous=asynchronous)
    assert key not in caplog.text + response.content.decode()
    assert "Answered 503" in caplog.text


# After a failover


@pytest.fixture
def failing_over(settings: Any) -> Iterator[tuple[PrivateServer, PrivateServer, Callable[[], None]]]:
    """Old and new primary, and what makes the one a replica of the other, behind one address: the links stay open.

    The replica does not get as far as loading what the primary has, and then says that it is one.
    """
    with private_server() as old, private_server("--repl-diskless-sync-delay", "3600") as new:
        ports = [old.port]

        def serve(link: socket.socket) -> None:
            relay(link, ports[-1], link.sendall)

        def fail_over() -> None:
            with old.client() as one, new.client() as other:
                for key in one.scan_iter("*"):
                    other.restore(key, max(0, one.pttl(key)), one.dump(key) or b"")
                one.replicaof("127.0.0.1", str(new.port))
            ports.append(new.port)

        with proxy(serve) as front:
            caches = copy.deepcopy(settings.CACHES)
            caches["default"]["LOCATION"] = front.url
            settings.CACHES = caches
            yield old, new, fail_over


def test_a_save_goes_to_the_new_primary_though_its_link_leads_to_the_old_one(
    failing_over: tuple[PrivateServer, PrivateServer, Callable[[], None]], asynchronous: bool
) -> None:
    """Red without the second try on new connections: 503 until somebody restarts the process."""
    key = saved(n=1)
    visit(used, key, asynchronous=asynchronous)
    *_, fail_over = failing_over

    def view(request: HttpRequest) -> HttpResponse:
        fail_over()
        return used(request)

    assert visit(view, key, asynchronous=asynchronous).content == b"3"
    assert visit(used, key, asynchronous=asynchronous).content == b"4"


def test_a_log_in_whose_pipeline_meets_the_old_primary_is_listed_at_the_new_one(
    failing_over: tuple[PrivateServer, PrivateServer, Callable[[], None]],
) -> None:
    saved(n=1)
    failing_over[2]()
    made = sessions.create_session("7", "sppg-1", "", "", "", "", [])
    assert [info.public_id for info in sessions.sessions_for_user("7")] == [made.sid]


def test_a_server_whose_clients_are_paused_is_503_within_the_budget_and_recovers(
    server: PrivateServer, silence: Silence, asynchronous: bool
) -> None:
    key = saved(n=1)
    with server.client() as client:
        # Writes and scripts: the end of the pause must get through.
        silence.hang, silence.resume = partial(client.client_pause, 3_600_000, all=False), client.client_unpause
        silence.begin()
        with ends_within(AT_ONCE):
            assert kept(visit(used, key, asynchronous=asynchronous))
        silence.end()
    assert silence.waits == [BUDGET]
    assert visit(used, key, asynchronous=asynchronous).content == b"2"


def test_a_silent_server_is_not_waited_for_by_each_request(silence: Silence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits, "COOL", 3600.0)
    key = saved(n=1)
    silence.begin()
    with ends_within(AT_ONCE):
        for _ in range(20):
            assert kept(visit(used, key, asynchronous=False))
    assert silence.waits == [BUDGET, circuits.PROBE], "the others were refused"


# Pages that are served without a session


@pytest.fixture
def public(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_ANONYMOUS_PATHS": ["/"]}


def reads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(request.session.get("n", "nobody")))


@pytest.mark.usefixtures("public")
def test_a_public_page_is_served_without_a_session_and_the_cookie_stays(silence: Silence, asynchronous: bool) -> None:
    key = saved(n=1)
    silence.begin()
    with ends_within(AT_ONCE):
        response = visit(reads, key, asynchronous=asynchronous)
    assert (response.status_code, response.content) == (200, b"nobody")
    assert not response.cookies
    assert "no-store" in response["Cache-Control"]
    assert "Cookie" in response["Vary"]
    assert silence.waits == [BUDGET]
    silence.end()
    assert visit(reads, key, asynchronous=asynchronous).content == b"1"


@pytest.mark.usefixtures("public")
def test_a_public_page_that_wants_to_keep_something_is_no_success(server: PrivateServer, asynchronous: bool) -> None:
    """Red when what the view has put into the session is dropped without a word."""
    key = saved(n=1)
    server.kill()
    assert kept(visit(used, key, asynchronous=asynchronous))


@pytest.mark.usefixtures("public")
def test_a_public_page_does_not_replace_the_session_of_a_server_that_is_back(silence: Silence) -> None:
    """Red when the change is saved: the visitor would get a new session in the place of his own."""
    key = saved(n=1)
    silence.begin()

    def view(request: HttpRequest) -> HttpResponse:
        silence.end()
        return used(request)

    assert kept(visit(view, key, asynchronous=False))
    assert SessionStore(key)["n"] == 1


@pytest.mark.usefixtures("public")
def test_other_paths_answer_503(server: PrivateServer, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_ANONYMOUS_PATHS": ["/menus/"]}
    server.kill()
    assert kept(visit(reads, new_key(), asynchronous=False))


# The page


@pytest.fixture
def page(server: PrivateServer) -> Callable[..., HttpResponse]:
    server.kill()

    def get(**headers: str) -> HttpResponse:
        return visit(unused, "k" * 32, asynchronous=False, **headers)  # type: ignore[no-any-return]

    return get


def test_the_page_runs_under_a_policy_that_admits_its_own_style_only(page: Callable[..., HttpResponse]) -> None:
    response = page(accept="text/html")
    html = response.content.decode()
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in response["Content-Security-Policy"]
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "<script" not in html
    assert "style=" not in html
    assert 'lang="en' in html
    assert "viewport" in html


def test_the_page_is_in_the_browsers_language(page: Callable[..., HttpResponse]) -> None:
    response = page(**{"accept-language": "id,en;q=0.5"})
    assert 'lang="id"' in response.content.decode()
    assert "Accept-Language" in response["Vary"]


def test_a_client_that_wants_no_html_gets_json(page: Callable[..., HttpResponse]) -> None:
    response = page(accept="application/json")
    assert response["Content-Type"] == "application/json"
    assert json.loads(response.content)["retry_after"] == int(response["Retry-After"])


def test_without_templates_the_page_is_plain_text(page: Callable[..., HttpResponse], settings: Any) -> None:
    settings.TEMPLATES = []
    response = page()
    assert response.status_code == 503
    assert response["Content-Type"] == "text/plain"
