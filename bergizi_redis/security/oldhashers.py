"""Django's hashers, to stand behind the peppered one: as they are, but for passwords that they would raise for.

Django's encode text as strict UTF-8, so a lone surrogate in a JSON body is an error instead of a wrong password; and
plain bcrypt, since 5.0 of its library, raises for more than 72 bytes, of which it had read the first 72 before. These
verify whatever they had verified, answer False for the rest, and raise for nothing that a password may hold. New hashes
are as Django's own: going back is possible. Needs no Redis.
"""

from typing import TYPE_CHECKING, Any

import bcrypt
from django.contrib.auth import hashers

if TYPE_CHECKING:
    from django.contrib.auth.hashers import BasePasswordHasher as _Hasher
else:
    _Hasher = object

BCRYPT_READS = 72  # bytes


def encodable(password: Any) -> Any:
    """The password; one with lone surrogates as the text that its bytes spell in Latin-1, which nobody types."""
    if not isinstance(password, str):
        return password
    try:
        password.encode()
    except UnicodeEncodeError:
        return password.encode("utf-8", "surrogatepass").decode("latin-1")
    return password


class AnyTextMixin(_Hasher):
    """Put it before a hasher that takes UTF-8 alone."""

    def encode(self, password: Any, salt: Any, *args: Any, **kwargs: Any) -> str:
        """As the hasher behind it does."""
        return super().encode(encodable(password), salt, *args, **kwargs)


class PBKDF2PasswordHasher(AnyTextMixin, hashers.PBKDF2PasswordHasher):
    """Django's."""


class PBKDF2SHA1PasswordHasher(AnyTextMixin, hashers.PBKDF2SHA1PasswordHasher):
    """Django's."""


class Argon2PasswordHasher(AnyTextMixin, hashers.Argon2PasswordHasher):
    """Django's."""


class ScryptPasswordHasher(AnyTextMixin, hashers.ScryptPasswordHasher):
    """Django's."""


class BCryptSHA256PasswordHasher(AnyTextMixin, hashers.BCryptSHA256PasswordHasher):
    """Django's."""


class BCryptPasswordHasher(hashers.BCryptPasswordHasher):
    """Django's, of which bcrypt reads the first 72 bytes, as it always has. Not for new passwords."""

    def encode(self, password: Any, salt: Any) -> str:
        """Hash the first 72 bytes."""
        raw = password.encode("utf-8", "surrogatepass") if isinstance(password, str) else bytes(password)
        salted = salt.encode() if isinstance(salt, str) else bytes(salt)
        return f"{self.algorithm}${bcrypt.hashpw(raw[:BCRYPT_READS], salted).decode()}"
