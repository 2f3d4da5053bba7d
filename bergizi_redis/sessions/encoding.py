"""One field of the hash per session key: its name and its bytes.

| bytes | value |
| --- | --- |
| ``text`` | a string, as it is: the 64 digits of ``_auth_user_hash`` just fit a listpack's entry |
| ``:json`` | anything else, or a string that begins with a mark or is not valid UTF-8 |
| ``!bytes`` | what the project's own ``SESSION_SERIALIZER`` made, strings included (it may encrypt) |

Names beginning with ``@`` are ours; a session key that begins so gets a second ``@``. Nothing is ever unpickled.
JSON is the standard library's: orjson silently turns NaN into null and integers of more than 64 bits into floats, and
most fields need no JSON at all. ``SESSION_SERIALIZER = "bergizi_redis.sessions.encoding.OrjsonSerializer"`` takes it.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from django.core.signing import JSONSerializer

from bergizi_redis.conf import config
from bergizi_redis.exceptions import BergiziRedisError

logger = logging.getLogger("bergizi_redis.sessions")

META = b"@"
JSON, CUSTOM = b":", b"!"
DECODER = json.JSONDecoder()


class SessionTooLarge(BergiziRedisError, ValueError):
    """A session holds more than ``SESSION_MAX_BYTES``. Nothing was saved; what Redis holds is as it was."""


class OrjsonSerializer:
    """``SESSION_SERIALIZER`` with orjson (extra ``[orjson]``). NaN becomes null, integers must fit 64 bits."""

    def dumps(self, obj: object) -> bytes:
        import orjson

        return orjson.dumps(obj, option=orjson.OPT_NON_STR_KEYS)

    def loads(self, data: bytes) -> Any:
        import orjson

        return orjson.loads(data)


def field_of(key: object) -> bytes:
    """The field's name; a key that is no string becomes one, as JSON makes it."""
    if not isinstance(key, str):
        if not isinstance(key, int | float | None):
            raise TypeError(f"{key!r} cannot be a key of a session: use a string.")
        key = json.dumps(key)
    name = key.encode("utf-8", "surrogatepass")
    return META + name if name.startswith(META) else name


def key_of(field: bytes) -> str:
    return (field[1:] if field.startswith(META) else field).decode("utf-8", "surrogatepass")


def is_meta(field: bytes) -> bool:
    return field.startswith(META) and not field.startswith(META + META)


class Codec:
    """Encodes and decodes values; ``serializer`` is the class that ``SESSION_SERIALIZER`` names."""

    def __init__(self, serializer: Any) -> None:
        self.serializer = None if serializer is JSONSerializer else serializer()

    def encode_value(self, value: Any) -> bytes:
        if self.serializer is not None:
            return CUSTOM + bytes(self.serializer.dumps(value))
        if isinstance(value, str):
            try:
                raw = value.encode()
            except UnicodeEncodeError:  # half a surrogate pair; JSON escapes it
                raw = JSON
            if raw[:1] not in (JSON, CUSTOM):
                return raw
        return JSON + json.dumps(value, separators=(",", ":")).encode("ascii")

    def decode_value(self, raw: bytes) -> Any:
        """Raises ``ValueError`` for bytes that this codec did not make."""
        mark = raw[:1]
        if mark == CUSTOM:
            if self.serializer is None:
                raise ValueError("written by another SESSION_SERIALIZER")
            return self.serializer.loads(raw[1:])
        return DECODER.decode(raw[1:].decode()) if mark == JSON else raw.decode()

    def encode(self, data: Mapping[Any, Any], before: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The fields of a session that was loaded from ``before``. Raises ``SessionTooLarge``, ``TypeError``."""
        fields = {}
        for key, value in data.items():
            name = field_of(key)
            raw = self.encode_value(value)
            # A serializer of the project may give other bytes each time (encryption): compare what they mean.
            # What was written before there was one is written anew.
            old = before.get(name, b"") if raw[:1] == CUSTOM else b""
            if old[:1] == CUSTOM and raw != old and self._means(old, value):
                raw = old
            fields[name] = raw
        size = sum(len(name) + len(raw) for name, raw in fields.items())
        if size > config.SESSION_MAX_BYTES:
            largest = max(fields, key=lambda name: len(fields[name]))
            raise SessionTooLarge(
                f"This session would hold {size} bytes, {len(fields[largest])} of them in {key_of(largest)[:80]!r}; "
                f"BERGIZI_REDIS['SESSION_MAX_BYTES'] allows {config.SESSION_MAX_BYTES}, for a session is read whole on "
                "every request. Keep the data elsewhere and its id in the session, or raise the setting."
            )
        return fields

    def decode(self, fields: Mapping[bytes, bytes], sid: str) -> dict[str, Any]:
        """The session's data. A field that cannot be read is left out and logged: it is no reason for a 500."""
        data = {}
        for name, raw in fields.items():
            if is_meta(name):
                continue
            try:
                data[key_of(name)] = self.decode_value(raw)
            except Exception as error:  # whatever a serializer of the project raises
                logger.warning(
                    "Dropped field %r of session %s: %s", name[:80], sid, type(error).__name__,
                    extra={"action": "session_field_dropped", "sid": sid},
                )  # fmt: skip
        return data

    def _means(self, raw: bytes, value: Any) -> bool:
        try:
            return bool(self.decode_value(raw) == value)
        except Exception:
            return False
