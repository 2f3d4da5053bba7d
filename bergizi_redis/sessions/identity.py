"""The key in the cookie, and the public id (sid) that stands for it everywhere else.

The sid is a domain-separated SHA-256 of the key, cut to 128 bits: whoever reads Redis, a log or an admin page cannot
make the cookie of it. It depends on no secret, so that rotating ``SECRET_KEY`` logs nobody out.
"""

import hashlib
import re

from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.utils.crypto import get_random_string

DOMAIN = b"bergizi_redis.session.1\0"
SID_PATTERN = re.compile(r"[0-9a-f]{32}")


def new_key() -> str:
    """A session key as Django makes them: 32 of 36 characters, 165 bits. No look-up: creating detects a collision."""
    return get_random_string(32, VALID_KEY_CHARS)


def sid_of(key: str) -> str:
    """32 hex digits. Any text is a key here, as a cookie may hold anything."""
    return hashlib.sha256(DOMAIN + key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_sid(text: object) -> bool:
    return isinstance(text, str) and SID_PATTERN.fullmatch(text) is not None
