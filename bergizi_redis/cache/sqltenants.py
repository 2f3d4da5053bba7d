"""Which tenants' rows a statement writes, where its text proves it: one table whose rows name their tenant in a column.

* INSERT: the column's placeholder in every row.
* UPDATE and DELETE with ``"t"."tenant" = %s`` among the conditions that all must hold: that parameter.
* UPDATE and DELETE of rows named by their primary key: the database is asked for those rows' tenants before.
* An UPDATE that sets the column: the new tenant too.

Anything else – joins, OR, expressions, ON CONFLICT … DO UPDATE – proves nothing: the whole table is voided then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bergizi_redis.cache.sqltables import Token, tokens_of

NO_PROOF = {";", "OR", "XOR", "|", "UNION", "''"}


@dataclass(frozen=True, slots=True)
class Proof:
    """Where the tenants stand: ``places`` in the parameters; ``rows`` is the condition to ask the database with, whose
    parameters begin at ``rows_from``."""

    places: tuple[int, ...] = ()
    rows: str = ""
    rows_from: int = 0
    is_array: bool = False  # PostgreSQL's UNNEST: the parameter holds the values of all rows


@lru_cache(maxsize=4096)
def proof_of(sql: str, table: str, column: str, key: str) -> Proof | None:
    """The proof for a statement that writes ``table`` alone; ``key`` is its primary key's column. All in lower case."""
    tokens = tokens_of(sql)
    if any(token.text in NO_PROOF and not _is_quoted(token) for token in tokens):
        return None
    if not all(token.text == "%s" for token in tokens if sql[token.start] == "%"):  # a bare % or %(name)s
        return None
    match tokens[0].text if tokens else "":
        case "INSERT":
            return _insert(tokens, column)
        case "UPDATE":
            return _update(sql, tokens, table, column, key)
        case "DELETE":
            return _where(sql, tokens, 0, table, column, key)
    return None


def values_of(proof: Proof, params: Any) -> list[Any] | None:
    """The tenants that the parameters hold, or None where they do not fit."""
    if isinstance(params, Mapping) or params is None:
        return None
    try:
        found = [params[place] for place in proof.places]
    except IndexError:
        return None
    if not proof.is_array:
        return found
    if not all(isinstance(values, list | tuple) for values in found):
        return None
    return [value for values in found for value in values]


def keys_of(proof: Proof | None, params: Any) -> list[Any] | None:
    """The primary keys of the rows that the statement touches, or None where its text does not name them."""
    if proof is None or not proof.rows or isinstance(params, Mapping) or params is None:
        return None
    return list(params[proof.rows_from : proof.rows_from + proof.rows.count("%s")])


def _is_quoted(token: Token) -> bool:
    return token.is_name and not token.is_word


def _names(token: Token, name: str) -> bool:
    return token.is_name and token.text.lower() == name


def _word(tokens: Sequence[Token], text: str, start: int = 0) -> int:
    """The place of the word outside of brackets, or -1."""
    depth = 0
    for place in range(start, len(tokens)):
        token = tokens[place]
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.is_word and token.text == text:
            return place
    return -1


def _list(tokens: Sequence[Token], start: int) -> tuple[list[Sequence[Token]], int]:
    """The elements of the brackets that open at ``start``, and the place behind them."""
    elements: list[Sequence[Token]] = []
    depth, begin = 0, start + 1
    for place in range(start, len(tokens)):
        text = tokens[place].text
        depth += (text == "(") - (text == ")")
        if depth == 0:
            elements.append(tokens[begin:place])
            return elements, place + 1
        if depth == 1 and text == ",":
            elements.append(tokens[begin:place])
            begin = place + 1
    return [], len(tokens)


def _holders(tokens: Sequence[Token]) -> int:
    return sum(token.text == "%s" for token in tokens)


def _insert(tokens: Sequence[Token], column: str) -> Proof | None:
    start = next((place for place, token in enumerate(tokens) if token.text == "("), -1)
    if start < 0 or _overwrites(tokens):
        return None
    columns, place = _list(tokens, start)
    at = next((n for n, each in enumerate(columns) if len(each) == 1 and _names(each[0], column)), -1)
    if at < 0 or place >= len(tokens):
        return None
    if tokens[place].text == "VALUES":
        return _rows(tokens, place + 1, at, len(columns))
    return _unnest(tokens, place, at, len(columns))


def _overwrites(tokens: Sequence[Token]) -> bool:
    """ON CONFLICT … DO UPDATE, ON DUPLICATE KEY UPDATE and OR REPLACE touch a row that may be another tenant's."""
    return any(token.is_word and token.text in ("UPDATE", "REPLACE") for token in tokens)


def _rows(tokens: Sequence[Token], place: int, at: int, width: int) -> Proof | None:
    places: list[int] = []
    before = 0
    while place < len(tokens) and tokens[place].text == "(":
        elements, place = _list(tokens, place)
        if len(elements) != width or [token.text for token in elements[at]] != ["%s"]:
            return None
        places.append(before + sum(_holders(element) for element in elements[:at]))
        before += sum(_holders(element) for element in elements)
        if place < len(tokens) and tokens[place].text == ",":
            place += 1
    return Proof(tuple(places)) if places else None


def _unnest(tokens: Sequence[Token], place: int, at: int, width: int) -> Proof | None:
    """``SELECT * FROM UNNEST((%s)::text[], …)``: one list of values for each column."""
    if [token.text for token in tokens[place : place + 4]] != ["SELECT", "*", "FROM", "UNNEST"]:
        return None
    elements, _ = _list(tokens, place + 4)
    if len(elements) != width or any(_holders(element) != 1 for element in elements):
        return None
    return Proof((at,), is_array=True)


def _update(sql: str, tokens: Sequence[Token], table: str, column: str, key: str) -> Proof | None:
    start = _word(tokens, "SET")
    end = _word(tokens, "WHERE")
    if start < 0 or end < 0 or _word(tokens, "FROM") >= 0:
        return None
    proof = _where(sql, tokens, _holders(tokens[:end]), table, column, key)
    if proof is None:
        return None
    new: tuple[int, ...] = ()
    for begin, element in _assignments(tokens, start + 1, end):
        if _names(element[0], column):
            if [token.text for token in element[1:]] != ["=", "%s"]:
                return None
            new = (_holders(tokens[:begin]),)
    return Proof(proof.places + new, proof.rows, proof.rows_from)


def _assignments(tokens: Sequence[Token], start: int, end: int) -> list[tuple[int, Sequence[Token]]]:
    found, depth, begin = [], 0, start
    for place in range(start, end + 1):
        text = tokens[place].text if place < end else ","
        depth += (text == "(") - (text == ")")
        if depth == 0 and text == "," and place > begin:
            found.append((begin, tokens[begin:place]))
            begin = place + 1
    return found


def _where(sql: str, tokens: Sequence[Token], before: int, table: str, column: str, key: str) -> Proof | None:
    start = _word(tokens, "WHERE")
    if start < 0 or _word(tokens, "USING") >= 0:
        return None
    end = _word(tokens, "RETURNING", start)
    conditions = list(tokens[start + 1 : end if end >= 0 else len(tokens)])
    if any(token.is_word and token.text in ("SELECT", "LIMIT", "ORDER", "NOT") for token in conditions):
        return None
    while conditions and conditions[0].text == "(" and _list(conditions, 0)[1] == len(conditions):
        conditions = conditions[1:-1]
    for begin, condition in _conjuncts(conditions):
        if _equals(condition, table, column):
            return Proof((before + _holders(conditions[:begin]),))
    if not _is_by_key(conditions, table, key):
        return None
    last = sql[tokens[end].start :] if end >= 0 else ""
    text = sql[tokens[start].start : len(sql) - len(last)]
    return Proof(rows=text, rows_from=before)


def _conjuncts(tokens: Sequence[Token]) -> list[tuple[int, Sequence[Token]]]:
    found, depth, begin = [], 0, 0
    for place, token in enumerate(tokens):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.is_word and token.text == "AND":
            found.append((begin, tokens[begin:place]))
            begin = place + 1
    found.append((begin, tokens[begin:]))
    return found


def _column(tokens: Sequence[Token], table: str, column: str) -> int:
    """How many tokens name the column at the beginning: 3 for ``"t"."c"``, 1 for ``"c"``, 0: they do not."""
    if len(tokens) >= 3 and tokens[1].text == ".":
        return 3 if _names(tokens[0], table) and _names(tokens[2], column) else 0
    return 1 if tokens and _names(tokens[0], column) else 0


def _equals(tokens: Sequence[Token], table: str, column: str) -> bool:
    width = _column(tokens, table, column)
    return width > 0 and [token.text for token in tokens[width:]] == ["=", "%s"]


def _is_by_key(tokens: Sequence[Token], table: str, key: str) -> bool:
    if _equals(tokens, table, key):
        return True
    width = _column(tokens, table, key)
    rest = [token.text for token in tokens[width:]]
    return width > 0 and rest[:2] == ["IN", "("] and rest[-1] == ")" and set(rest[2:-1]) <= {"%s", ","}
