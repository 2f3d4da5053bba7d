"""The peppered password hasher: who has the database, and not the pepper, can try no guess.

``bcrypt(base64(HMAC-SHA384(pepper, NFC(password))))`` at a cost of ``PASSWORD_BCRYPT_COST``; kept as
``peppered_bcrypt$<key id>$$2b$12$<salt and checksum>``. Promise: each check computes bcrypt once, whatever is given –
73 bytes, a NUL, a megabyte, a lone surrogate, a hash that is damaged, a pepper that is gone; none of them raises, and
none is cut off. A hash of another cost or pepper is made anew at the next log-in; so are those of Django's hashers that
stand behind this one in ``PASSWORD_HASHERS``. Needs no Redis.
"""

import logging
import re
from typing import Any

import bcrypt
from django.contrib.auth.hashers import BasePasswordHasher, mask_hash
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_noop

from bergizi_redis.conf import SETTINGS_NAME, config
from bergizi_redis.passwordconf import KEY_ID
from bergizi_redis.security.peppers import current_key_id, peppered, secret_of

logger = logging.getLogger("bergizi_redis.security")

KEPT = re.compile(rf"(\w+)\$({KEY_ID.pattern})\$(\$2b\$(0[4-9]|1\d|20)\$[./A-Za-z0-9]{{53}})")
SALT = 29  # characters of bcrypt's output that are version, cost and salt
NO_SECRET = "a pepper that is not there; what it makes is compared with nothing"  # noqa: S105


class PepperedBCryptPasswordHasher(BasePasswordHasher):
    """Name it first in ``PASSWORD_HASHERS``, and give ``PASSWORD_PEPPERS`` a secret.

    ``ConfigurationError`` for a new hash without a pepper. A subclass may set ``rounds``, such as 4 for tests.
    """

    algorithm = "peppered_bcrypt"

    @property
    def rounds(self) -> int:
        """The cost in force: the logarithm of the work."""
        return config.PASSWORD_BCRYPT_COST

    def salt(self) -> str:
        """A fresh salt, with version and cost before it, as bcrypt wants it."""
        return bcrypt.gensalt(self.rounds).decode()

    def encode(self, password: Any, salt: Any) -> str:
        """What the database shall hold. ``salt``: of ``salt()``. ``ConfigurationError``, ``ValueError`` for another."""
        self._check_encode_args(password, salt)
        key_id = current_key_id()
        return self._kept(key_id, _hash(password, secret_of(key_id) or "", salt))

    def _check_encode_args(self, password: Any, salt: Any) -> None:
        if password is None:
            raise TypeError("A password must be a str or bytes, not None.")
        if not salt:
            raise ValueError("A salt must be given: one of salt().")

    def _kept(self, key_id: str, hashed: str) -> str:
        return f"{self.algorithm}${key_id}${hashed}"

    def decode(self, encoded: str) -> dict[str, Any]:
        """The parts of a hash. ``ValueError`` for none of ours."""
        found = KEPT.fullmatch(encoded)
        if found is None or found[1] != self.algorithm:
            raise ValueError(f"This is no hash of {self.algorithm}: {mask_hash(encoded[:32], 16)}")
        return {
            "algorithm": found[1],
            "key_id": found[2],
            "work_factor": int(found[4]),
            "salt": found[3][:SALT],
            "checksum": found[3][SALT:],
        }

    def verify(self, password: Any, encoded: str) -> bool:
        """Whether this is the password. One bcrypt for any; False for a hash that cannot be checked, and logged."""
        try:
            parts = self.decode(encoded)
            secret = secret_of(parts["key_id"])
            hashed = _hash(password, NO_SECRET if secret is None else secret, parts["salt"])
        except ValueError:  # a salt that bcrypt does not know is refused before anything is computed
            logger.error("A password hash is damaged", extra={"action": "password.damaged"})
            _hash(password, NO_SECRET, self.salt())
            return False
        if secret is None:
            logger.error(
                "A password was not checked: %s['PASSWORD_PEPPERS'] lacks the key id %r",
                SETTINGS_NAME, parts["key_id"], extra={"action": "password.no_pepper", "key_id": parts["key_id"]},
            )  # fmt: skip
            return False
        return constant_time_compare(encoded, self._kept(parts["key_id"], hashed))

    def must_update(self, encoded: str) -> bool:
        """Whether cost or pepper are others now, so that the next log-in makes the hash anew."""
        try:
            parts = self.decode(encoded)
        except ValueError:
            return True
        return bool(parts["work_factor"] != self.rounds or parts["key_id"] != current_key_id())

    def harden_runtime(self, password: Any, encoded: str) -> None:
        """Spend what a wrong password against a cheaper hash has saved: its user would be told by the time."""
        try:
            parts = self.decode(encoded)
        except ValueError:
            return
        for _ in range(2 ** max(0, self.rounds - parts["work_factor"]) - 1):
            _hash(password, NO_SECRET, parts["salt"])

    def safe_summary(self, encoded: str) -> dict[Any, Any]:
        """What the admin shows of a hash."""
        parts = self.decode(encoded)
        return {
            gettext_noop("algorithm"): parts["algorithm"],
            gettext_noop("pepper"): parts["key_id"],
            gettext_noop("work factor"): parts["work_factor"],
            gettext_noop("salt"): mask_hash(parts["salt"][7:]),
            gettext_noop("checksum"): mask_hash(parts["checksum"]),
        }


def _hash(password: Any, secret: str, salt: Any) -> str:
    salted = salt.encode() if isinstance(salt, str) else bytes(salt)
    return bcrypt.hashpw(peppered(password, secret), salted).decode()
