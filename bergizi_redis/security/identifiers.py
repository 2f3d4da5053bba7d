"""Which account an identifier means, and the tag that stands for it in Redis.

Promise: spellings that a person takes for one name are one account (case, full width, invisible characters, spaces);
different names are never one by separators; no key holds a name. Pure computation: no round trip, never an exception.

The tag is a keyed hash: who reads Redis cannot try names against it without ``SECRET_KEY``. When ``SECRET_KEY`` is
rotated every tag changes, so counters and locks start fresh and the old ones expire unread (at most
``LOCKOUT_WINDOW``); ``SECRET_KEY_FALLBACKS`` is not consulted. ``unlock_account`` cannot reach a lock from before.

Sources: Unicode TR 15 and TR 31 (NFKC, case folding); OWASP Authentication Cheat Sheet (user names are
case-insensitive).
"""

import hashlib
import unicodedata

from django.conf import settings
from django.utils.crypto import salted_hmac

SALT = "bergizi_redis.security.identifiers"
LONGEST = 1024  # characters; e-mail addresses end at 254 (RFC 5321). The rest of a longer name becomes a digest.
READ = 16 * LONGEST  # characters that are looked at; longer identifiers that agree in them share a count
CHUNK = 1024  # characters normalised at a time: sorting a run of n combining marks costs n² (65,536 of them: 3.4 s)
TAG_LENGTH = 32  # hex digits: 128 bits

# Default-ignorable characters that are not of category Cf: joiners, fillers and variation selectors (Unicode
# DerivedCoreProperties.txt). Invisible, so a name with one looks like the name without.
_INVISIBLE = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10),
     *range(0xE0000, 0xE1000)]
)  # fmt: skip


def canonical_identifier(identifier: object) -> str:
    """The spelling by which an account is counted; at most ``LONGEST`` characters, and canonical itself.

    NFKC, casefold, control and zero-width characters away, runs of white space to one space. A Turkish dotless ı stays
    distinct from i. None is "". Takes milliseconds at most, whatever is given.
    """
    text = _visible("" if identifier is None else str(identifier)[:READ])
    for _ in range(8):  # folding can bring characters together that fold once more; two rounds are usual
        folded = _visible("".join(_fold(text[i : i + CHUNK]) for i in range(0, len(text), CHUNK)))
        if folded == text:
            break
        text = folded
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:TAG_LENGTH]
    return f"{text[: LONGEST - TAG_LENGTH - 1].rstrip()}~{digest}"


def _visible(text: str) -> str:
    """Without what cannot be seen, and with single spaces. Spaces first: a line break separates words."""
    spaced = " ".join(text.split())
    seen = (char for char in spaced if unicodedata.category(char) not in ("Cc", "Cf") and ord(char) not in _INVISIBLE)
    return " ".join("".join(seen).split())


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def account_tag(tenant: str, scope: str, canonical: str) -> str:
    """128 bits in hex for (tenant, scope, canonical identifier): HMAC-SHA256 under a key derived from ``SECRET_KEY``.

    Each part goes in with its length before it, so that no choice of separators makes two triples one.
    """
    return _tag(SALT, tenant, scope, canonical)


def account_tags(tenant: str, scope: str, canonical: str) -> list[str]:
    """The tag, and those under ``SECRET_KEY_FALLBACKS``."""
    return [_tag(SALT, tenant, scope, canonical, secret=key) for key in [None, *settings.SECRET_KEY_FALLBACKS]]


def network_tag(scope: str, network: str) -> str:
    """The same for a network; under a key of its own, since a name may look like one."""
    return _tag(f"{SALT}.network", scope, network)


def _tag(salt: str, *parts: str, secret: str | bytes | None = None) -> str:
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
    return salted_hmac(salt, message, secret, algorithm="sha256").hexdigest()[:TAG_LENGTH]


def masked_identifier(canonical: str) -> str:
    """What a list may show: ``b…@g…`` of ``budi@gizi.id``, ``b…`` of ``budi``, ``…`` of nothing."""
    name, at, domain = canonical.partition("@")
    masked = f"{name[:1]}…{at}{domain[:1]}…" if at else f"{name[:1]}…"
    return masked.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written as UTF-8
