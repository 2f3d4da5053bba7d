"""Frozen values as JSON has them, and as a table of counts shows them."""

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from typing import Any


def told(value: Any) -> Any:
    """Fields by name, datetimes in ISO 8601; nothing of a value that is no data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: told(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): told(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [told(each) for each in value]
    return value.isoformat() if isinstance(value, date | datetime) else value


def as_json(value: Any) -> dict[str, Any]:
    """The fields of a frozen value."""
    facts: dict[str, Any] = told(value)
    return facts


def counted(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, int]]:
    """Each number with the names that lead to it: ``days 2026-11-23 logins``."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from counted(value, f"{before}{name} ")
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, Mapping):
                    yield from counted(each, f"{before}{each.get('day', name)} ")
        elif isinstance(value, int):
            yield f"{before}{name}", value
