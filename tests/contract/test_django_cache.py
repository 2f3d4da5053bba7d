"""Django's own cache contract, from Django's source distribution, run against this package's backend."""

import faulthandler
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.contract.django_source import django_tests_path
from tests.servers import PrivateServer

ROOT = Path(__file__).resolve().parents[2]


def run_django_suite(module: str, settings_module: str, redis_url: str) -> str:
    """Run a module of tests with Django's runner in a process of its own; return what it printed."""
    faulthandler.cancel_dump_traceback_later()  # pytest's watch for what hangs; the deadline below is longer
    search = os.pathsep.join([str(ROOT), str(django_tests_path())])
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "django", "test", module, "--settings", settings_module, "--no-color"],
        env={**os.environ, "PYTHONPATH": search, "REDIS_URL": redis_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stderr


def test_djangos_cache_contract_holds_blocking_and_awaiting(server: PrivateServer) -> None:
    """All of it each way, less the three about culling, on a server apart: Django expects keys without a prefix."""
    printed = run_django_suite("tests.contract.suite_cache", "tests.contract.cache_settings", server.url)
    ran = re.search(r"Ran (\d+) tests", printed)
    assert ran
    assert int(ran[1]) >= 2 * 51
    assert "skipped" not in printed
