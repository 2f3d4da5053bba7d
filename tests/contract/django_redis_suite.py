"""django-redis's own test suite, run with either backend on servers of its own.

Each of its settings files (clients, serializers, compressors, Sentinel, shards, a Unix socket) needs a process. What is
changed in a copy of its tests: addresses, the backend, which settings file a process runs, and that its second is a
minute, which passes for the keys without a wait: between two of its lines a busy machine may stand still for seconds.
"""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.contract.sources import source_of
from tests.servers import PrivateServer, Sentinel

ROOT = Path(__file__).resolve().parents[2]
THEIRS = "django_redis.cache.RedisCache"
OURS = "bergizi_redis.cache.backend.TaggedRedisCache"
SETTINGS = (
    "sqlite", "sqlite_gzip", "sqlite_herd", "sqlite_json", "sqlite_lz4", "sqlite_msgpack", "sqlite_sentinel",
    "sqlite_sentinel_opts", "sqlite_sharding", "sqlite_usock", "sqlite_zlib", "sqlite_zstd",
)  # fmt: skip

# What gzip packs holds the second of packing: a member of a set would be another one a second later.
TIMELESS = "\n\nimport functools, gzip\ngzip.compress = functools.partial(gzip.compress, mtime=0)\n"

PATIENT = '\n\nBERGIZI_REDIS = {"REQUEST_BUDGET": 60.0}\n'
LATER = """

import redis

def later(minutes):
    for number in range(16):
        with redis.Redis(port=PORT, db=number) as server:
            for key in server.scan_iter(count=1000):
                if (left := server.pttl(key)) >= 0:
                    server.pexpire(key, left - minutes * 60_000)
"""
MINUTES = {
    r"time\.sleep\(": "later(",
    r"\btimeout=([1-9]\d*)\b": r"timeout=60 * \1",
    r'("test_key", 222|"foo", "bar"|"foo"|touch\("test_key"), (\d+)\)': r"\1, 60 * \2)",  # lives without a name
    r"approx\(ttl\) == 12\b": "approx(ttl, abs=1) == 602",  # HerdClient stores 2 s longer
    r"approx\(ttl\) == (\d+)": r"approx(ttl, abs=60) == 60 * \1",
}


class Watching(Sentinel):
    """A Sentinel that knows the server by the two names of the suite's settings."""

    def __init__(self, primary_port: int, directory: str) -> None:
        super().__init__(primary_port, directory)
        kitchen = self.file.read_text()
        watched = (line.replace("kitchen", name) for name in ("127.0.0.1", "default_service")
                   for line in kitchen.splitlines() if "kitchen" in line)  # fmt: skip
        self.file.write_text("\n".join([*(line for line in kitchen.splitlines() if "kitchen" not in line), *watched]))


@dataclass(frozen=True, slots=True)
class Suite:
    """A copy of the suite for one backend, on one server."""

    tests: Path
    report: Path

    def outcomes(self, settings: str) -> dict[str, str]:
        """``{"test_backend.TestDjangoRedisCache.test_setnx[sqlite]": "passed" | "failed" | "skipped"}``"""
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "pytest", "-q", "--tb=short", "-p", "no:randomly", "-p", "no:django",
             "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(self.tests.parent), "-o", "xfail_strict=true",
             f"--junitxml={self.report}", str(self.tests)],
            cwd=self.tests.parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.tests.parent), str(self.tests), str(ROOT)]),
                 "SUITE_SETTINGS": settings, "DJANGO_SETTINGS_MODULE": f"settings.{settings}", "PYTHONDEVMODE": ""},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert result.returncode in (0, 1), result.stdout + result.stderr
        found = {}
        for case in ET.parse(self.report).iter("testcase"):  # noqa: S314 – written by pytest a moment ago
            name = f"{case.get('classname')}.{case.get('name')}".removeprefix("tests.")
            told = {child.tag for child in case}
            found[name] = "failed" if told & {"failure", "error"} else "skipped" if "skipped" in told else "passed"
        assert found, result.stdout
        return found


def suite_for(backend: str, server: PrivateServer, sentinel: Sentinel, place: Path) -> Suite:
    """Copy the suite to ``place`` and turn it to the backend and the servers."""
    tests = place / "tests"
    shutil.copytree(source_of("django-redis", version("django-redis")) / "tests", tests)
    turned = {
        THEIRS: backend,
        "127.0.0.1:6379": f"127.0.0.1:{server.port}",
        "/tmp/redis.sock": f"{server.directory}/redis.sock",  # noqa: S108 – theirs, to be replaced
        '("127.0.0.1", 26379)': f'("127.0.0.1", {sentinel.port})',
    }
    for file in (tests / "settings").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        for old, new in turned.items():
            text = text.replace(old, new)
        file.write_text(text + PATIENT, encoding="utf-8")
    backend_tests = tests / "test_backend.py"
    text = backend_tests.read_text(encoding="utf-8")
    for seconds, minutes in MINUTES.items():
        text, replaced = re.subn(seconds, minutes, text)
        assert replaced, seconds
    backend_tests.write_text(text + LATER.replace("PORT", str(server.port)), encoding="utf-8")
    conftest = tests / "conftest.py"
    text = conftest.read_text(encoding="utf-8")
    ask = 'metafunc.parametrize("cache_settings", settings)'
    assert ask in text
    text = text.replace(ask, f"{ask[:-9]}[environ['SUITE_SETTINGS']])")
    conftest.write_text(text + TIMELESS, encoding="utf-8")
    return Suite(tests, place / "report.xml")


@contextmanager
def servers(directory: str) -> Iterator[tuple[PrivateServer, Sentinel]]:
    with ExitStack() as stack:
        server = PrivateServer("--unixsocket", f"{directory}/redis.sock", directory=directory)
        stack.callback(server.start().kill)
        sentinel = Watching(server.port, directory)
        stack.callback(sentinel.start().kill)
        yield server, sentinel
