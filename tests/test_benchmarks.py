"""The benchmarks still run: each with next to nothing to measure, on the tests' server, beside what is installed."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import redis

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in BENCHMARKS.glob("[a-z]*.py"))


def run(*arguments: str, redis_url: str, prefix: str = "bench-tests") -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "BENCH_PREFIX": prefix,
        "BENCH_PATIENCE": "yes",
        "PYTHONPATH": str(BENCHMARKS.parent),
        "PYTHONWARNINGS": "default",
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_prints_a_table_and_leaves_no_key_behind(name: str, redis_url: str, raw: redis.Redis) -> None:
    prefix = f"bench-{uuid.uuid4().hex}"
    ended = run(str(BENCHMARKS / f"{name}.py"), "--smoke", redis_url=redis_url, prefix=prefix)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^  \S.*\d$", ended.stdout, re.MULTILINE), ended.stdout
    assert not list(raw.scan_iter(match=f"*{prefix}*", count=1000))


def test_the_runner_sums_up_the_bars_and_draws_a_picture(tmp_path: Path, redis_url: str) -> None:
    picture = tmp_path / "picture.svg"
    ended = run(str(BENCHMARKS), "cache", "--smoke", "--picture", str(picture), redis_url=redis_url)
    assert re.search(r"^4 bars, \d+ s$", ended.stdout, re.MULTILINE), ended.stdout + ended.stderr
    assert re.search(r"^  (ok    |MISSED) near hit, of LocMemCache's get: ", ended.stdout, re.MULTILINE)
    assert "A cache hit" in picture.read_text(encoding="utf-8")


def test_an_unknown_benchmark_is_refused_with_the_names_that_there_are(redis_url: str) -> None:
    ended = run(str(BENCHMARKS), "cahce", redis_url=redis_url)
    assert ended.returncode == 2
    assert f"there are {', '.join(NAMES)}" in ended.stderr


def test_the_documentation_lists_every_benchmark() -> None:
    page = (BENCHMARKS.parent / "docs" / "reference" / "benchmarks.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == NAMES
