"""The queries behind ``prefetch_related``, told before they run: the versions of their tables must be read first."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Model, Prefetch

from bergizi_redis.exceptions import NotCacheable


def prefetches(queryset: Any) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """(what it is called, the queryset it begins with, further tables) of each step; ``NotCacheable`` for others."""
    reached: dict[str, type[Model]] = {}
    for lookup in queryset._prefetch_related_lookups:
        each = lookup if isinstance(lookup, Prefetch) else Prefetch(lookup)
        yield from _steps(queryset, each, reached)


def _steps(queryset: Any, lookup: Any, reached: dict[str, type[Model]]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    model: type[Model] = queryset.model
    through = lookup.prefetch_through.split("__")
    named = lookup.prefetch_to.split("__")
    for depth, part in enumerate(through):
        path = "__".join(named[: depth + 1])
        own = lookup.queryset if depth == len(through) - 1 else None
        if path in reached and own is None:
            model = reached[path]
            continue
        relation = _relation(model, part, lookup.prefetch_through)
        found = _begins(relation, queryset.db) if own is None else own
        if found._known_related_objects:
            raise NotCacheable(
                f"prefetch_related({path!r}): its queryset comes from an object's relation, and the object itself "
                "would be remembered too. Begin with the model's manager and filter."
            )
        yield f"{path} {lookup.prefetch_through}", found, _through(relation)
        model = reached[path] = found.model


def _relation(model: type[Model], name: str, lookup: str) -> Any:
    """The field or reverse relation that the attribute stands for."""
    for field in model._meta.get_fields():
        is_reverse = field.auto_created and not field.concrete
        accessor = field.get_accessor_name() if is_reverse else field.name  # type: ignore[union-attr]
        if accessor == name and field.is_relation and isinstance(field.related_model, type):
            return field
    raise NotCacheable(
        f"prefetch_related({lookup!r}): {name!r} of {model.__name__} is no relation whose tables are known beforehand, "
        "as those of a GenericForeignKey are not. Take it out, and call prefetch_related_objects() on the rows."
    )


def _begins(relation: Any, using: str) -> Any:
    """The queryset that Django begins with: of the base manager for one row, of the default manager for many."""
    model = relation.related_model
    manager = model._base_manager if relation.many_to_one or relation.one_to_one else model._default_manager
    return manager.using(using)


def _through(relation: Any) -> tuple[str, ...]:
    if not relation.many_to_many:
        return ()
    through = getattr(relation, "through", None) or relation.remote_field.through  # of a reverse relation, of a field
    return (through._meta.db_table,)
