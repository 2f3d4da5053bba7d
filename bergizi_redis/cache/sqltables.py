"""Which tables a statement writes, told from its text by a tokenizer, which no string, comment or quoted name can fool.

Where the text does not tell – a stored procedure, a form this module does not know – the answer is ``ANY``: it may be
every table. Views, triggers and what a function called by a SELECT does stay unseen: name their tags with
``cache.invalidate_tags()``. Answers are remembered by text; statements come parametrised, so there are few.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

TOKEN = re.compile(
    r"""
    (?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<string>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|[EeNnBbXx]?'(?:[^'\\]|''|\\.)*')
  | (?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\W\d][^\]:,]*\])
  | (?P<placeholder>%s|%\(\w+\)s)
  | (?P<word>[^\W\d][\w$]*)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
READS = {"SELECT", "VALUES", "SHOW", "PRAGMA", "DESCRIBE", "DESC", "TABLE", "FETCH"}
CONTROL = {
    "BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "SET", "RESET", "DECLARE", "CLOSE",
    "LOCK", "UNLOCK", "ANALYZE", "VACUUM", "USE", "LISTEN", "NOTIFY", "UNLISTEN", "DISCARD", "CHECKPOINT", "DEALLOCATE",
}  # fmt: skip
NOISE = {"INTO", "FROM", "ONLY", "TABLE", "IGNORE", "LOW_PRIORITY", "DELAYED", "QUICK"}
CONFLICT = {"OR", "REPLACE", "ROLLBACK", "ABORT", "FAIL"}
VERBS = {"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "TRUNCATE"}
AFTER_TARGET = {"SET", "WHERE", "VALUES", "SELECT", "USING", "DEFAULT", "AS", "ON", "RETURNING", "WITH", "CASCADE",
                "FROM", "JOIN", "INNER", "LEFT", "RESTART", "CONTINUE", "OVERRIDING", "PARTITION"}  # fmt: skip
# Before a verb that belongs to a clause and not to a statement: FOR UPDATE, ON DELETE, DO UPDATE, a column called so.
CLAUSES = {"FOR", "ON", "DO", "KEY", "THEN", "."}
MADE_NEW = {"TABLE", "INDEX", "SEQUENCE", "EXTENSION", "TYPE", "SCHEMA", "COLLATION"}

ANY: None = None
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Token:
    """``text`` is a word in capitals, a name in lower case without its quotes, or the character itself."""

    text: str
    start: int
    is_word: bool = False
    is_name: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """``tables`` in lower case and without schema, ``ANY`` for who knows which. ``verb`` is the first word."""

    verb: str
    tables: frozenset[str] | None


@lru_cache(maxsize=4096)
def statement_of(sql: str) -> Statement:
    """What the text does. Several statements in one text count together."""
    if sql[:6].upper() == "SELECT" and "INTO" not in sql.upper() and ";" not in sql:
        return Statement("SELECT", NOTHING)  # most of all that is run
    statements = _split(tokens_of(sql))
    if not statements:
        return Statement("", NOTHING)
    if "\\'" in sql:  # where a string ends depends on the server's settings
        return Statement(statements[0][0].text, ANY)
    found: set[str] = set()
    for tokens in statements:
        written = _written(tokens)
        if written is None:
            return Statement(statements[0][0].text, ANY)
        found |= written
    return Statement(statements[0][0].text, frozenset(found))


def tokens_of(sql: str) -> list[Token]:
    """The tokens without spaces and comments; a string is ``''``, a placeholder ``%s``."""
    tokens = []
    for match in TOKEN.finditer(sql):
        text, at = match.group(), match.start()
        if match["word"]:
            tokens.append(Token(text.upper(), at, is_word=True, is_name=True))
        elif match["quoted"]:
            name = text[1:-1].replace(text[-1] * 2, text[-1]).lower()
            tokens.append(Token(name, at, is_name=True))
        elif match["placeholder"]:
            tokens.append(Token("%s", at))
        elif match["string"]:
            tokens.append(Token("''", at))
        elif match["other"]:
            tokens.append(Token(text, at))
    return tokens


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    """The statements between semicolons, without what encloses the first word."""
    statements: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == ";" and not token.is_name:
            statements.append([])
        elif statements[-1] or token.text != "(":
            statements[-1].append(token)
    return [tokens for tokens in statements if tokens]


def _written(tokens: Sequence[Token]) -> frozenset[str] | None:
    verb = tokens[0].text
    if verb in ("WITH", "EXPLAIN"):
        return _hidden_writes(tokens)
    if verb in READS:
        return _select_into(tokens)
    if verb in VERBS:
        return _target(tokens, 0)
    if verb == "CREATE":
        return _created(tokens)
    return NOTHING if verb in CONTROL else ANY


def _created(tokens: Sequence[Token]) -> frozenset[str] | None:
    """What is new has no reader yet. A view in the place of another has."""
    words = [token.text for token in tokens[:4] if token.is_word]
    is_new = "REPLACE" not in words and bool(MADE_NEW.intersection(words))
    return NOTHING if is_new else ANY


def _select_into(tokens: Sequence[Token]) -> frozenset[str] | None:
    """``SELECT … INTO t`` makes a table; everything else that selects changes none."""
    for place, token in enumerate(tokens):
        if token.is_word and token.text == "INTO":
            return _names(tokens, place + 1)
    return NOTHING


def _hidden_writes(tokens: Sequence[Token]) -> frozenset[str] | None:
    """Verbs anywhere in a WITH, such as PostgreSQL's data-modifying CTEs."""
    found: set[str] = set()
    for place, token in enumerate(tokens):
        before = tokens[place - 1].text if place else ""
        after = tokens[place + 1].text if place + 1 < len(tokens) else ""
        if token.is_word and token.text in VERBS and before not in CLAUSES and after not in ("(", ",", "="):
            target = _target(tokens, place)
            if target is None:
                return ANY
            found |= target
    return frozenset(found)


def _target(tokens: Sequence[Token], place: int) -> frozenset[str] | None:
    verb = tokens[place].text
    place += 1
    while place < len(tokens) and tokens[place].is_word and tokens[place].text in NOISE | CONFLICT:
        place += 1
    names = _names(tokens, place)
    if verb == "TRUNCATE" and any(token.is_word and token.text == "CASCADE" for token in tokens[place:]):
        return ANY
    if names is None or verb in ("INSERT", "REPLACE", "TRUNCATE", "MERGE"):
        return names
    return ANY if _joins(tokens, place) else names


def _names(tokens: Sequence[Token], place: int) -> frozenset[str] | None:
    """The names in a list such as ``a, public."b" alias``; ``ANY`` where no name stands."""
    names: set[str] = set()
    while place < len(tokens) and _is_target(tokens[place]):
        while place + 2 < len(tokens) and tokens[place + 1].text == "." and tokens[place + 2].is_name:
            place += 2
        names.add(tokens[place].text.lower())
        place += 1
        while place < len(tokens) and _is_target(tokens[place]):
            place += 1  # an alias
        if place < len(tokens) and tokens[place].text == "*":  # PostgreSQL's mark for the tables below
            place += 1
        if place >= len(tokens) or tokens[place].text != ",":
            break
        place += 1
    return frozenset(names) or ANY


def _is_target(token: Token) -> bool:
    return token.is_name and not (token.is_word and token.text in AFTER_TARGET)


def _joins(tokens: Sequence[Token], place: int) -> bool:
    """MySQL's ``UPDATE a JOIN b SET`` and ``DELETE a FROM a JOIN b``: which of them changes is not told by position."""
    for token in tokens[place:]:
        if token.is_word and token.text in ("SET", "WHERE"):
            return False
        if token.is_word and token.text in ("JOIN", "STRAIGHT_JOIN"):
            return True
    return False
