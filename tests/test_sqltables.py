"""Which tables a statement writes is told from its text, or nobody knows: any table. Never one too few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis.cache.sqltables import ANY, statement_of

NOTHING: list[str] = []
STATEMENTS: list[tuple[str, list[str] | None]] = [
    ("SELECT 1", NOTHING),
    ("(SELECT 1) UNION (SELECT 2)", NOTHING),
    ("SELECT * FROM a FOR UPDATE", NOTHING),
    ("SELECT 'INSERT INTO a' FROM b", NOTHING),
    ("SELECT * INTO n FROM b", ["n"]),
    ("SELECT 1; DELETE FROM a", ["a"]),
    ("", NOTHING),
    (" ; ; ", NOTHING),
    ("-- nothing\n/* at all */", NOTHING),
    ("BEGIN", NOTHING),
    ('SAVEPOINT "s1"', NOTHING),
    ('ROLLBACK TO SAVEPOINT "s1"', NOTHING),
    ("SET CONSTRAINTS ALL IMMEDIATE", NOTHING),
    ("PRAGMA foreign_keys", NOTHING),
    ('INSERT INTO "a" ("b") VALUES (%s)', ["a"]),
    ("insert into a select * from b", ["a"]),
    ('INSERT OR IGNORE INTO "a" ("b") VALUES (%s)', ["a"]),
    ("INSERT IGNORE INTO `a` VALUES (%s)", ["a"]),
    ("REPLACE INTO a VALUES (1)", ["a"]),
    ('INSERT INTO "a" ("b") VALUES (%s) ON CONFLICT("b") DO UPDATE SET "c" = EXCLUDED."c"', ["a"]),
    ('UPDATE "a" SET "x" = (SELECT 1 FROM "c") WHERE 1', ["a"]),
    ('UPDATE "public"."a" AS u SET x = 1', ["a"]),
    ("UPDATE ONLY a * SET x = 1", ["a"]),
    ("UPDATE [dbo].[a] SET x = 1", ["a"]),
    ("UPDATE a SET x = array[1, 2]", ["a"]),
    ("UPDATE a, b SET a.x = 1", ["a", "b"]),
    ("UPDATE a SET x = 'DELETE FROM b; DROP' -- ; c\n WHERE y = 1", ["a"]),
    ("UPDATE a SET x = $tag$ '; DELETE FROM b $tag$", ["a"]),
    ("DELETE FROM a WHERE x IN (SELECT id FROM b)", ["a"]),
    ("DELETE FROM a USING b WHERE a.x = b.x", ["a"]),
    ("/* first */ UPDATE a SET x = 1; DELETE FROM only b;", ["a", "b"]),
    ("TRUNCATE TABLE a, b RESTART IDENTITY", ["a", "b"]),
    ("MERGE INTO a USING b ON 1 = 1 WHEN MATCHED THEN UPDATE SET x = 1", ["a"]),
    ("WITH c AS (UPDATE a SET x = 1 RETURNING *) DELETE FROM b USING c", ["a", "b"]),
    ("WITH c AS (SELECT 1) SELECT * FROM c", NOTHING),
    ("WITH c AS (SELECT 1) INSERT INTO a SELECT * FROM c ON CONFLICT DO UPDATE SET x = 1", ["a"]),
    ("EXPLAIN SELECT 1", NOTHING),
    ("EXPLAIN ANALYZE DELETE FROM a", ["a"]),
    ("CREATE TABLE a (b int)", NOTHING),
    ("CREATE UNIQUE INDEX i ON a (b)", NOTHING),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", ANY),
    ("CREATE VIEW v AS SELECT 1", ANY),
    ("ALTER TABLE a ADD b int", ANY),
    ("DROP TABLE a", ANY),
    ("CALL p()", ANY),
    ("DO $$ BEGIN DELETE FROM a; END $$", ANY),
    ("COPY a FROM STDIN", ANY),
    ("TRUNCATE a CASCADE", ANY),
    ("UPDATE a JOIN b ON 1 = 1 SET a.x = 1", ANY),
    ("DELETE a FROM a JOIN b ON 1 = 1", ANY),
    ("UPDATE a SET x = 'it\\'s'", ANY),
    ("42", ANY),
    ("UPDATE", ANY),
]


@pytest.mark.parametrize(("sql", "tables"), STATEMENTS)
def test_the_tables_that_a_statement_writes(sql: str, tables: list[str] | None) -> None:
    assert statement_of(sql).tables == (ANY if tables is ANY else frozenset(tables))


names = st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True).map(lambda name: f"t_{name}")
quoted = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"), min_size=1, max_size=30)
strings = quoted.map(lambda text: "'" + text.replace("'", "''") + "'")
noise = st.one_of(strings, st.sampled_from(["/* DELETE FROM b */", "-- b\n", "%s", "(SELECT 1 FROM b)"]))


@given(names, st.lists(noise, max_size=4))
def test_no_string_and_no_comment_fools_it(name: str, parts: list[str]) -> None:
    text = " , ".join(f"x = {part} 0" if part[0] in "-/" else f"x = {part}" for part in parts) or "x = 1"
    assert statement_of(f"UPDATE {name} SET {text}").tables == frozenset({name})  # noqa: S608
    conditions = text.replace(" , ", " AND ")
    assert statement_of(f'DELETE FROM "{name}" WHERE {conditions}').tables == frozenset({name})  # noqa: S608


@given(quoted)
def test_a_quoted_name_is_one_name_whatever_stands_in_it(name: str) -> None:
    written = '"' + name.replace('"', '""') + '"'
    found = statement_of(f"UPDATE {written} SET x = 1").tables  # noqa: S608
    assert found in ({name.lower()}, ANY)


@given(st.text(max_size=200))
def test_any_text_has_an_answer(sql: str) -> None:
    statement_of(sql)
