"""Trusted devices: the owner signs in from their own browser while strangers have the account locked.

Seen red: with a cookie of another account taken for this one, without the comparison of the password's digest, without
the epoch in the script, and where a device pays with the account's count.
"""

import uuid
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, alogin, authenticate, login
from django.contrib.auth.models import User
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from bergizi_redis import signals
from bergizi_redis.security import links, lockout
from bergizi_redis.security.account import Account
from bergizi_redis.security.devices import SALT
from bergizi_redis.security.steps import run
from bergizi_redis.tenancy import use_tenant
from tests.passwordcount import RIGHT

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db]
NETWORK = {"address": (6, 900)}


def sign_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is not None:
        login(request, user)
    return HttpResponse("in" if user else "wrong")


async def asign_in(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is not None:
        await alogin(request, user)
    return HttpResponse("in" if user else "wrong")


def in_tenant(request: HttpRequest, tenant: str) -> HttpResponse:
    with use_tenant(tenant):
        return sign_in(request)


urlpatterns = [path("in/", sign_in), path("ain/", asign_in), path("in/<tenant>/", in_tenant)]


@pytest.fixture
def who() -> str:
    return f"intan-{uuid.uuid4().hex}"


@pytest.fixture
def owner(who: str) -> User:
    return User.objects.create_user(who, email=f"{who}@gizi.example", password=RIGHT)


def tried(browser: Client, who: str, password: str = RIGHT, url: str = "/in/") -> str:
    response = browser.post(url, {"username": who, "password": password})
    return "refused" if response.status_code == 429 else response.content.decode()


@pytest.fixture
def browser(owner: User) -> Client:
    """The owner's own: they have signed in with it before."""
    client = Client()
    assert tried(client, owner.username) == "in"
    return client


def attack(who: str, times: int = 5) -> None:
    for _ in range(times):
        with lockout.guard_login(who):
            pass


def test_the_owner_is_in_from_their_browser_and_nobody_from_another(browser: Client, owner: User) -> None:
    attack(owner.username)
    assert tried(browser, owner.username) == "in"
    assert tried(Client(), owner.username) == "refused"
    assert lockout.is_account_locked(owner.username).locked, "and strangers stay locked out"


def test_so_is_an_owner_whose_network_is_used_up(browser: Client, owner: User, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "NETWORK_LOCKOUT": NETWORK}
    stranger = Client()
    assert [tried(stranger, f"x{number}-{owner.username}") for number in range(7)] == ["wrong"] * 6 + ["refused"]
    assert tried(browser, owner.username) == "in"


def test_so_is_one_whose_account_is_capped(browser: Client, owner: User, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_CAP": 5}
    attack(owner.username)
    assert lockout.is_account_locked(owner.username).capped
    assert tried(browser, owner.username) == "in"
    assert lockout.is_account_locked(owner.username).capped


def test_the_cookie_is_kept_from_scripts_and_other_sites(browser: Client, settings: Any) -> None:
    cookie = browser.cookies["device"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 180 * 24 * 3600)
    assert not cookie["secure"]


def test_it_is_secure_where_the_sessions_is(owner: User, settings: Any) -> None:
    settings.SESSION_COOKIE_SECURE = True
    client = Client()
    tried(client, owner.username)
    assert client.cookies["device"]["secure"]


def test_and_where_the_request_came_over_tls(owner: User) -> None:
    client = Client()
    client.post("/in/", {"username": owner.username, "password": RIGHT}, secure=True)
    assert client.cookies["device"]["secure"]


def test_a_device_has_tries_of_its_own_and_takes_none_of_the_accounts(browser: Client, owner: User) -> None:
    assert [tried(browser, owner.username, "wrong") for _ in range(7)] == ["wrong"] * 5 + ["refused"] * 2
    assert tried(browser, owner.username) == "refused", "a stolen cookie is no key"
    assert lockout.is_account_locked(owner.username).failures == 0
    assert tried(Client(), owner.username) == "in"


@pytest.mark.parametrize("by_link", [False, True], ids=["administrator", "link"])
def test_an_unlock_opens_the_devices_too(browser: Client, owner: User, by_link: bool) -> None:
    for _ in range(5):
        tried(browser, owner.username, "wrong")
    attack(owner.username)
    assert tried(browser, owner.username) == "refused"
    if by_link:
        made = run(links.make(owner.username))
        assert made is not None
        assert run(links.redeem(made[1])) is True
    else:
        assert lockout.unlock_account(owner.username) is True
    assert tried(browser, owner.username) == "in"
    attack(owner.username)
    assert tried(browser, owner.username) == "in", "and it is trusted as before"


def test_a_locked_device_is_told_of_as_one(browser: Client, owner: User) -> None:
    told: list[dict[str, Any]] = []

    def receiver(**arguments: Any) -> None:
        told.append(arguments)

    signals.account_locked.connect(receiver)
    try:
        for _ in range(5):
            tried(browser, owner.username, "wrong")
        attack(owner.username)
    finally:
        signals.account_locked.disconnect(receiver)
    assert [(one["identifier"], one["device"]) for one in told] == [(owner.username, True), (owner.username, False)]
    assert len(lockout.locked_accounts()) == 1


def test_two_browsers_are_counted_apart(browser: Client, owner: User) -> None:
    other = Client()
    assert tried(other, owner.username) == "in"
    for _ in range(6):
        tried(browser, owner.username, "wrong")
    assert tried(other, owner.username) == "in"


def test_a_success_refunds_the_devices_tries(browser: Client, owner: User) -> None:
    for _ in range(3):
        assert [tried(browser, owner.username, "wrong") for _ in range(4)] == ["wrong"] * 4
        assert tried(browser, owner.username) == "in"


def test_a_stolen_cookie_is_as_many_tries_as_one_device_however_it_is_replayed(browser: Client, owner: User) -> None:
    value = browser.cookies["device"].value
    answers = []
    for _ in range(8):
        thief = Client(REMOTE_ADDR="198.51.100.66")
        thief.cookies["device"] = value
        answers.append(tried(thief, owner.username, "wrong"))
    assert answers == ["wrong"] * 5 + ["refused"] * 3


def forged(value: str) -> list[str]:
    rows = signing.loads(value, salt=SALT)
    head, _, tail = value.rpartition(":")
    return [
        "", "x", "a:b:c", value[:-1], value + "x", f"{head}:{tail[::-1]}", value.swapcase(),
        signing.dumps(rows, salt="another"), signing.dumps(rows, salt=SALT, key="another secret"),
    ]  # fmt: skip


def test_a_forged_cookie_is_none(browser: Client, owner: User) -> None:
    attack(owner.username)
    for value in forged(browser.cookies["device"].value):
        stranger = Client()
        stranger.cookies["device"] = value
        assert tried(stranger, owner.username) == "refused"


def test_a_cookie_is_for_its_account_only(browser: Client, who: str) -> None:
    victim = User.objects.create_user(f"victim-{who}", password=RIGHT)
    attack(victim.username)
    assert tried(browser, victim.username) == "refused"


def test_and_for_its_tenant_only(owner: User) -> None:
    client = Client()
    assert tried(client, owner.username, url="/in/sppg-1/") == "in"
    for tenant in ("sppg-1", "sppg-2"):
        with use_tenant(tenant):
            attack(owner.username)
    assert tried(client, owner.username, url="/in/sppg-1/") == "in"
    client.cookies.pop("sessionid")
    assert tried(client, owner.username, url="/in/sppg-2/") == "refused"


def test_a_changed_password_ends_it(browser: Client, owner: User) -> None:
    attack(owner.username)
    owner.set_password("another one, long enough")
    owner.save()
    assert tried(browser, owner.username, "another one, long enough") == "refused"


def test_so_does_deleting_the_user(browser: Client, owner: User) -> None:
    attack(owner.username)
    owner.delete()
    assert tried(browser, owner.username) == "refused"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_so_does_forgetting_devices_until_the_next_log_in(browser: Client, owner: User, is_async: bool) -> None:
    if is_async:
        async_to_sync(lockout.aforget_devices)(owner)
    else:
        lockout.forget_devices(owner)
    old = browser.cookies["device"].value
    attack(owner.username)
    assert tried(browser, owner.username) == "refused"
    lockout.unlock_account(owner.username)
    assert tried(browser, owner.username) == "in"
    attack(owner.username)
    assert tried(browser, owner.username) == "in", "it has signed in since"
    browser.cookies["device"] = old
    assert tried(browser, owner.username) == "refused"


@pytest.mark.parametrize("row", [[], ["x"], ["tag", "id", "no number", "", "x"], ["tag", "id", "9" * 30, "", "x"]])
def test_what_an_earlier_release_has_signed_is_none_at_worst(owner: User, row: list[str]) -> None:
    tag = Account.of(owner.username, None, "password").tag
    client = Client()
    client.cookies["device"] = signing.dumps([[tag if part == "tag" else part for part in row]], salt=SALT)
    assert tried(client, owner.username) == "in"


def test_an_old_cookie_is_none(browser: Client, owner: User, settings: Any) -> None:
    attack(owner.username)
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "DEVICE_COOKIE_AGE": 0.000001}
    assert tried(browser, owner.username) == "refused"


def test_it_outlives_a_rotated_secret_key_while_the_old_one_is_a_fallback(
    browser: Client, owner: User, settings: Any
) -> None:
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another for tests"
    attack(owner.username)
    assert tried(browser, owner.username) == "refused"
    settings.SECRET_KEY_FALLBACKS = [old]
    assert tried(browser, owner.username) == "in"


def test_up_to_five_people_may_share_a_browser(browser: Client, owner: User, who: str) -> None:
    names = [f"{letter}-{who}" for letter in "abcd"]
    for name in names:
        User.objects.create_user(name, password=RIGHT)
        assert tried(browser, name) == "in"
    for name in (owner.username, *names):
        attack(name)
        assert tried(browser, name) == "in"
    assert tried(browser, User.objects.create_user(f"e-{who}", password=RIGHT).username) == "in"
    held = signing.loads(browser.cookies["device"].value, salt=SALT)
    assert len(held) == 5
    assert len(browser.cookies["device"].value) < 1500


def test_async_is_the_same(owner: User) -> None:
    async def main() -> tuple[str, str]:
        browser = AsyncClient()
        first = await browser.post("/ain/", {"username": owner.username, "password": RIGHT})
        for _ in range(5):
            async with lockout.guard_login(owner.username):
                pass
        second = await browser.post("/ain/", {"username": owner.username, "password": RIGHT})
        return first.content.decode(), second.content.decode()

    assert async_to_sync(main)() == ("in", "in")


def test_without_a_name_there_is_no_cookie(owner: User, settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "DEVICE_COOKIE": ""}
    client = Client()
    assert tried(client, owner.username) == "in"
    assert "device" not in client.cookies


def test_a_failure_gives_none(owner: User) -> None:
    client = Client()
    assert tried(client, owner.username, "wrong") == "wrong"
    assert "device" not in client.cookies


def test_a_log_in_by_a_device_is_one_round_trip_and_one_to_settle(
    browser: Client, owner: User, commands: Any, raw: "redis.Redis"
) -> None:
    tried(browser, owner.username)
    with commands() as log:
        tried(browser, owner.username, "wrong")
    assert len([line for line in log if "security:" in line]) == 1
    with commands() as log:
        tried(browser, owner.username)
    assert len([line for line in log if "security:" in line]) == 2
