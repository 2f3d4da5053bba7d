"""Tags of single rows, for models that ``ROW_TAGS`` names: what is computed from one row outlives writes of others.

A write of the row voids them, and so does one that does not say which rows it touches. What was computed while there
was no such row is voided by the save that makes it: in a transaction fenced with it, outside of one right after it.
"""

from typing import Any

from django.db.models import Model

from bergizi_redis.cache.invalidation import Touched, touch
from bergizi_redis.cache.tables import tables_of
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError


def row_tags(row: Model | type[Model], pk: Any = None) -> list[str]:
    """Tags for an entry: ``tags=row_tags(menu)``, or ``row_tags(Menu, 42)``. Without a round trip.

    Raises ``ConfigurationError`` for a model that ``ROW_TAGS`` does not name, and for a row without a key.
    """
    model = row if isinstance(row, type) else type(row)
    key = pk if isinstance(row, type) else row.pk
    tables = tables_of(model)
    if key is None or any(table.pk is None for table in tables):
        raise ConfigurationError(
            f"No tags for {row!r}: name {model._meta.label!r} in BERGIZI_REDIS['ROW_TAGS'], and give the key of a row; "
            "a composite key has none."
        )
    return [tag for table in tables for tag in (f"{table.tag}#", f"{table.tag}#{key}")]


def row_saved(sender: type[Model], instance: Model, created: bool, using: str, **_: Any) -> None:
    """Receiver of ``post_save``."""
    if created and config.ROW_TAGS:
        tags = [tag for table in tables_of(sender) for tag in table.rows([instance.pk])]
        if tags:
            touch(Touched(tenant=None, tags=tags), using)
