"""Which queries may be remembered: those whose rows follow from their tables and their parameters alone.

Refused are what differs from one moment to the next (``Now()``, ``Random()``, ``order_by("?")``), what locks, what is
written in SQL by hand, and functions that nobody vouches for. A project vouches for its own with the attribute
``deterministic = True``.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from django.db.models import Aggregate, Func, Transform
from django.db.models.expressions import RawSQL, Value
from django.db.models.functions import Cast, Now, Random
from django.db.models.sql import Query
from django.db.models.sql.where import ExtraWhere

from bergizi_redis.cache.sqltables import tokens_of
from bergizi_redis.exceptions import NotCacheable

VOLATILE = frozenset({
    "CLOCK_TIMESTAMP", "CURDATE", "CURRENT_DATE", "CURRENT_ROLE", "CURRENT_SETTING", "CURRENT_TIME",
    "CURRENT_TIMESTAMP", "CURRENT_USER", "CURRVAL", "CURTIME", "GEN_RANDOM_UUID", "GETDATE", "LASTVAL", "LOCALTIME",
    "LOCALTIMESTAMP", "NEWID", "NEXTVAL", "NOW", "RAND", "RANDOM", "RANDOMBLOB", "SESSION_USER",
    "STATEMENT_TIMESTAMP", "SYSDATE", "SYSTIMESTAMP", "TIMEOFDAY", "TRANSACTION_TIMESTAMP", "UNIX_TIMESTAMP",
    "UTC_TIMESTAMP", "UUIDV4", "UUIDV7", "UUID_GENERATE_V1", "UUID_GENERATE_V4", "UUID_V4", "UUID_V7",
})  # fmt: skip
# SQLite's functions of time take the moment as text.
MOMENTS = ("'NOW'", "'LOCALTIME'")
PURE = frozenset({
    "ABS", "AVG", "BTRIM", "CEIL", "CEILING", "CHAR_LENGTH", "COALESCE", "CONCAT", "COUNT", "EXP", "FLOOR",
    "GREATEST", "GROUP_CONCAT", "IFNULL", "INSTR", "LEAST", "LEFT", "LENGTH", "LN", "LOG", "LOWER", "LPAD", "LTRIM",
    "MAX", "MD5", "MIN", "MOD", "NULLIF", "POSITION", "POWER", "REPEAT", "REPLACE", "REVERSE", "RIGHT", "ROUND",
    "RPAD", "RTRIM", "SIGN", "SPLIT_PART", "SQRT", "STRPOS", "SUBSTR", "SUBSTRING", "SUM", "TO_CHAR", "TRIM", "TRUNC",
    "UNACCENT", "UPPER",
})  # fmt: skip
REMEDY = "Ask the database for it, without the cache."


def check(query: Query) -> None:
    """``NotCacheable`` where the query, or one inside it, may answer differently without a write."""
    if query.select_for_update:
        raise NotCacheable("select_for_update() locks rows, which a remembered result cannot do. " + REMEDY)
    for node in walk(query):
        if isinstance(node, Query):
            _check_by_hand(node)
        elif isinstance(node, RawSQL | ExtraWhere):
            raise NotCacheable("SQL by hand (RawSQL, extra()) may read anything. " + REMEDY)
        elif isinstance(node, Now | Random) or type(node).__name__ in ("UUID4", "UUID7") or _is_moment(node):
            raise NotCacheable(f"{type(node).__name__}() differs from one moment to the next. {_moment(node)}")
        elif not _is_vouched(node):
            raise NotCacheable(
                f"Nobody knows whether {_called(node)} depends on its arguments alone. If it does, and reads no "
                f"table, set deterministic = True on {type(node).__qualname__}. Else: {REMEDY[0].lower()}{REMEDY[1:]}"
            )


@lru_cache(maxsize=1024)
def check_text(sql: str) -> None:
    """The same by the text that goes to the database: what an ordering of a model's Meta brings in, for one."""
    for token in tokens_of(sql):
        if token.is_word and token.text in VOLATILE:
            raise NotCacheable(f"{token.text} differs from one moment to the next. {REMEDY}")
    if any(moment in sql.upper() for moment in MOMENTS):
        raise NotCacheable(f"'now' differs from one moment to the next. {REMEDY}")


def _is_moment(node: Any) -> bool:
    """``Cast(Value("today"), DateField())`` is one: PostgreSQL reads the word as the day of the statement."""
    return isinstance(node, Cast) and any(
        isinstance(inner, Value) and str(inner.value).strip().lower() in ("now", "today", "tomorrow", "yesterday")
        for inner in node.get_source_expressions()
    )


def _moment(node: Any) -> str:
    if isinstance(node, Now):
        return "Pass the moment as a parameter, rounded to as much as the result may lag: timezone.now().replace(…)."
    return REMEDY


def _check_by_hand(query: Query) -> None:
    if query.extra or query.extra_tables or query.extra_order_by:
        raise NotCacheable("extra() is SQL by hand, which may read anything. " + REMEDY)
    if any(isinstance(name, str) and name.lstrip("-+") == "?" for name in query.order_by):
        raise NotCacheable('order_by("?") answers differently each time. ' + REMEDY)


def _is_vouched(node: Any) -> bool:
    if getattr(node, "deterministic", None) is True:
        return True
    kind = type(node)
    if not kind.__module__.startswith("django."):
        return False
    extra = getattr(node, "extra", None) or {}
    if not isinstance(node, Func) or not (kind in (Func, Aggregate, Transform) or {"function", "template"} & {*extra}):
        return True
    name = extra.get("function", node.function)
    return "template" not in extra and isinstance(name, str) and name.upper() in PURE


def _called(node: Any) -> str:
    name = getattr(node, "extra", {}).get("function") or getattr(node, "function", None)
    return f"{type(node).__qualname__}({name!r})" if isinstance(name, str) else type(node).__qualname__


def walk(query: Query) -> Iterator[Any]:
    """The query and every expression and query in it."""
    seen: set[int] = set()
    waiting: list[Any] = [query]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list | tuple | set | frozenset):
            waiting += node
        elif (hasattr(node, "as_sql") or hasattr(node, "resolve_expression")) and id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += _inside(node)


def _inside(node: Any) -> list[Any]:
    if not isinstance(node, Query):
        inner = list(node.get_source_expressions()) if hasattr(node, "get_source_expressions") else []
        return [*inner, getattr(node, "rhs", None)]  # a list of values may hold expressions
    joins = [getattr(join, "filtered_relation", None) for join in node.alias_map.values()]
    return [
        node.where,
        *node.annotations.values(),
        *node.combined_queries,
        *node.order_by,
        *(node.group_by if isinstance(node.group_by, tuple) else ()),
        *(getattr(join, "resolved_condition", None) for join in joins),
        *getattr(node, "select", ()),
    ]
