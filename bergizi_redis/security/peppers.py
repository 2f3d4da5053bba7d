"""What a password is turned into before it is hashed: 64 characters under a secret that the database does not hold.

``base64(HMAC-SHA384(pepper, NFC(password)))``: bcrypt reads 72 bytes and stops at a NUL; this has neither. Takes some
microseconds, and milliseconds for a megabyte. Never an exception for what a password may hold; no round trip.

Sources: OWASP Password Storage Cheat Sheet (peppers, and bcrypt's limit); NIST SP 800-63B-4, 3.1.1.2 (NFC).
"""

import base64
import hashlib
import hmac
import unicodedata

from bergizi_redis.conf import SETTINGS_NAME, config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.passwordconf import LONGEST_NORMALISED, MADE_WITH


def password_bytes(password: str | bytes) -> bytes:
    """The same bytes for every way to write the same characters: NFC, then UTF-8, lone surrogates as they are.

    Above ``LONGEST_NORMALISED`` characters as given. Bytes that are UTF-8 are the text that they stand for.
    """
    if isinstance(password, str):
        text = password
    else:
        try:
            text = password.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return password
    text = unicodedata.normalize("NFC", text) if len(text) <= LONGEST_NORMALISED else text
    return text.encode("utf-8", "surrogatepass")


def peppered(password: str | bytes, secret: str) -> bytes:
    """64 bytes of base64's letters."""
    digest = hmac.digest(secret.encode("utf-8", "surrogatepass"), password_bytes(password), hashlib.sha384)
    return base64.b64encode(digest)


def current_key_id() -> str:
    """The first of ``PASSWORD_PEPPERS``. Raises ``ConfigurationError`` where there is none."""
    for key_id in config.PASSWORD_PEPPERS:
        return key_id
    raise ConfigurationError(
        f"{SETTINGS_NAME}['PASSWORD_PEPPERS'] is empty; the peppered hasher needs {{'2026': '…'}}, a secret of "
        f"{MADE_WITH} that stands outside of the database."
    )


def secret_of(key_id: str) -> str | None:
    """None for a key id that the settings do not have, or no longer."""
    return config.PASSWORD_PEPPERS.get(key_id)
