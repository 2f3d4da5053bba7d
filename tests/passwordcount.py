"""Counts the password checks that really happen: hashers to put first in ``PASSWORD_HASHERS``, and a backend."""

import threading
from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.hashers import BCryptSHA256PasswordHasher, MD5PasswordHasher, check_password, make_password
from django.contrib.auth.models import User

RIGHT = "nasi-uduk-17-agustus"

_lock = threading.Lock()
_checks = 0


def reset() -> None:
    global _checks
    with _lock:
        _checks = 0


def checks() -> int:
    """Hashes computed since ``reset``; one for each password that was looked at."""
    return _checks


def _count() -> None:
    global _checks
    with _lock:
        _checks += 1


class CountingHasher(MD5PasswordHasher):
    algorithm = "counted"

    def encode(self, password: Any, salt: Any) -> str:
        _count()
        return str(super().encode(password, salt))


class CountingBCrypt(BCryptSHA256PasswordHasher):
    """Real bcrypt at its lowest cost."""

    algorithm = "counted_bcrypt"
    rounds = 4

    def encode(self, password: Any, salt: Any) -> str:
        _count()
        return str(super().encode(password, salt))


class OneUserBackend(BaseBackend):
    """Every name belongs to one user whose password is ``RIGHT``; checked by the first hasher, without a database."""

    encoded = ""

    @classmethod
    def prepare(cls, hasher: str = "counted") -> None:
        """Hash the right password and start counting."""
        cls.encoded = make_password(RIGHT, hasher=hasher)
        reset()

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        if username is None or password is None:
            return None
        return User(pk=1, username=str(username)[:150]) if check_password(password, self.encoded) else None
