"""The documentation says what the code does: tables, names, links, and snippets that run.

``BERGIZI_DOCS=write`` writes the tables of the reference anew from the code, instead of comparing them.
"""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, load_command_class
from django.dispatch import Signal

from bergizi_redis import breachkeys, checklist, exceptions, keys, lockoutkeys, signals
from bergizi_redis.conf import config
from tests.test_architecture import LAYERS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SNIPPETS_RUN = ("README.md", "docs/how-to/raw-clients.md", "docs/how-to/warming.md", "docs/how-to/tenants.md")
OPTIONS_OF_DJANGO = {
    "--force-color", "--help", "--no-color", "--pythonpath", "--settings", "--skip-checks", "--traceback",
    "--verbosity", "--version",
}  # fmt: skip

Row = tuple[str, ...]
TABLE = r"(?m)^\|.*\n\|[ :|-]+\n((?:\|.*\n?)+)"


def page(name: str) -> str:
    return (ROOT / name).read_text()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tables(text: str) -> list[list[Row]]:
    """The rows of each Markdown table, without its heading."""
    found = re.findall(TABLE, text)
    return [[cells(line) for line in rows.splitlines()] for rows in found]


def cells(line: str) -> Row:
    return tuple(cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1]))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


# Tables


def expect_table(name: str, place: int, rows: Sequence[Row]) -> None:
    """The page's table at ``place`` has these rows."""
    if os.environ.get("BERGIZI_DOCS") == "write":
        text = page(name)
        found = [*re.finditer(TABLE, text)][place]
        lines = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)
        (ROOT / name).write_text(text[: found.start(1)] + "".join(lines) + text[found.end(1) :])
    assert tables(page(name))[place] == list(rows), "BERGIZI_DOCS=write writes it anew"


def test_the_settings_table_is_that_of_the_code() -> None:
    rows = [(f"`{item.name}`", f"`{item.default!r}`", item.why) for item in config]
    expect_table("docs/reference/settings.md", 0, rows)


@pytest.mark.parametrize("deploy", [False, True])
def test_the_checks_tables_are_those_of_the_code(deploy: bool) -> None:
    rules = [rule for rule in checklist.RULES if rule.deploy is deploy]
    rows = [(f"`{rule.id}`", rule.level, rule.what, rule.remedy) for rule in rules]
    expect_table("docs/reference/checks.md", int(deploy), rows)


@pytest.mark.parametrize(("place", "module"), [(0, keys), (1, breachkeys), (2, lockoutkeys)], ids=str)
def test_the_keys_tables_are_those_of_the_code(place: int, module: Any) -> None:
    expect_table("docs/reference/keys.md", place, tables(module.__doc__.replace("``", "`"))[0])


def commands() -> list[str]:
    return sorted(path.stem for path in (ROOT / "bergizi_redis/management/commands").glob("[a-z]*.py"))


def arguments_of(command: str) -> tuple[str, ...]:
    """Its own arguments as the table has them: positional ones by the name that its help shows, then options."""
    parser = load_command_class("bergizi_redis", command).create_parser("manage.py", command)
    positional, options = [], []
    for action in parser._actions:
        if not action.option_strings:
            positional.append(str(action.metavar or action.dest))
        else:
            options += [name for name in action.option_strings if name.startswith("--")]
    return tuple(f"`{name}`" for name in (*positional, *sorted(set(options) - OPTIONS_OF_DJANGO)))


def test_the_commands_table_has_each_command_with_its_arguments() -> None:
    rows = tables(page("docs/reference/commands.md"))[0]
    assert [(row[0], tuple(row[1].split())) for row in rows] == [
        (f"`{command}`", arguments_of(command)) for command in commands()
    ]


def test_each_option_is_explained() -> None:
    text = page("docs/reference/commands.md")
    _, *sections = re.split(r"(?m)^## ", text)
    assert sorted(section.splitlines()[0] for section in sections) == commands()
    for section in sections:
        for argument in arguments_of(section.splitlines()[0]):
            if argument.startswith("`--"):
                assert f"`{argument.strip('`')}" in section, argument


def test_the_exceptions_table_has_each_exception_and_its_base() -> None:
    rows = next(found for found in tables(page("docs/reference/api.md")) if found[0][0] == "`BergiziRedisError`")
    expected = [
        (f"`{name}`", f"`{kind.__bases__[-1].__name__}`")
        for name, kind in vars(exceptions).items()
        if isinstance(kind, type) and kind.__module__ == exceptions.__name__
    ]
    plain = "`BergiziRedisError`"
    assert [row[:2] for row in rows] == [
        (name, "`Exception`" if base == plain else base) for name, base in expected
    ]  # fmt: skip


def test_the_layers_are_those_that_a_test_keeps() -> None:
    drawn = [re.split(r" {2,}", line) for line in blocks(page("docs/architecture.md"), "text")[0].splitlines()]
    assert [layer for layer, *_ in drawn] == list(LAYERS)
    for layer, parts, *_ in drawn:
        assert {part.split()[0] for part in parts.split(" · ")} <= set(LAYERS[layer])


def test_the_signals_table_has_each_signal() -> None:
    rows = next(found for found in tables(page("docs/reference/api.md")) if found[0][0] == "`tags_invalidated`")
    there = [name for name, value in vars(signals).items() if isinstance(value, Signal)]
    assert [row[0] for row in rows] == [f"`{name}`" for name in there]


# Names


def given_settings() -> Iterator[tuple[str, object]]:
    """Name and value of each setting that a snippet gives as a literal."""
    for path in PAGES:
        for block in blocks(path.read_text(), "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "BERGIZI_REDIS":
                    yield from ast.literal_eval(node.value).items()


def test_every_setting_in_a_snippet_is_one_and_has_a_good_value() -> None:
    known = {item.name: item for item in config}
    for name, value in given_settings():
        assert known[name].problem(value) is None


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_setting_that_the_text_names_is_one(path: Path) -> None:
    named = set(re.findall(r"BERGIZI_REDIS\[[\"'](\w+)[\"']\]", path.read_text()))
    assert named <= {item.name for item in config}


def documented_names() -> Iterator[tuple[str, str, str | None]]:
    """(module, name, its arguments or None) of each entry of the API page."""
    for section in re.split(r"(?m)^## ", page("docs/reference/api.md"))[1:]:
        module = section.splitlines()[0].strip("`")
        for bullet in re.findall(r"(?ms)^\* (.*?)(?=^\* |^\S|\Z)", section):
            for name, arguments in re.findall(r"`([\w.]+)\(([^)]*)\)`", bullet.partition(" – ")[0]):
                yield module, name, arguments


@pytest.mark.parametrize(("module", "name", "arguments"), list(documented_names()))
def test_a_documented_name_exists_and_takes_these_arguments(module: str, name: str, arguments: str) -> None:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    given = [argument for argument in re.split(r",\s*", arguments) if argument]
    assert given == [argument for argument in inspect.signature(found).parameters if argument != "self"]


def test_what_asks_redis_has_an_async_twin() -> None:
    asking = ("cache.backend", "cache.domains", "sessions.service", "security.audit", "security.lockout")
    both = ("lookup", "guard_login", "stats", "tagged_cache", "Domain")
    for module, name, _ in documented_names():
        owner, _, function = name.rpartition(".")
        if module.removeprefix("bergizi_redis.") in asking and (function not in both or module.endswith("service")):
            source: Any = importlib.import_module(module)
            assert inspect.iscoroutinefunction(getattr(getattr(source, owner) if owner else source, f"a{function}"))


# What the contract with users names, by module of the package.
PUBLIC = {
    "cache.backend": "TaggedRedisCache",
    "cache.decorators": "cached",
    "cache.domains": "Domain LONG SHORT distribution hrd inventory menu procurement production",
    "cache.invalidation": "Touched invalidates",
    "cache.warming": "warmer",
    "cache.writes": "WriteBehind WriteThrough",
    "conf": "redis_url_from_env",
    "health": "check_redis_health",
    "security.audit": "anchor events record replay verify",
    "security.backends": "LockoutModelBackend",
    "security.lockout": "guard_login is_account_locked locked_accounts record_login_attempt unlock_account",
    "security.hashers": "PepperedBCryptPasswordHasher",
    "security.limiting.middleware": "RateLimitMiddleware",
    "security.middleware": "LockoutMiddleware",
    "security.passwords": "PasswordPolicy PasswordReport avalidate_password validate_password",
    "security.ratelimit": "get_usage is_ratelimited ratelimit",
    "security.validators": "BlocklistValidator BreachValidator LengthValidator PolicyValidator",
    "sessions.middleware": "SessionMiddleware",
    "sessions.service": (
        "create_session revoke revoke_tenant revoke_user sessions_for_tenant sessions_for_user stats validate_session"
    ),
    "tenancy": "TenantMiddleware TenantRequired current_tenant use_tenant",
    "testing": (
        "IsolatedRedis assert_invalidates assert_keeps_warm count_round_trips isolated_redis isolated_tenant pause_at "
        "redis_is_down"
    ),
}


@pytest.mark.parametrize(("module", "names"), PUBLIC.items())
def test_public_names_are_importable_and_documented(module: str, names: str) -> None:
    source = importlib.import_module(f"bergizi_redis.{module}")
    for name in names.split():
        assert hasattr(source, name)
        assert re.search(rf"`{name}\b", page("docs/reference/api.md")), f"{name} is not in the API reference"


# Links and words


def targets(text: str) -> list[str]:
    prose = re.sub(r"(?ms)^```.*?^```$", "", text)
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|srcset)="([^"]+)"', prose)


def anchors(text: str) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for target in targets(path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text()), target


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {
        (path.parent / f"{entry}.md").resolve()
        for path in DOCS.rglob("*.md")
        for tree in re.findall(r"(?ms)^```\{toctree\}\n(.*?)^```$", path.read_text())
        for entry in re.findall(r"(?m)^([\w/-]+)$", tree)
    }
    assert listed == set(DOCS.rglob("*.md")) - {DOCS / "index.md"}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_nothing_that_rots_or_shouts(path: Path) -> None:
    text = path.read_text()
    if path.name != "CHANGELOG.md":
        assert not re.search(r"\b20[2-9]\d-\d\d-\d\d\b", text), "a date"
    assert not re.search(r"[\U0001F300-\U0001FAFF\u2705\u274c]", text), "an emoji"


def test_pictures_are_small() -> None:
    assert {path.name for path in (DOCS / "images").iterdir() if path.stat().st_size > 200_000} == set()


def test_the_make_targets_of_the_readme_exist() -> None:
    declared = re.search(r"(?m)^\.PHONY: (.+)$", page("Makefile"))
    assert declared
    named = set(re.findall(r"(?m)^make (\w+)", page("README.md")))
    assert {"demo", "test"} <= named <= set(declared[1].split())


def test_the_readme_opens_with_the_two_commands() -> None:
    assert re.match(r"# bergizi_redis\n\n```console\nmake demo .*\nmake test .*\n```\n", page("README.md"))


def test_the_versions_of_the_readme_are_those_that_are_tested() -> None:
    envs = re.findall(r"py3(\d+)-dj(\d)(\d)", page("tox.ini").partition("env_list")[2].partition("\n")[0])
    text = page("README.md").partition("## Versions")[2].partition("##")[0]
    pythons, djangos = zip(*((int(minor), f"{major}.{point}") for minor, major, point in envs), strict=True)
    assert f"Python 3.{min(pythons)} to 3.{max(pythons)}" in text
    assert [version for version in djangos if version not in text] == []


# Snippets


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_python_snippet_is_python(path: Path) -> None:
    for block in blocks(path.read_text(), "python"):
        compile(block, str(path), "exec")


def run(place: Path, *arguments: str, stdin: str = "") -> str:
    """Run Python in a project; its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "config.settings"}
    ended = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=place, env=environment, input=stdin, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ended.returncode == 0, f"{arguments}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def begin_project(place: Path) -> Path:
    call_command("startproject", "config", str(place), verbosity=0)
    return place


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(f"\n\n{text}")


def test_the_settings_of_the_readme_work_as_pasted(tmp_path: Path) -> None:
    begin_project(tmp_path)
    append(tmp_path / "config/settings.py", blocks(page("README.md"), "python")[0])
    silent = run(tmp_path, "manage.py", "check", "--fail-level", "DEBUG")
    assert silent == "System check identified no issues (0 silenced).\n"


LINES = {
    "sessions": "SESSION_ENGINE = .*",
    "lockout": "AUTHENTICATION_BACKENDS = .*",
    "tenant": r'    "bergizi_redis\.tenancy\.TenantMiddleware",',
    "refusal": r'    "bergizi_redis\.security\.middleware\.LockoutMiddleware",.*',
    "settings": "BERGIZI_REDIS = .*",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_each_line_of_the_settings_may_be_taken_out(tmp_path: Path, line: str) -> None:
    begin_project(tmp_path)
    without, times = re.subn(f"(?m)^{line}$", "", blocks(page("README.md"), "python")[0])
    assert times == 1
    append(tmp_path / "config/settings.py", without)
    run(tmp_path, "manage.py", "check", "--fail-level", "ERROR")


OVERRIDES = """
for _alias in CACHES.values():
    _alias.update(LOCATION={url!r}, KEY_PREFIX={prefix!r})
BERGIZI_REDIS.update(KEY_PREFIX={prefix!r}, REQUEST_BUDGET=20.0, COMMAND_TIMEOUT=20.0)
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""

# Reads [[name, source], …] of doctests and of modules, each list in one namespace.
DRIVER = """
import doctest, json, sys, django
django.setup()
work = json.load(sys.stdin)
failed = 0
namespace = {}
for name, source in work["doctests"]:
    test = doctest.DocTestParser().get_doctest(source, namespace, name, name, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed += runner.run(test, clear_globs=False).failed
    namespace = test.globs
for name, sources in work["modules"]:
    namespace = {"__name__": "snippets"}
    for source in sources:
        exec(compile(source, name, "exec"), namespace)
sys.exit(bool(failed))
"""


@pytest.fixture
def tutorial(tmp_path: Path, redis_url: str, prefix: str) -> Path:
    """The project that the tutorial builds, on the server of the suite and with this test's prefix."""
    begin_project(tmp_path)
    (tmp_path / "menus").mkdir()
    call_command("startapp", "menus", str(tmp_path / "menus"), verbosity=0)
    for block in blocks(page("docs/tutorial.md"), "python"):
        name = re.match(r"# (\S+\.py)\n", block)
        assert name, f"The tutorial's snippets begin with the name of their file: {block[:60]!r}"
        path = tmp_path / name[1]
        if path.name != "settings.py":
            path.write_text("")
        append(path, block)
    assert run(tmp_path, "manage.py", "check", "--fail-level", "DEBUG").startswith("System check identified no issues")
    append(tmp_path / "config/settings.py", OVERRIDES.format(url=redis_url, prefix=prefix))
    return tmp_path


@pytest.mark.slow
def test_the_tutorial_and_the_snippets_of_readme_and_guides_run(tutorial: Path) -> None:
    interactive = ("shell", "redis_server")
    for block in blocks(page("docs/tutorial.md"), "console"):
        for command in re.findall(r"(?m)^python manage\.py (.+)$", block):
            if not command.startswith((*interactive, "startapp")):
                run(tutorial, "manage.py", *command.split())
    doctests = [["tutorial.md", "\n".join(blocks(page("docs/tutorial.md"), "pycon"))]]
    modules = [[name, runnable(name)] for name in SNIPPETS_RUN]
    run(tutorial, "-c", DRIVER, stdin=json.dumps({"doctests": doctests, "modules": modules}))


def runnable(name: str) -> list[str]:
    """The snippets of a page, but for its settings."""
    return [block for block in blocks(page(name), "python") if not re.search(r"(?m)^[A-Z_]+ (\+?=)", block)]
