"""What a list is built from: a file of passwords, or of SHA-1 digests with counts, read as a stream.

A line of digests is 40 hex digits and, after a colon, how often that password was seen: the format of Have I Been
Pwned's downloads. Any other file holds a password in each line, in UTF-8; a line that is none is
taken as it is.
"""

import hashlib
import re
from binascii import unhexlify
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bergizi_redis.security.breaches.bloom import entry_of

DIGEST = re.compile(rb"([0-9A-Fa-f]{40})(?::(\d+))?\s*")
BLOCK = 1 << 20  # bytes read at a time
LONGEST_LINE = 1 << 16  # bytes; a longer one is no password


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was found. ``size`` in bytes; ``mark`` tells it from another of its name."""

    path: str
    size: int
    mark: str
    is_digests: bool

    @classmethod
    def of(cls, path: Path) -> "Source":
        """Raises ``OSError`` for what cannot be read."""
        with path.open("rb") as file:
            head = file.read(BLOCK)
            size = file.seek(0, 2)
        first = head.partition(b"\n")[0]
        mark = hashlib.blake2b(head + str(size).encode(), digest_size=16).hexdigest()
        return cls(str(path.resolve()), size, mark, DIGEST.fullmatch(first) is not None)

    def lines(self) -> int:
        """How many there are, in one pass."""
        count, last = 0, b"\n"
        with Path(self.path).open("rb") as file:
            while block := file.read(BLOCK):
                count += block.count(b"\n")
                last = block[-1:]
        return count + (last != b"\n")

    def entries(self, offset: int = 0, at_least: int = 1) -> Iterator[tuple[int, bytes | None]]:
        """(offset behind the line, its entry) from ``offset`` on; None for a line that holds none, or was seen less."""
        with Path(self.path).open("rb") as file:
            file.seek(offset)
            while line := file.readline(LONGEST_LINE):
                offset += len(line)
                is_whole = True
                while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    is_whole, line = False, file.readline(LONGEST_LINE)
                    offset += len(line)
                yield offset, self._entry(line, at_least) if is_whole else None

    def _entry(self, line: bytes, at_least: int) -> bytes | None:
        if self.is_digests:
            found = DIGEST.fullmatch(line)
            if found is None or (at_least > 1 and int(found[2] or at_least) < at_least):
                return None
            return unhexlify(found[1])
        password = line.rstrip(b"\r\n")
        try:
            return entry_of(password.decode()) if password else None
        except UnicodeDecodeError:
            return hashlib.sha1(password, usedforsecurity=False).digest()
