"""Every statement that writes is seen, whoever sends it: save, ``update()``, bulk, raw SQL, many-to-many, cascades.

Promise: the tags of its tables are fenced before it can be seen by anybody and released afterwards – with the
transaction's COMMIT (``commits.py``), or around the statement itself where it commits itself. Signals and the text
(``sqltenants.py``) only make it precise: a write that is proven to touch one tenant leaves the others warm, any other
voids the table for all.

Hooked by Django's ``connection_created`` and one ``execute_wrapper``; no class is patched. Round trips: two for each
transaction or self-committing statement that writes, none for what reads. Not seen: ``COPY``, procedures called with
``callproc()``, triggers, writes past Django; name their tags with ``cache.invalidate_tags()``. In Django's test cases,
whose transaction never commits, a statement voids at once.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.db import connections

from bergizi_redis.cache.callers import announced
from bergizi_redis.cache.commits import committed, fence_commits, fenced, release
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.listeners import Listener, bulk_tags, concerned
from bergizi_redis.cache.outbox import TABLE as OUTBOX
from bergizi_redis.cache.sqltables import ANY, Statement, statement_of
from bergizi_redis.cache.sqltenants import Proof, keys_of, proof_of, values_of
from bergizi_redis.cache.tables import Table, is_lenient, table_named, with_followers
from bergizi_redis.cache.transactions import is_open, is_test_case, meet, written_on
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError

Execute = Callable[[str, Any, bool, dict[str, Any]], Any]


def watch(connection: Any, **_: Any) -> None:
    """See what the connection writes; receiver of ``connection_created``, which Django sends at each new connect."""
    meet(connection)
    if not config.WATCH_WRITES or not is_tagged():
        return
    fence_commits(connection)
    written_on(connection).forget()
    if watched not in connection.execute_wrappers:
        connection.execute_wrappers.append(watched)


def watch_all() -> None:
    """The connections that are open already."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            watch(connection)


def is_tagged() -> bool:
    try:
        tagged_cache()
    except ConfigurationError:
        return False
    return True


def watched(execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Django's execute wrapper."""
    statement = statement_of(sql) if isinstance(sql, str) else Statement("", ANY)
    if statement.tables is not ANY and not statement.tables:
        return _passed(statement, execute, sql, params, many, context)
    tables = statement.tables and with_followers(statement.tables - _unwatched())
    if tables is not ANY and not tables:
        return execute(sql, params, many, context)
    connection = context["connection"]
    seen = _seen(connection, statement, tables, sql, None if many else params)

    def act() -> Any:
        result = execute(sql, params, many, context)
        if seen.if_any and context["cursor"].rowcount:
            seen.version_keys.update(seen.if_any)
        return result

    return _fenced(connection, seen, act)


@dataclass(slots=True)
class Seen:
    """``if_any``: what is void as well if the statement hits rows that were not there a moment before."""

    version_keys: set[str]
    if_any: set[str]


def _unwatched() -> set[str]:
    return {OUTBOX, *config.UNWATCHED_TABLES}


def _passed(statement: Statement, execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """What writes nothing itself; but BEGIN and COMMIT in SQL are a transaction behind Django's back."""
    connection = context["connection"]
    match statement.verb:
        case "BEGIN" | "START":
            written_on(connection).begun = True
        case "COMMIT" | "END":
            result = committed(connection, lambda: execute(sql, params, many, context))
            written_on(connection).begun = _chains(sql)
            return result
        case "ROLLBACK" | "ABORT" if not re.search(r"\bTO\b", sql, re.IGNORECASE):
            written_on(connection).forget()
            written_on(connection).begun = _chains(sql)
    return execute(sql, params, many, context)


def _chains(sql: str) -> bool:
    """Whether the end of a transaction begins the next: COMMIT AND CHAIN."""
    return re.search(r"\bAND\s+CHAIN\b", sql, re.IGNORECASE) is not None


def _fenced(connection: Any, seen: Seen, act: Callable[[], Any]) -> Any:
    written = written_on(connection)
    if is_test_case(connection):
        try:
            return act()
        finally:
            release(seen.version_keys)
    if is_open(connection):
        written.version_keys |= seen.version_keys
        try:
            return act()
        finally:
            written.version_keys |= seen.version_keys
    fenced_keys = frozenset(seen.version_keys)
    try:
        return fenced(connection, fenced_keys, act)
    finally:
        release(seen.version_keys - fenced_keys)
        written.released = frozenset(seen.version_keys)


def _seen(connection: Any, statement: Statement, tables: set[str] | None, sql: str, params: Any) -> Seen:
    """The version keys that the statement voids: its tables' and those of the functions that no signal will call."""
    cache = tagged_cache()
    if tables is ANY:
        return Seen({cache.scope_of(None).everything()}, set())
    tags = [table_named(name).tag for name in tables]
    tenants, is_sure = _proven(connection, statement, sql, params)
    whole = cache.scope_of(None).bumped_by(tags)
    found = {key for tenant in tenants or () for key in cache.scope_of(tenant).bumped_by(tags)} or whole
    found |= cache.scope_of(None).bumped_by(_rows(statement, tables, sql, params, connection))
    return Seen(found | _of_listeners(statement, frozenset(tables), connection), set() if is_sure else whole)


def _rows(statement: Statement, tables: set[str], sql: str, params: Any, connection: Any) -> list[str]:
    """Tags of the rows that are written, of the models that ``ROW_TAGS`` names."""
    tags: list[str] = []
    for name in tables:
        table = table_named(name)
        if table.pk is None or (statement.verb == "INSERT" and announced("INSERT", name)):
            continue  # the key of a new row is known when its signal is sent
        is_alone = statement.tables == frozenset({name}) and not is_lenient(table.pk, connection)
        tags += table.rows(keys_of(proof_of(sql, name, "", table.key), params) if is_alone else None)
    return tags


def _of_listeners(statement: Statement, tables: frozenset[str], connection: Any) -> set[str]:
    """For each function concerned: nothing where a signal will call it, else its bulk tags, or everything."""
    listeners = list(concerned(tables))
    if not listeners:
        return set()
    written = statement.tables or frozenset()
    instances = announced(statement.verb, next(iter(written))) if len(written) == 1 else None
    found: set[str] = set()
    for listener in listeners:
        if not listener.is_told_of(instances) or not listener.tables.isdisjoint(tables - written):
            tags = bulk_tags(listener)
            scope = tagged_cache().scope_of(None)
            found |= {scope.everything()} if tags is None else scope.bumped_by(tags)
        elif not is_open(connection):
            found |= _said_before(listener, instances or ())
    return found


def _said_before(listener: Listener, instances: Sequence[Any]) -> set[str]:
    """What the function says of the instances as they stand: where the statement commits itself, its signal is late."""
    found: set[str] = set()
    for instance in instances:
        with suppress(Exception):  # a new instance may lack what it asks for; the signal calls it again and raises
            touched = listener.function(instance)
            found |= tagged_cache().scope_of(touched.tenant).bumped_by(touched.tags)
    return found


def _proven(connection: Any, statement: Statement, sql: str, params: Any) -> tuple[frozenset[str] | None, bool]:
    """(the tenants whose rows alone are written, or None where it is not proven; whether that is sure)."""
    if statement.tables is None or len(statement.tables) != 1:
        return None, True
    (name,) = statement.tables
    table = table_named(name)
    if not table.column or table.along:
        return None, True
    proof = proof_of(sql, name, table.column, table.key)
    values = None if proof is None else values_of(proof, params)
    if proof is None or values is None:
        return None, True
    if statement.verb != "INSERT" and not proof.rows and is_lenient(table.field, connection):
        return None, True
    theirs = _tenants_of_rows(connection, table, proof, params) if proof.rows else []
    return table.tenants(values + theirs) or None, bool(theirs) or not proof.rows


def _tenants_of_rows(connection: Any, table: Table, proof: Proof, params: Any) -> list[Any]:
    """Ask the database whose the rows are, and keep them from moving until the transaction ends where it can."""
    quote = connection.ops.quote_name
    sql = f"SELECT {quote(table.field.column)} FROM {quote(table.tag)} {proof.rows}"  # noqa: S608 – names of the model's
    if connection.in_atomic_block and connection.features.has_select_for_update:
        sql += " FOR UPDATE"
    with connection.make_cursor(connection.create_cursor()) as cursor:  # not one of the queries that tests count
        cursor.execute(sql, params[proof.rows_from :])
        return [row[0] for row in cursor.fetchall()]
