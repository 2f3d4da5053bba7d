"""Commands as bytes, by hiredis: redis-py looks at every argument in Python first, and on a loop packs in Python.

What is not plain – a name of two words, a memoryview, a type of its own – goes redis-py's way, with its errors.
"""

from typing import Any

from redis.connection import HiredisRespSerializer
from redis.utils import HIREDIS_AVAILABLE

if HIREDIS_AVAILABLE:
    from hiredis import pack_command

PLAIN = frozenset((str, bytes, int, float))


def packed(args: tuple[Any, ...]) -> bytes | None:
    """The command; None where redis-py has to look at it."""
    name = args[0]
    if HIREDIS_AVAILABLE and type(name) is str and name.isalpha() and PLAIN.issuperset(map(type, args)):
        command: bytes = pack_command(args)
        return command
    return None


class Packer(HiredisRespSerializer):
    """For a sync connection."""

    def pack(self, *args: Any) -> list[bytes]:
        command = packed(args)
        if command is not None:
            return [command]
        whole: list[bytes] = super().pack(*args)
        return whole
