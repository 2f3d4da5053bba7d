"""The functions that ``@invalidates`` registers, and what a write that no signal announces means for them.

``update()``, ``bulk_create()`` and raw SQL give a function no instance, so nobody knows what it would have said was
touched. It may name tags for that, ``@invalidates(Menu, bulk=["menus"])``, which are voided at every tenant; without,
everything is, with a line in the log that says so.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model

logger = logging.getLogger("bergizi_redis.cache")

EVERYTHING = None


@dataclass(slots=True, eq=False)
class Listener:
    """``bulk``: tags, or None for everything."""

    function: Callable[[Any], Any]
    models: tuple[type[Model], ...]
    bulk: tuple[str, ...] | None = None
    tables: set[str] = field(default_factory=set)
    warned: bool = False

    def hears(self, kind: type[Model]) -> None:
        """The model's rows lie in these tables; of a child's, part of them in its parents'."""
        self.tables |= {each._meta.db_table.lower() for each in (kind, *kind._meta.all_parents)}

    def concerns(self, tables: frozenset[str] | None) -> bool:
        return bool(self.tables) and (tables is None or not self.tables.isdisjoint(tables))

    def is_told_of(self, instances: Sequence[Any] | None) -> bool:
        """Whether signals tell the function of each of the instances."""
        return instances is not None and all(isinstance(instance, self.models) for instance in instances)


_listeners: dict[str, Listener] = {}


def listen(name: str, function: Callable[[Any], Any], models: tuple[type[Model], ...], bulk: Any) -> Listener:
    """Register under the name; the same name again – its module was reloaded – takes the first one's place."""
    _listeners[name] = Listener(function, models, bulk)
    return _listeners[name]


def concerned(tables: frozenset[str] | None) -> Iterator[Listener]:
    for listener in list(_listeners.values()):
        if listener.concerns(tables):
            yield listener


def bulk_tags(listener: Listener) -> tuple[str, ...] | None:
    """What a write without an instance voids: tags, or ``EVERYTHING``, which is told once."""
    if listener.bulk is EVERYTHING and not listener.warned:
        listener.warned = True
        name = getattr(listener.function, "__qualname__", repr(listener.function))
        logger.warning(
            "A write without signals (update(), bulk_create(), raw SQL) voided every tagged entry, for nobody knows "
            "what %s would have touched. Name the tags to void instead: @invalidates(…, bulk=[…]).",
            name, extra={"action": "cache_voided_whole"},
        )  # fmt: skip
    return listener.bulk
