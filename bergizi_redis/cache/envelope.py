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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAGIC = 0xC1
FORMAT = 1
NAMES_FOLLOW = 1
UNTAGGED = 2
SEPARATOR = "\x1f"

_head = struct.Struct(">BBBIHI16s")
_length = struct.Struct(">H")

NO_DIGEST = bytes(16)


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
        names = SEPARATOR.join(self.names).encode()
        return b"".join((head, _length.pack(len(names)), names, self.payload))


def unpack(data: bytes) -> Envelope | None:
    """The envelope, or None for bytes of another format version or cut short: the reader treats those as a miss."""
    if len(data) < _head.size or data[1] != FORMAT:
        return None
    _, _, flags, created, cost, soft, digest = _head.unpack_from(data)
    names = None
    start = _head.size
    if flags & NAMES_FOLLOW:
        (length,) = _length.unpack_from(data, start)
        start += _length.size
        text = data[start : start + length].decode()
        names = tuple(text.split(SEPARATOR)) if text else ()
        start += length
    return Envelope(data[start:], digest, names, created, cost, soft, bool(flags & UNTAGGED))


def is_enveloped(data: object) -> bool:
    return isinstance(data, bytes) and data[:1] == b"\xc1"


def digest_of(keys: Sequence[str], versions: Iterable[bytes | None]) -> bytes | None:
    """Digest of the pairs, or None where a version is missing: nothing can be valid then."""
    hasher = hashlib.blake2b(digest_size=16)
    for key, version in zip(keys, versions, strict=True):
        if version is None:
            return None
        name = key.encode()
        hasher.update(len(name).to_bytes(2, "big") + name + version)
    return hasher.digest()
