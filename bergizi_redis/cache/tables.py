"""What Django's models tell of a table: its tag, the column that names its rows' tenant, what changes along with it.

The tag of a table is its name, ``Model._meta.db_table``; that of a row, where ``ROW_TAGS`` asks for it, is the table's
with ``#`` and its key. With the setting ``TENANT_FIELD`` a model's rows belong to the tenant that this field holds: the
id itself, or the key of a row whose key is the id.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.exceptions import AppRegistryNotReady, ValidationError
from django.db.models import CharField, Field, Model, TextField

from bergizi_redis.conf import config
from bergizi_redis.exceptions import TenantError
from bergizi_redis.keys import validated_tenant


@dataclass(frozen=True, slots=True)
class Table:
    """``column`` and ``key`` (the primary key's) in lower case, "" where there is none."""

    tag: str
    column: str = ""
    key: str = ""
    field: Any = None
    along: frozenset[str] = frozenset()
    pk: Any = None  # the primary key's field, where each row has a tag of its own

    def tenants(self, values: Iterable[Any]) -> frozenset[str] | None:
        """The tenant ids for values of the column as the database has them; None where one is no tenant's."""
        field = _target(self.field)
        try:
            return frozenset(validated_tenant(_text_of(field, value)) for value in values)
        except (TenantError, ValidationError, TypeError, ValueError):
            return None

    def rows(self, values: Iterable[Any] | None) -> list[str]:
        """Tags of the rows with these keys, as the database has them; None: it is not known which rows."""
        if self.pk is None:
            return []
        if values is None:
            return [f"{self.tag}#"]
        field = _target(self.pk)
        return [f"{self.tag}#{field.to_python(value)}" for value in values]


def _target(field: Any) -> Any:
    """The field whose values a key to another row holds."""
    while field is not None and field.remote_field is not None:
        field = field.target_field
    return field


def is_lenient(field: Any, connection: Any) -> bool:
    """Whether ``sppg-A`` and ``sppg-a`` may be equal there: by a collation of its own, its type, or on MySQL."""
    target = _target(field)
    if getattr(target, "db_collation", None) or (target.db_type(connection) or "").lower() == "citext":
        return True
    return connection.vendor == "mysql" and isinstance(target, CharField | TextField)


def _text_of(field: Any, value: Any) -> str:
    """As the tenant's id; a row that belongs to nobody has none, and may be shown to everybody."""
    return "" if value is None else str(field.to_python(value))


_known: tuple[Any, Any, dict[str, Table]] = (None, None, {})  # Django's list of models, settings, what they give


def table_named(name: str) -> Table:
    """The table for its name in lower case; of one that is no model's only the name is known."""
    found = _all_tables().get(name)
    return found if found is not None else Table(name)


def with_unnamed_rows(tags: Collection[str]) -> Collection[str]:
    """The tags, and for those of tables whose rows have tags of their own the one that stands for any row."""
    if not config.ROW_TAGS:
        return tags
    return {each for tag in tags for each in (tag, *table_named(_bare(tag)).rows(None))}


def tables_of(model: type[Model]) -> list[Table]:
    """The model's own table and those of its parents."""
    return [table_named(_bare(each._meta.db_table)) for each in _with_parents(model._meta.concrete_model or model)]


def tenant_field(model: type[Model]) -> "Field[Any, Any] | None":
    """The model's own field that ``TENANT_FIELD`` names, or None; that of a parent says nothing of this table."""
    named: Any = config.TENANT_FIELD
    names = {named} if isinstance(named, str) else set(named)
    for field in model._meta.local_concrete_fields:
        if {field.name, field.attname} & names:
            return field
    return None


def with_followers(names: Iterable[str]) -> set[str]:
    """The tables, and those that the database itself changes when rows of them go."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += table_named(name).along
    return found


def _all_tables() -> dict[str, Table]:
    """Made anew when models are added, which empties Django's own list, or the setting changes."""
    global _known
    try:
        models = apps.get_models(include_auto_created=True)
    except AppRegistryNotReady:
        return {}
    named = (config.TENANT_FIELD, tuple(config.ROW_TAGS))
    if _known[0] is not models or _known[1] != named:
        _known = (models, named, _tables_of(models))
    return _known[2]


def _tables_of(models: Iterable[type[Model]]) -> dict[str, Table]:
    concrete = [model for model in models if not model._meta.proxy]
    followers: dict[str, set[str]] = {}
    for model in concrete:
        for field in filter(_is_database_rule, model._meta.local_concrete_fields):
            target: Any = field.related_model
            followers.setdefault(_bare(target._meta.db_table), set()).add(_bare(model._meta.db_table))
    labels = {label.lower() for label in config.ROW_TAGS}
    with_rows = {each for model in concrete if model._meta.label_lower in labels for each in _with_parents(model)}
    return {_bare(model._meta.db_table): _table_of(model, followers, has_rows=model in with_rows) for model in concrete}


def _with_parents(model: type[Model]) -> tuple[type[Model], ...]:
    return (model, *model._meta.all_parents)


def _table_of(model: type[Model], followers: dict[str, set[str]], *, has_rows: bool) -> Table:
    field: Any = tenant_field(model)
    key: Any = model._meta.pk
    return Table(
        model._meta.db_table,
        "" if field is None else field.column.lower(),
        (getattr(key, "column", "") or "").lower(),  # a composite key has no column
        field,
        frozenset(followers.get(_bare(model._meta.db_table), ())),
        key if has_rows and getattr(key, "column", None) else None,
    )


def _bare(table: str) -> str:
    """The last part of a name with a schema, such as ``menus"."dish``, as statements have it."""
    return table.rsplit('"."', 1)[-1].strip('"').lower()


def _is_database_rule(field: Any) -> bool:
    """Whether deleting the row that the field points to changes this one without a statement (Django 6.1)."""
    remote = getattr(field, "remote_field", None)
    return remote is not None and hasattr(getattr(remote, "on_delete", None), "on_delete_sql")
