"""The link that unlocks: to its owner only, once, for one lock; a look at it changes nothing, and asking tells nothing.

Seen red: without the comparison of the digest, without that of the generation, and where GET unlocks.
"""

import re
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core import mail, signing
from django.dispatch import Signal
from django.test import Client, RequestFactory
from django.urls import include, path
from django.utils import translation

from bergizi_redis import lockoutkeys, signals
from bergizi_redis.security import links, lockout, unlocking
from bergizi_redis.security.account import Account
from bergizi_redis.security.steps import RunScript, arun, run
from bergizi_redis.tenancy import use_tenant
from tests.moments import left_of
from tests.servers import PrivateServer

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]


def refuse(request: Any) -> Any:
    with lockout.guard_login(request.POST["username"]):
        pass


urlpatterns = [path("unlock/", include("bergizi_redis.security.urls")), path("in/", refuse)]


@pytest.fixture(autouse=True)
def mailed_at_once(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}  # Django 6.1
    monkeypatch.setattr(unlocking, "start", lambda thread: thread.run())


@pytest.fixture
def who() -> str:
    return f"lestari-{uuid.uuid4().hex}"


@pytest.fixture
def owner(who: str) -> User:
    return User.objects.create_user(who, email=f"{who}@gizi.example", password="x")


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []

    def receiver(signal: Signal, **arguments: Any) -> None:
        heard.append(arguments)

    signals.account_unlocked.connect(receiver)
    yield heard
    signals.account_unlocked.disconnect(receiver)


def lock(who: str) -> None:
    for _ in range(5):
        lockout.record_login_attempt(who, success=False)


def asked(who: str) -> str:
    """The address in the mail that came of it, or ""."""
    before = len(mail.outbox)
    response = Client().post("/unlock/", {"identifier": who})
    assert response.status_code == 200
    if len(mail.outbox) == before:
        return ""
    (found,) = re.findall(r"http://testserver(\S+)", str(mail.outbox[-1].body))
    return str(found)


def test_the_owner_gets_a_link_and_its_button_unlocks(owner: User, told: list[dict[str, Any]]) -> None:
    lock(owner.username)
    link = asked(owner.username)
    assert mail.outbox[0].to == [owner.email]
    page = Client().get(link)
    assert page.status_code == 200
    assert "Unlock now" in page.content.decode()
    assert lockout.is_account_locked(owner.username).locked, "programs that follow links unlock nothing"
    assert told == []
    assert "is unlocked" in Client().post(link).content.decode()
    assert not lockout.is_account_locked(owner.username).locked
    assert lockout.locked_accounts() == []
    assert [(one["identifier"], one["by"]) for one in told] == [(owner.username, "link")]


def test_nothing_is_written_or_mailed_before_the_answer_is_sent(owner: User) -> None:
    """The time that it takes would tell that there is such an account."""
    lock(owner.username)
    with translation.override("id"):
        response = unlocking.ask(RequestFactory().post("/unlock/", {"identifier": owner.username}))
    assert mail.outbox == []
    response.close()
    response.close()
    assert [one.subject for one in mail.outbox] == ["Buka kunci akun Anda"]


def test_a_link_works_once(owner: User) -> None:
    lock(owner.username)
    link = asked(owner.username)
    assert [Client().post(link).status_code for _ in range(2)] == [200, 410]
    lock(owner.username)
    assert Client().post(link).status_code == 410
    assert lockout.is_account_locked(owner.username).locked


def test_of_many_clicks_at_once_one_unlocks(owner: User, raw: "redis.Redis") -> None:
    lock(owner.username)
    made = run(links.make(owner.username))
    assert made is not None
    account = Account.of(owner.username, None, "password")
    kept = [*account.counters, account.record, lockoutkeys.origins(account.tag), lockoutkeys.unlock_link(account.tag)]
    digest = links._digest(signing.loads(made[1], salt=links.SALT)[-1])
    start = threading.Barrier(8)

    def click(_: int) -> int:
        start.wait(60)
        return int(RunScript("lockout_redeem", kept, [digest]).run())

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(click, range(8))) == [0] * 7 + [1]


def test_a_link_of_an_earlier_lock_opens_no_later_one(owner: User) -> None:
    lock(owner.username)
    link = asked(owner.username)
    lockout.unlock_account(owner.username)
    lock(owner.username)
    assert Client().post(link).status_code == 410
    assert lockout.is_account_locked(owner.username).locked


def test_a_later_link_takes_the_place_of_an_earlier(owner: User, raw: "redis.Redis") -> None:
    lock(owner.username)
    first = asked(owner.username)
    assert asked(owner.username) == "", "not twice in two minutes"
    key = lockoutkeys.unlock_link(Account.of(owner.username, None, "password").tag)
    left: Any = raw.pttl(key)
    assert left / 1000 == left_of(1800)
    raw.expire(key, 1600)
    second = asked(owner.username)
    assert [Client().post(link).status_code for link in (first, second)] == [410, 200]


def test_a_capped_account_is_unlocked_too(owner: User, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 5}
    lock(owner.username)
    assert lockout.is_account_locked(owner.username).capped
    assert Client().post(asked(owner.username)).status_code == 200
    assert not lockout.is_account_locked(owner.username).locked


def test_whoever_was_locked_by_their_address_asks_with_it(owner: User) -> None:
    lock(owner.email)
    assert asked(owner.username) == "", "its own account is not locked"
    assert Client().post(asked(owner.email)).status_code == 200
    assert not lockout.is_account_locked(owner.email).locked


def test_an_old_link_works_no_more(owner: User, settings: Any, raw: "redis.Redis") -> None:
    lock(owner.username)
    link = asked(owner.username)
    raw.delete(lockoutkeys.unlock_link(Account.of(owner.username, None, "password").tag))
    assert Client().post(link).status_code == 410
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "UNLOCK_LINK_SECONDS": 0.000001}
    assert Client().get(link).status_code == 410


@pytest.mark.parametrize("token", ["x", "a:b:c", "a" * 3000, "%00", "W10:1:x"])
def test_a_forged_link_is_none(token: str) -> None:
    assert Client().get(f"/unlock/{token}/").status_code == 410
    assert Client().post(f"/unlock/{token}/").status_code == 410


def test_a_link_is_for_its_tenant(owner: User) -> None:
    for tenant in ("sppg-1", "sppg-2"):
        with use_tenant(tenant):
            lock(owner.username)
    with use_tenant("sppg-1"):
        made = run(links.make(owner.username))
    assert made is not None
    assert run(links.redeem(made[1])) is True
    assert not lockout.is_account_locked(owner.username, tenant="sppg-1").locked
    assert lockout.is_account_locked(owner.username, tenant="sppg-2").locked


def test_asking_says_the_same_for_every_name(owner: User, who: str, commands: Any) -> None:
    open_one = User.objects.create_user(f"open-{who}", email="a@gizi.example", password="x")
    without_mail = User.objects.create_user(f"silent-{who}", password="x")
    for name in (owner.username, without_mail.username, f"nobody-{who}"):
        lock(name)
    answers, sent = set(), []
    for name in (owner.username, open_one.username, without_mail.username, f"nobody-{who}", "", "\0", "x" * 9999):
        with commands() as log:
            response = Client().post("/unlock/", {"identifier": name})
        sent.append(len([line for line in log if "security:" in line]))
        text = re.sub(r"nonce(=\"|-)[\w-]+", "", response.content.decode())
        headers = {key: re.sub(r"'nonce-[\w-]+'", "", value) for key, value in response.headers.items()}
        answers.add((response.status_code, text, tuple(sorted(headers.items()))))
    assert len(answers) == 1
    assert set(sent[1:]) == {1}
    assert len(mail.outbox) == 1


def test_the_pages_and_the_mail_are_in_indonesian(owner: User, settings: Any) -> None:
    settings.LANGUAGE_CODE = "id"
    lock(owner.username)
    with translation.override("id"):
        link = asked(owner.username)
        assert mail.outbox[0].subject == "Buka kunci akun Anda"
        assert "dalam 30 menit" in str(mail.outbox[0].body)
        assert "Buka kunci sekarang" in Client().get(link).content.decode()
        for page in (Client().get("/unlock/"), Client().post(link), Client().post(link)):
            assert "Unlock" not in page.content.decode()


def test_a_refused_log_in_links_to_the_page(owner: User) -> None:
    lock(owner.username)
    page = Client().post("/in/", {"username": owner.username})
    assert page.status_code == 429
    assert 'href="/unlock/"' in page.content.decode()


def test_the_pages_let_nothing_in_and_nothing_out(owner: User) -> None:
    page = Client().get("/unlock/")
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<label for=" in page.content.decode()
    assert Client().put("/unlock/").status_code == 405


def test_the_pages_heed_csrf(owner: User, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.csrf.CsrfViewMiddleware"]
    lock(owner.username)
    link = asked(owner.username)
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(link).status_code == 403
    token = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', strict.get(link).content.decode())[0]
    assert strict.post(link, {"csrfmiddlewaretoken": token}).status_code == 200


def test_while_redis_is_down_they_say_so(owner: User, server: PrivateServer) -> None:
    lock(owner.username)
    made = run(links.make(owner.username))
    assert made is not None
    server.kill()
    for response in (Client().post("/unlock/", {"identifier": "x"}), Client().post(f"/unlock/{made[1]}/")):
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_a_mail_that_fails_is_logged_and_harms_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlocking, "start", threading.Thread.start)

    def fails() -> None:
        raise ConnectionRefusedError

    unlocking.in_background(fails).join(60)
    assert "was not mailed" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_async_is_the_same(owner: User) -> None:
    from asgiref.sync import async_to_sync

    lock(owner.username)

    async def main() -> bool:
        made = await arun(links.make(owner.username))
        assert made is not None
        return await arun(links.redeem(made[1]))

    assert async_to_sync(main)() is True


def test_what_redis_keeps_makes_no_link(owner: User, raw: "redis.Redis") -> None:
    lock(owner.username)
    made = run(links.make(owner.username))
    assert made is not None
    secret = signing.loads(made[1], salt=links.SALT)[-1]
    kept: Any = raw.hgetall(lockoutkeys.unlock_link(Account.of(owner.username, None, "password").tag))
    assert secret.encode() not in kept.values()
    assert len(kept[b"digest"]) == 64
