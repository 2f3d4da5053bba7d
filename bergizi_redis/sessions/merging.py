"""Two requests change one key of a session at once: ``SESSION_MERGE`` names a function that makes one value of both.

``{"cart": "shop.merge"}``, and ``merge(base, mine, theirs)``: the value as this request loaded it, as it wants to save
it, and as the other has saved it; None where there is none. What it returns is saved, None removes the key. It may be
called again if a third request comes between, so it must not do anything else. Keys that are not named need none of
this: of those the later save wins, and keys that only one request has changed never conflict.

Costs no round trip, and one more for each conflict.
"""

from collections.abc import Callable
from typing import Any

from bergizi_redis.conf import config, import_setting
from bergizi_redis.exceptions import BergiziRedisError
from bergizi_redis.exchange import Exchange
from bergizi_redis.sessions.encoding import Codec, field_of
from bergizi_redis.sessions.record import change_of

TRIES = 16
PLAIN = "session_save"
COMPARED = "session_merge"

Merge = Callable[[Any, Any, Any], Any]


class MergeConflict(BergiziRedisError, RuntimeError):
    """Other requests changed the session each time it was merged. This one's changes were not saved."""


class Merging:
    """One save's: its codec, and the data, which are told what became of them."""

    def __init__(self, codec: Codec, data: dict[str, Any]) -> None:
        self._codec, self._data = codec, data
        self._functions: dict[bytes, tuple[str, Merge]] = {
            field_of(key): (key, import_setting("SESSION_MERGE", path)) for key, path in config.SESSION_MERGE.items()
        }

    def write(
        self, send: Callable[[str, list[Any]], Exchange[Any]], base: dict[bytes, bytes], after: dict[bytes, bytes],
        moments: dict[bytes, int], mode: str, life: int,
    ) -> Exchange[Any]:  # fmt: skip
        """Write the difference of ``base`` and ``after``; the latter becomes what was written."""
        base, names = dict(base), list[bytes]()
        for _ in range(TRIES):
            change = change_of(base, after, moments)
            arguments = change.arguments(mode, life)
            names = [name for name in (*change.written, *change.removed) if name in self._functions]
            if mode == "create" or not names:
                return (yield from send(PLAIN, arguments))
            compared = [item for name in names for item in (name, base.get(name, b""))]
            reply = yield from send(COMPARED, [*arguments, *compared, len(names)])
            if reply is None or reply[0] != b"merge":
                return reply
            for name, theirs in zip(names, reply[1:], strict=True):
                self._merge(name, base, after, theirs)
        raise MergeConflict(
            f"Other requests changed {', '.join(sorted(self._functions[name][0] for name in names))} of this session "
            f"{TRIES} times while it was merged. Nothing was saved; try again, or let fewer requests change it at once."
        )

    def _merge(self, name: bytes, base: dict[bytes, bytes], after: dict[bytes, bytes], theirs: bytes | None) -> None:
        key, function = self._functions[name]
        if theirs == base.get(name):
            return
        merged = function(self._value(base.get(name)), self._value(after.get(name)), self._value(theirs))
        if merged is None:
            self._data.pop(key, None)
            after.pop(name, None)
        else:
            self._data[key] = merged
            after[name] = self._codec.encode(self._data, {})[name]
        if theirs is None:
            base.pop(name, None)
        else:
            base[name] = theirs

    def _value(self, raw: bytes | None) -> Any:
        try:
            return None if raw is None else self._codec.decode_value(raw)
        except Exception:  # what cannot be read counts as none, as in loading
            return None


def merging_for(codec: Codec, data: dict[str, Any]) -> Merging | None:
    return Merging(codec, data) if config.SESSION_MERGE else None
