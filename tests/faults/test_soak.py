"""A million random operations on a server with 1 MB for its data and ``allkeys-lru``: not one stale value.

The caches of three processes read, compute, store, write, fence, crash and forget as the seed decides; ``soak.py`` says
how, ``oracle.py`` what may be served. The suite runs a part of it; ``make soak`` the whole, in two processes with a
server each, at some 15,000 operations a second. Taken away, each of these guards turned it red within 20,000: the
comparison of digests (in ``look``, in ``get``, in ``get_many``), storing under the token that was read before
computing, random versions (a constant), the bump of ``e:<tag>``, a release that leaves other writers' fences up, a bump
that leaves fences up, and new versions when a fence is lowered.
"""

import faulthandler
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.soak import soaked
from tests.servers import PrivateServer

ROOT = Path(__file__).resolve().parents[2]
MILLION = 1_000_000
SEEDS = (2026, 2027)


def test_twenty_thousand_random_operations_serve_nothing_stale(server: PrivateServer) -> None:
    met = soaked(server.url, seed=20261123, operations=20_000)
    assert met["evicted"] > 50  # the slower the machine, the more has expired before
    assert met["served"] > 1_000
    assert met["crash"] > 3


@pytest.mark.soak
def test_a_million_random_operations_serve_nothing_stale(redis_url: str) -> None:
    faulthandler.cancel_dump_traceback_later()  # pytest's watch for what hangs; the deadline below is longer
    share = str(MILLION // len(SEEDS))
    soaks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.soak", str(seed), share],
            cwd=ROOT, env={**os.environ, "REDIS_URL": redis_url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for seed in SEEDS
    ]  # fmt: skip
    try:
        for soak in soaks:
            printed, complaints = soak.communicate(timeout=900)
            assert soak.returncode == 0, complaints.decode()
            met: dict[str, Any] = json.loads(printed)
            print(met)  # noqa: T201 – operations per second, and how much of each, for whoever runs it with -s
            assert met["evicted"] > 10_000
            assert met["served"] > 30_000
    finally:
        for soak in soaks:
            soak.kill()
            soak.communicate()
