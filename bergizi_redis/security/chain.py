"""The keyed hash chain of a trail: who cannot compute it cannot change, move, add or take away an event unseen.

Two MACs (HMAC-SHA256, 128 bits, with the id of their key): the **mac** of an event covers the trail's name and what the
event says; its **link** covers the link, the id (and so the time) and the count of the event before it, its own number
and its mac. What only the server knows of an event, its time and its count, is thus covered once another follows.

The server holds no key, so writers compute both and the server compares: see ``trails``. An event that was written
among many at once may have waited for its link; its mac covers the link that it came after. Needs no Redis.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings

from bergizi_redis.conf import config

SALT = b"bergizi_redis.security.audit.1"
CHAINED, WAITING = "chained", "waiting"


@dataclass(frozen=True, slots=True)
class Key:
    ident: str
    secret: bytes

    def sign(self, *parts: str) -> str:
        """``<key id>:<mac>``; each part goes in with its length, so that no two lists of parts are one message."""
        encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
        return f"{self.ident}:{hmac.digest(self.secret, message, 'sha256')[:16].hex()}"


@lru_cache(maxsize=16)
def key_of(secret: str | bytes) -> Key:
    raw = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    derived = hmac.digest(raw, SALT, "sha256")
    return Key(hmac.digest(derived, b"id", "sha256")[:4].hex(), derived)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: number, link, id and count of the last event that is sealed; all "" of a new one."""

    sealed: str = ""
    link: str = ""
    id: str = ""
    again: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is to be sealed."""

    seq: str
    id: str
    mac: str
    again: str


class Signer:
    """The keys in force: the first signs, each verifies what it has signed."""

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        self.keys: Mapping[str, Key] = {key.ident: key for key in map(key_of, secrets)}
        self.first = key_of(secrets[0])

    @classmethod
    def in_force(cls) -> "Signer":
        """``AUDIT_KEY``, or Django's secret keys."""
        given = config.AUDIT_KEY
        own = [given] if isinstance(given, str) else list(given)
        return cls([secret for secret in own if secret] or [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS])

    def mac(self, trail: str, how: str, nonce: str, payload: str) -> str:
        """``how``: ``chained``, so that its link cannot be taken away, or ``waiting`` and what it came after."""
        return self.first.sign("event", trail, how, nonce, payload)

    def link(self, trail: str, before: Head, seq: str, mac: str) -> str:
        return self.first.sign("link", trail, before.link, before.id, before.again, seq, mac)

    def anchor(self, *parts: str) -> str:
        return self.first.sign("anchor", *parts)

    def knows(self, signed: str) -> bool:
        """Whether it was signed with a key that is here."""
        return signed.partition(":")[0] in self.keys

    def verifies(self, signed: str, *parts: str) -> bool:
        key = self.keys.get(signed.partition(":")[0])
        return key is not None and hmac.compare_digest(key.sign(*parts), signed)

    def links(self, trail: str, head: Head, waiting: Sequence[Waiting]) -> tuple[list[str], Head]:
        """Number, id and link of each, one after the other, as ``audit_append.lua`` takes them; the end of the chain
        then."""
        sealed = []
        for each in waiting:
            link = self.link(trail, head, each.seq, each.mac)
            sealed += [each.seq, each.id, link]
            head = Head(each.seq, link, each.id, each.again)
        return sealed, head
