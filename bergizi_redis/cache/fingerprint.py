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

PLAIN = (str, bytes, float, bool, type(None), complex)
PRINTED = (decimal.Decimal, datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, uuid.UUID)


def fingerprint(value: Any) -> str:
    """32 hex digits. Raises ``CacheKeyError`` for a type whose equality cannot be told from its value.

    A saved model is its class, its primary key and the database it came from: behind a router that reads from a replica
    invalidate by tags, for the same row read from there has another name.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for piece in _pieces(value):
        data = piece.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "big") + data)
    return hasher.hexdigest()


def _pieces(value: Any) -> Iterator[str]:
    kind = type(value)
    if kind in PLAIN:
        yield f"{kind.__name__} {value!r}"
    elif kind is int:
        yield f"int {value:x}"  # repr() refuses very long ones
    elif isinstance(value, enum.Enum):
        yield f"enum {_name(kind)} {value._value_ if isinstance(value, enum.Flag) else value.name}"
    elif isinstance(value, PRINTED) and _is_printed_in_full(value):
        yield f"{_name(kind)} {value!r}"
    elif isinstance(value, type):
        yield f"class {_name(value)}"
    elif isinstance(value, Model):
        yield from _of_model(value)
    elif kind in (list, tuple) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        yield f"{_name(kind)} {len(value)}"
        for item in value:
            yield from _pieces(item)
    elif kind in (dict, set, frozenset):
        yield from _unordered(value)
    else:
        raise CacheKeyError(
            f"A {_name(kind)} has no stable name. Use plain values, dates, UUIDs, saved models and lists, dicts or "
            "sets of them as arguments, or pass key=… to the decorator."
        )


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_printed_in_full(value: Any) -> bool:
    """Whether repr() says all: a time zone that prints as an address in memory does not."""
    zone = value if isinstance(value, datetime.tzinfo) else getattr(value, "tzinfo", None)
    return zone is None or type(zone).__repr__ is not object.__repr__


def _of_model(value: Model) -> Iterator[str]:
    if value.pk is None or (isinstance(value.pk, tuple) and None in value.pk):
        raise CacheKeyError(
            f"An unsaved {type(value).__name__} has no stable name; save it first or pass key=… to the decorator."
        )
    yield f"model {value._meta.label_lower} {value._state.db}"
    yield from _pieces(value.pk)


def _unordered(value: dict[Any, Any] | set[Any] | frozenset[Any]) -> Iterator[str]:
    named = sorted(
        (fingerprint(item), fingerprint(value[item]) if isinstance(value, dict) else "") for item in value
    )  # fmt: skip
    yield f"{'dict' if isinstance(value, dict) else 'set'} {len(named)}"
    for name, content in named:
        yield name + content
