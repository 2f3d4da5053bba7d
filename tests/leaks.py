"""What must never be seen: passwords and keys of sessions anywhere, names of accounts in the keys of security.

Every test runs under this watch (``tests/conftest.py``), but those marked ``shows_secrets``. Noted are the passwords
that users are given or tried with, the session keys that Django's own class is handed, and the identifiers that the
lockout counts; looked through are all that is left in Redis, each line of the package's loggers, and each page that a
test client was served.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import redis
from django.contrib.auth import models as auth_models
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.backends.base import SessionBase
from django.test import Client

from bergizi_redis.security.account import Account

SHORTEST = 8  # characters; of less, "wrong" for one, any page may hold by chance
COMMON = {"password", "session1"}
MANY = 2_000  # members read of one key


@dataclass(slots=True)
class Watch:
    passwords: set[str] = field(default_factory=set)
    session_keys: set[str] = field(default_factory=set)
    identifiers: set[str] = field(default_factory=set)
    seen: list[tuple[str, str]] = field(default_factory=list)  # where, and what was there

    @property
    def secrets(self) -> set[str]:
        return self.passwords | self.session_keys

    def leaks(self, server: "redis.Redis", keys: list[bytes]) -> list[str]:
        """Each place where a secret can be read."""
        if not self.secrets and not self.identifiers:
            return []
        places = [*self.seen, *((f"the key {key!r}", readable(key)) for key in keys)]
        if self.secrets:
            places += [(f"the value of {key!r}", content(server, key)) for key in keys]
        found = [f"{place} shows {secret!r}" for place, text in places for secret in self.secrets if secret in text]
        return found + [
            f"the key {key!r} names {name!r}"
            for key in keys
            for name in self.identifiers
            if b":security:" in key and name in readable(key).casefold()
        ]


class Listener(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.DEBUG)
        self.watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        told = {name: value for name, value in vars(record).items() if name not in ("args", "request", "exc_info")}
        self.watch.seen.append((f"the log of {record.name}", f"{record.getMessage()} {told}"))


def readable(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)


def content(server: Any, key: bytes) -> str:
    """What is stored, as text."""
    readers: dict[bytes, Callable[[], Any]] = {
        b"string": lambda: server.get(key),
        b"hash": lambda: list(server.hgetall(key).items()),
        b"zset": lambda: server.zrange(key, 0, MANY),
        b"set": lambda: server.smembers(key),
        b"list": lambda: server.lrange(key, 0, MANY),
        b"stream": lambda: server.xrange(key, count=MANY),
    }
    reader = readers.get(server.type(key))
    found = reader() if reader else ""
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


def noted(into: set[str], real: Callable[..., Any], position: int) -> Callable[..., Any]:
    """``real``, which notes the argument at that place."""

    def call(*args: Any, **kwargs: Any) -> Any:
        given = args[position] if len(args) > position else None
        if isinstance(given, str) and len(given) >= SHORTEST and given not in COMMON:
            into.add(given)
        return real(*args, **kwargs)

    return call


@contextmanager
def watching() -> Iterator[Watch]:
    watch = Watch()
    served = Client.request

    def request(self: Any, **given: Any) -> Any:
        response = served(self, **given)
        if not response.streaming:
            watch.seen.append((f"the page {given.get('PATH_INFO')}", readable(response.content)))
        return response

    of = Account.of

    def account(identifier: object, tenant: str | None, scope: str) -> Account:
        found = of(identifier, tenant, scope)
        if len(found.identifier) >= SHORTEST:
            watch.identifiers.add(found.identifier)
        return found

    validated: Any = vars(SessionBase)["_validate_session_key"]
    listener, logger = Listener(watch), logging.getLogger("bergizi_redis")
    passwords, keys = watch.passwords, watch.session_keys
    with (
        mock.patch.object(AbstractBaseUser, "set_password", noted(passwords, AbstractBaseUser.set_password, 1)),
        mock.patch.object(AbstractBaseUser, "check_password", noted(passwords, AbstractBaseUser.check_password, 1)),
        mock.patch.object(auth_models, "make_password", noted(passwords, make_password, 0)),
        mock.patch.object(SessionBase, "_validate_session_key", noted(keys, validated, 1)),
        mock.patch.object(Client, "request", request),
        mock.patch.object(Account, "of", staticmethod(account)),
    ):
        logger.addHandler(listener)
        try:
            yield watch
        finally:
            logger.removeHandler(listener)
