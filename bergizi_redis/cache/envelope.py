"""What stands before the payload of a tagged entry: 29 bytes, and the tag names where the key does not imply them.

| bytes | field |
| --- | --- |
| 1 | magic ``0xC1``: never the first byte of UTF-8, JSON, pickle, msgpack, a number or a known compressor |
| 1 | format version, 1 |
| 1 | flags: 1 = the tag names follow, 2 = no tags (an untagged payload that happens to begin with the magic) |
| 4 | created, Unix seconds |
| 2 | what computing cost, ms, at most 65,535 |
| 4 | soft life, seconds after creation; 0 = none |
| 16 | digest of the (tag, version) pairs that were read before computing |
| 2 + n | with flag 1: length, then the names joined by U+001F |

An untagged entry has no envelope: its bytes are those that django-redis writes.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

MAGIC = 0xC1
FORMAT = 1
NAMES_FOLLOW = 1
UNTAGGED = 2
SEPARATOR = "\x1f"

_head = struct.Struct(">BBBIHI16s")
_length = struct.Struct(">H")
HEAD = _head.size

NO_DIGEST = bytes(16)  # equal to no digest of versions: an entry that has it is dead from birth
VERSION_BYTES = 8


@dataclass(frozen=True, slots=True)
class Envelope:
    """``names`` is None where the reader knows the tags from the key. ``created`` s, ``cost`` ms, ``soft`` s."""

    payload: bytes
    digest: bytes = NO_DIGEST
    names: tuple[str, ...] | None = None
    created: int = 0
    cost: int = 0
    soft: int = 0
    untagged: bool = False

    def pack(self) -> bytes:
        flags = (NAMES_FOLLOW if self.names is not None else 0) | (UNTAGGED if self.untagged else 0)
        cost = min(max(self.cost, 0), 0xFFFF)
        head = _head.pack(MAGIC, FORMAT, flags, self.created & 0xFFFFFFFF, cost, self.soft, self.digest)
        if self.names is None:
            return head + self.payload
        names = SEPARATOR.join(self.names).encode("utf-8", "surrogatepass")
        return b"".join((head, _length.pack(len(names)), names, self.payload))


def unpack(data: bytes) -> Envelope | None:
    """The envelope, or None for bytes of another format version or cut short: the reader treats those as a miss."""
    if len(data) < _head.size or data[0] != MAGIC or data[1] != FORMAT:
        return None
    _, _, flags, created, cost, soft, digest = _head.unpack_from(data)
    if not flags & NAMES_FOLLOW:
        return Envelope(data[_head.size :], digest, None, created, cost, soft, bool(flags & UNTAGGED))
    start = _head.size + _length.size
    end = start + int.from_bytes(data[_head.size : start], "big")
    if len(data) < max(start, end):
        return None
    try:
        text = data[start:end].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
    names = tuple(text.split(SEPARATOR)) if text else ()
    return Envelope(data[end:], digest, names, created, cost, soft, bool(flags & UNTAGGED))


def is_enveloped(data: object) -> bool:
    return isinstance(data, bytes) and data[:1] == b"\xc1"


def digest_of(keys: tuple[str, ...], versions: Sequence[bytes | None]) -> bytes | None:
    """Digest of the pairs, or None where a version is missing or fenced: nothing can be valid then."""
    if None in versions:
        return None
    together = b"".join(versions)  # type: ignore[arg-type]
    if len(together) != VERSION_BYTES * len(versions):  # a fenced version is longer
        return None
    return hashlib.blake2b(_digest_of_names(keys) + together, digest_size=16).digest()


@lru_cache(maxsize=4096)
def _digest_of_names(keys: tuple[str, ...]) -> bytes:
    """Apart from the versions, because every read with the same tags asks for it."""
    return hashlib.blake2b(repr(keys).encode(), digest_size=16).digest()
