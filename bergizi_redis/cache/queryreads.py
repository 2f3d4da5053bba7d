"""What a query reads: its tables, told from its text, and whether only rows of one tenant can be among them.

Never too few: a name that may be a table counts as one. The text is what Django sends, so joins of ``select_related``,
of ordering and of subqueries are in it. What a database view reads stays unseen: void the view's name by hand.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from django.apps import apps
from django.db import connections
from django.db.models import Field, Model
from django.db.models.expressions import Col
from django.db.models.lookups import Exact
from django.db.models.sql import Query
from django.db.models.sql.where import AND, WhereNode

from bergizi_redis.cache.sqltables import tokens_of
from bergizi_redis.cache.tables import is_lenient, table_named, tenant_field
from bergizi_redis.cache.tags import Scope

READ_AFTER = ("FROM", "JOIN")


def tables_read(sql: str) -> frozenset[str]:
    """Names in lower case, without their schema."""
    return _tables_read(sql, frozenset(table for table, _ in _models()))


@lru_cache(maxsize=1024)
def _tables_read(sql: str, known: frozenset[str]) -> frozenset[str]:
    tokens = tokens_of(sql)
    named = {token.text.lower() for token in tokens if token.is_name or token.is_word}
    read = {
        here.text.lower()
        for before, here in pairwise(tokens)
        if before.is_word and before.text in READ_AFTER and here.is_name
    }
    return frozenset(named & known) | read


def _models() -> tuple[tuple[str, type[Model]], ...]:
    return _named(tuple(apps.get_models(include_auto_created=True)))


@lru_cache(maxsize=4)
def _named(models: tuple[type[Model], ...]) -> tuple[tuple[str, type[Model]], ...]:
    return tuple((model._meta.db_table.rsplit('"."', 1)[-1].strip('"').lower(), model) for model in models)


def state_of(tables: Iterable[str]) -> str:
    """Changes when a field of the tables' models does: rows that other code has stored are not restored."""
    return _state_of(frozenset(tables), tuple(model for _, model in _models()))


@lru_cache(maxsize=1024)
def _state_of(tables: frozenset[str], models: tuple[type[Model], ...]) -> str:
    rows = sorted(
        f"{model.__module__}.{model.__qualname__} {field.attname} {field.column} {type(field).__qualname__}"
        for table, model in _named(models)
        if table in tables
        for field in model._meta.concrete_fields
    )
    return hashlib.blake2b("\n".join(rows).encode(), digest_size=16).hexdigest()


def versions_read(namespace: str, tenant: str, mine: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """The version keys to depend on: of tables of which only the tenant's rows are read, and of all others.

    Anybody's write of one of the others counts. Epoch and tenant are among the keys in any case.
    """
    of_tenant = Scope(tenant, namespace).read_by(tuple(sorted(table_named(table).tag for table in mine)))
    of_all = Scope(None, namespace).read_by(tuple(sorted(table_named(table).tag for table in others)))
    return tuple(dict.fromkeys((*of_tenant, *of_all)))


def proven(query: Query, sql: str, using: str, tenant: str) -> frozenset[str]:
    """The tables of which the query reads rows of this tenant alone.

    Proof is one condition that all rows must meet: the tenant's field, exactly the tenant. A table that is read twice,
    such as in a subquery, is not proven, nor is one whose column compares ``sppg-A`` and ``sppg-a`` as equal.
    """
    if query.combined_queries:
        return frozenset()
    conditions = _conditions(query, query.where, tenant, connections[using])
    found = {table for table in conditions if _times_read(sql, table) == 1}
    return frozenset(found)


def _conditions(query: Query, node: Any, tenant: str, connection: Any) -> Iterable[str]:
    if isinstance(node, WhereNode):
        if node.connector == AND and not node.negated:
            for child in node.children:
                yield from _conditions(query, child, tenant, connection)
    elif isinstance(node, Exact) and type(node.lhs) is Col and node.rhs_is_direct_value():
        field: Field[Any, Any] = node.lhs.target
        joined = query.alias_map.get(node.lhs.alias)
        owner = joined.table_name if joined is not None else None
        if owner != field.model._meta.db_table or tenant_field(field.model) != field:
            return
        if is_lenient(field, connection):
            return
        table = owner.rsplit('"."', 1)[-1].strip('"').lower()
        if table_named(table).tenants([node.rhs]) == frozenset([tenant]):
            yield table


@lru_cache(maxsize=1024)
def _times_read(sql: str, table: str) -> int:
    tokens = tokens_of(sql)
    return sum(
        before.is_word and before.text in READ_AFTER and here.is_name and here.text.lower() == table
        for before, here in pairwise(tokens)
    )
