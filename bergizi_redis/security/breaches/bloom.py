"""The filter's arithmetic: how large for how many, and which bits stand for an entry. Needs no Redis.

An entry is the SHA-1 of a password, as the files of Have I Been Pwned have it: its first bits choose the shard – a
sorted file fills one after the other – and a digest of it the bits in the shard. No entry can be read back from these.

Source: Kirsch and Mitzenmacher, "Less Hashing, Same Performance" (two digests stand for any number of them).
"""

import hashlib
import json
import math
import unicodedata
from dataclasses import asdict, dataclass

MOST_BITS = 1 << 26  # of a shard: 8 MB, so that a cluster can share the list out and no command takes long
LEAST_BITS = 1 << 13
HALF = (1 << 64) - 1


def entry_of(password: str) -> bytes:
    """The SHA-1 of the normalised password: the file's name for it, not a safeguard."""
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    return hashlib.sha1(text, usedforsecurity=False).digest()


@dataclass(frozen=True, slots=True)
class Shape:
    """``bits`` of each of the ``shards``; ``hashes``: bits that stand for an entry. ``ident`` names the list."""

    ident: str
    entries: int
    shards: int
    bits: int
    hashes: int

    @classmethod
    def fit(cls, ident: str, entries: int, false_positives: float) -> "Shape":
        """The smallest for so many entries, of which that share of other passwords may be taken for one."""
        total = max(LEAST_BITS, math.ceil(-max(1, entries) * math.log(false_positives) / math.log(2) ** 2))
        shards = math.ceil(total / MOST_BITS)
        bits = -(-total // shards // 8) * 8 + 8
        return cls(ident, entries, shards, min(bits, MOST_BITS), max(1, round(-math.log2(false_positives))))

    @property
    def memory(self) -> int:
        """Bytes that all bitmaps take."""
        return self.shards * self.bits // 8

    def shard(self, entry: bytes) -> int:
        """Grows with the entry, so that a sorted file is done with a shard before it begins the next."""
        return int.from_bytes(entry[:8], "big") * self.shards >> 64

    def places(self, entry: bytes) -> list[int]:
        """The bits of the entry in its shard."""
        digest, bits = int.from_bytes(hashlib.blake2b(entry, digest_size=16).digest(), "big"), self.bits
        place, step = (digest >> 64) % bits, (digest & HALF) % bits or 1
        places = [place]
        for _ in range(self.hashes - 1):
            place += step
            if place >= bits:
                place -= bits
            places.append(place)
        return places

    def text(self) -> str:
        """As it stands in Redis."""
        return json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)

    @classmethod
    def read(cls, text: bytes | str) -> "Shape":
        """What ``text()`` wrote. ``ValueError``, ``TypeError`` for another text."""
        return cls(**json.loads(text))
