"""A stable name for the arguments of a call: equal calls share it, 1, "1", 1.0 and True do not."""

import datetime
import decimal
import enum
import hashlib
import uuid
from collections.abc import Iterator
from typing import Any

from django.db.models import Model

from bergizi_redis.exceptions import CacheKeyError

PLAIN = (str, bytes, int, float, bool, type(None), complex)
PRINTED = (decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, uuid.UUID)


def fingerprint(value: Any) -> str:
    """32 hex digits. Raises ``CacheKeyError`` for a type whose equality cannot be told from its value."""
    hasher = hashlib.blake2b(digest_size=16)
    for piece in _pieces(value):
        data = piece.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(4, "big") + data)
    return hasher.hexdigest()


def _pieces(value: Any) -> Iterator[str]:
    kind = type(value)
    if kind in PLAIN:
        yield f"{kind.__name__} {value!r}"
    elif isinstance(value, enum.Enum):
        yield f"{kind.__module__}.{kind.__qualname__} {value.name}"
    elif isinstance(value, PRINTED):
        yield f"{kind.__name__} {value!r}"
    elif isinstance(value, Model):
        if value.pk is None:
            raise CacheKeyError(f"An unsaved {kind.__name__} has no stable name; save it first or pass key=….")
        yield f"model {value._meta.label_lower} {value._state.db}"
        yield from _pieces(value.pk)
    elif isinstance(value, list | tuple):
        yield f"{'list' if isinstance(value, list) else 'tuple'} {len(value)}"
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, dict | set | frozenset):
        yield from _unordered(value)
    else:
        raise CacheKeyError(
            f"A {kind.__module__}.{kind.__qualname__} has no stable name. Use plain values, dates, UUIDs, saved models "
            "and lists, dicts or sets of them as arguments, or pass key=… to the decorator."
        )


def _unordered(value: dict[Any, Any] | set[Any] | frozenset[Any]) -> Iterator[str]:
    named = sorted(
        (fingerprint(item), fingerprint(value[item]) if isinstance(value, dict) else "") for item in value
    )  # fmt: skip
    yield f"{'dict' if isinstance(value, dict) else 'set'} {len(named)}"
    for name, content in named:
        yield name + content
