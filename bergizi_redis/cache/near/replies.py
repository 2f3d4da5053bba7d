"""What the server says over a near cache's link: RESP3, read as it arrives. It mixes replies and pushes in one stream.

Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from collections.abc import Iterator
from typing import Any


class Push(list[Any]):
    """What the server says without having been asked, such as ``[b"invalidate", [b"key"]]``."""


class Refusal(Exception):
    """An error of the server's, handed on as a reply: the ones behind it are still to be read."""


class Garbled(Exception):
    """What arrived is no RESP3: the stream cannot be followed any further."""


class _Incomplete(Exception):
    pass


class Replies:
    """Bytes in by ``feed``, whole replies out, in order."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> Iterator[Any]:
        self._data += data
        while True:
            self._at = 0
            try:
                reply = self._one()
            except _Incomplete:
                return
            except ValueError as error:
                raise Garbled(f"{bytes(self._data[:20])!r} is no RESP3.") from error
            del self._data[: self._at]
            yield reply

    def _line(self) -> bytes:
        end = self._data.find(b"\r\n", self._at)
        if end < 0:
            raise _Incomplete
        line = bytes(self._data[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, length: int) -> bytes | None:
        if length < 0:
            return None
        end = self._at + length
        if len(self._data) < end + 2:
            raise _Incomplete
        bulk = bytes(self._data[self._at : end])
        self._at = end + 2
        return bulk

    def _several(self, count: int) -> list[Any]:
        return [self._one() for _ in range(count)]

    def _one(self) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind in (b"+", b","):
            return rest
        if kind in (b":", b"("):
            return int(rest)
        if kind in (b"$", b"="):
            return self._bulk(int(rest))
        if kind in (b"*", b"~"):
            return None if rest == b"-1" else self._several(int(rest))
        if kind == b"-":
            return Refusal(rest.decode(errors="replace"))
        return self._rare(kind, rest)

    def _rare(self, kind: bytes, rest: bytes) -> Any:
        if kind == b"_":
            return None
        if kind == b">":
            return Push(self._several(int(rest)))
        if kind == b"%":
            pairs = self._several(2 * int(rest))
            return dict(zip(pairs[::2], pairs[1::2], strict=True))
        if kind == b"#":
            return rest == b"t"
        if kind == b"!":
            return Refusal((self._bulk(int(rest)) or b"").decode(errors="replace"))
        if kind == b"|":  # attributes of the reply that follows
            self._several(2 * int(rest))
            return self._one()
        raise ValueError(kind)


def packed(*words: str | bytes) -> bytes:
    """A command as it is sent."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else word.encode("utf-8", "surrogatepass")
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
