"""The layers: imports only go down, inside functions included. No step of a request goes back up.

Read from the source text, so a forbidden import is found even where no test walks through it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "bergizi_redis"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE

# From the top. A module's layer is that of its longest listed prefix; one that is not listed fails the test.
LAYERS: dict[str, tuple[str, ...]] = {
    "doors": ("apps", "contrib", "admin", "testing", "management", "templatetags", "urls", "asgi"),
    "windows": (
        "checks",
        "checklist",
        "passwordchecks",
        "auditchecks",
        "limitchecks",
        "wiring",
        "dashboard",
        "rehearsal",
        "admin_pages",
        "admin_scope",
        "audit_admin",
        "lockout_admin",
    ),
    "rooms": ("cache", "sessions", "security", "realtime"),
    "meters": ("health", "vitals", "metrics"),
    "scopes": (
        "keys",
        "keyparts",
        "breachkeys",
        "lockoutkeys",
        "auditkeys",
        "tenancy",
        "addresses",
        "embedded",
        "embedded_files",
        "embedded_server",
        "embedded_supervisor",
    ),
    "ground": (
        "connections",
        "aclients",
        "aconnections",
        "aclusters",
        "aconnecting",
        "packing",
        "pools",
        "retries",
        "outages",
        "passwordconf",
        "budget",
        "circuit",
        "clients",
        "diagnosis",
        "environment",
        "exchange",
        "greetings",
        "topology",
        "urlquery",
        "scripts",
        "conf",
        "sessionconf",
        "auditconf",
        "limitconf",
        "lockoutconf",
        "setting",
    ),
    "leaves": ("exceptions", "signals", "models", "migrations", "points"),
}
HEIGHT = {name: -depth for depth, name in enumerate(LAYERS)}
LAYER_OF = {part: layer for layer, parts in LAYERS.items() for part in parts}
# Layers whose parts do not know one another; within the others siblings may, as long as there is no cycle.
STRANGERS = {"doors", "rooms"}
FORBIDDEN_NAMES = {"base", "common", "handler", "handlers", "helper", "helpers", "manager", "managers", "misc", "util",
                   "utils"}  # fmt: skip
FILE_LINES = 250
FUNCTION_LINES = 40

MODULES = {
    ".".join((PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def part_of(module: str) -> str:
    """The listed part a module belongs to: ``bergizi_redis.cache.backend`` → ``cache``; "" for the package itself."""
    return module.removeprefix(PACKAGE).strip(".").partition(".")[0]


def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(), filename=str(MODULES[module]))


def imports_of(module: str, *, for_types: bool = True) -> Iterator[tuple[int, str]]:
    """Line and name of each module of this package that the module imports, wherever the import stands."""
    nodes = ast.walk(tree_of(module)) if for_types else walk_at_run_time(tree_of(module))
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            source = absolute(module, node)
            if source.split(".")[0] == PACKAGE:
                for alias in node.names:
                    submodule = f"{source}.{alias.name}"
                    yield node.lineno, submodule if submodule in MODULES else source


def walk_at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node outside ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield node
            yield from walk_at_run_time(node)


def absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    is_package = MODULES[module].name == "__init__.py"
    package = module.split(".")[: len(module.split(".")) - node.level + is_package]
    return ".".join((*package, *filter(None, [node.module])))


def refusal(importer: str, imported: str) -> str | None:
    """Why the import is not allowed, or None."""
    here, there = part_of(importer), part_of(imported)
    if here == there or not there:
        return None
    if not here:
        return "the package itself imports nothing"
    upper, lower = LAYER_OF[here], LAYER_OF[there]
    if HEIGHT[lower] > HEIGHT[upper]:
        return f"{there} ({lower}) stands above {here} ({upper}); imports only go down"
    if lower == "doors":
        return f"{there} is a door: nobody imports doors"
    if lower == upper and lower in STRANGERS:
        return f"{here} and {there} are both {lower}: they talk through signals, wired in apps"
    return None


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_place(module: str) -> None:
    assert not part_of(module) or part_of(module) in LAYER_OF, (
        f"{module} is in no layer; add it to LAYERS in {Path(__file__).name}, where its imports say it belongs"
    )


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_go_down(module: str) -> None:
    refused = [
        f"{MODULES[module]}:{line} imports {imported}: {why}"
        for line, imported in imports_of(module)
        if {part_of(module), part_of(imported)} <= LAYER_OF.keys() | {""} and (why := refusal(module, imported))
    ]
    assert not refused, "\n".join(refused)


def test_no_module_imports_itself_in_a_circle() -> None:
    # Two modules of a room may name each other's types; what runs must have an order.
    graph = {module: {name for _, name in imports_of(module, for_types=False)} - {module} for module in MODULES}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "a circle of imports: " + " → ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                walk(imported, (*path, module))
            done.add(module)

    for module in graph:
        walk(module, ())


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_packages_import_nothing(module: str) -> None:
    lines = [node.lineno for node in ast.walk(tree_of(module)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not lines, f"{MODULES[module]}:{lines[0]} imports; importing a package must change nothing"


@pytest.mark.parametrize("module", MODULES)
def test_a_name_says_what_the_module_is_about(module: str) -> None:
    vague = FORBIDDEN_NAMES & set(module.split("."))
    assert not vague, f"{MODULES[module]}: {vague.pop()!r} says nothing; name the noun that it is about"


@pytest.mark.parametrize("module", MODULES)
def test_files_can_be_read_in_one_go(module: str) -> None:
    lines = len(MODULES[module].read_text().splitlines())
    assert lines <= FILE_LINES, f"{MODULES[module]} has {lines} lines, more than {FILE_LINES}: split it by ideas"


@pytest.mark.parametrize("module", MODULES)
def test_functions_fit_on_a_screen(module: str) -> None:
    long = [
        f"{MODULES[module]}:{node.lineno} {node.name} has {length} lines, more than {FUNCTION_LINES}"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize(
    ("importer", "imported", "reason"),
    [
        ("cache.backend", "sessions.store", "both rooms"),
        ("sessions.store", "apps", "stands above"),
        ("apps", "urls", "a door"),
        ("keys", "cache.tags", "stands above"),
        ("exceptions", "conf", "stands above"),
        ("cache.backend", "connections", None),
        ("cache.backend", "cache.tags", None),
        ("connections", "scripts.script", None),
        ("dashboard.views", "cache.stats", None),
    ],
)
def test_the_rule_itself(importer: str, imported: str, reason: str | None) -> None:
    why = refusal(f"{PACKAGE}.{importer}", f"{PACKAGE}.{imported}")
    assert reason in why if why and reason else why is reason
