"""The watch that every test runs under sees what it is there for."""

import logging
from collections.abc import Callable

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client

from bergizi_redis.security.account import Account
from bergizi_redis.sessions.backend import SessionStore
from tests.leaks import watching

pytestmark = pytest.mark.shows_secrets("to be seen")

PASSWORD, KEY, NAME = "sambal-terasi-88", "k" * 32, "siti@dapur.example"


@pytest.mark.parametrize("kind", ["string", "hash", "zset", "set", "list", "stream"])
def test_a_password_in_a_value_is_seen(kind: str, raw: "redis.Redis", prefix: str) -> None:
    key = f"{prefix}:{kind}"
    stores: dict[str, Callable[[], object]] = {
        "string": lambda: raw.set(key, f"it is {PASSWORD}"),
        "hash": lambda: raw.hset(key, "password", PASSWORD),
        "zset": lambda: raw.zadd(key, {PASSWORD: 1}),
        "set": lambda: raw.sadd(key, PASSWORD),
        "list": lambda: raw.rpush(key, PASSWORD),
        "stream": lambda: raw.xadd(key, {"password": PASSWORD}),
    }
    stores[kind]()
    with watching() as watch:
        User().set_password(PASSWORD)
    assert watch.leaks(raw, [key.encode()]) == [f"the value of {key.encode()!r} shows {PASSWORD!r}"]
    raw.delete(key)


def test_a_session_key_in_the_name_of_a_key_is_seen(raw: "redis.Redis", prefix: str) -> None:
    with watching() as watch:
        SessionStore(session_key=KEY)
    key = f"{prefix}:session:{KEY}".encode()
    assert watch.leaks(raw, [key]) == [f"the key {key!r} shows {KEY!r}"]


def test_the_name_of_an_account_in_a_key_of_security_is_seen(raw: "redis.Redis", prefix: str) -> None:
    with watching() as watch:
        Account.of(NAME.upper(), None, "password")
    key = f"{prefix}:security:attempts:{NAME}".encode()
    assert watch.leaks(raw, [key]) == [f"the key {key!r} names {NAME!r}"]
    assert watch.leaks(raw, [f"{prefix}:user:{NAME}".encode()]) == []


@pytest.mark.parametrize("said", [{"msg": "was %s", "args": (PASSWORD,)}, {"msg": "no", "args": (), "extra": PASSWORD}])
def test_a_password_in_a_log_line_is_seen(said: dict[str, object], raw: "redis.Redis") -> None:
    record = logging.makeLogRecord({"name": "bergizi_redis.security", "levelno": logging.ERROR, **said})
    with watching() as watch:
        User().set_password(PASSWORD)
        logging.getLogger("bergizi_redis").handle(record)
    assert watch.leaks(raw, []) == [f"the log of bergizi_redis.security shows {PASSWORD!r}"]


@pytest.mark.django_db
def test_a_password_on_a_page_is_seen(raw: "redis.Redis") -> None:
    with watching() as watch:
        User().set_password(PASSWORD)
        Client().get("/not-found/", headers={"Accept": "text/html"}, query_params={"q": PASSWORD})
        watch.seen.append(("the page /echo/", f"you wrote {PASSWORD}"))
    assert "the page /echo/ shows" in "".join(watch.leaks(raw, []))
    assert any(place.startswith("the page /not-found/") for place, _ in watch.seen)
