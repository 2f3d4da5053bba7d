"""Runs the benchmarks one after the other, sums up their bars, and draws the picture of the documentation.

    make bench                                        all, twenty minutes at most
    make bench ARGS=--quick                           six minutes at most, with fewer rounds
    make bench ARGS="cache queries"                   some of them
    make bench ARGS="--picture docs/images/benchmarks.svg"

On the embedded server, or on the one that REDIS_URL names. Exits 1 where a bar is missed or a benchmark failed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _bench import URL, versions
from _measure import verdict
from _picture import drawn

HERE = Path(__file__).resolve().parent
NAMES = sorted(path.stem for path in HERE.glob("[a-z]*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", dest="flags", action="append_const", const="--quick", help="fewer rounds")
    parser.add_argument("--smoke", dest="flags", action="append_const", const="--smoke", help="do they run at all?")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the results as SVG")
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory, "results")
        failed = [
            name
            for name in options.names or NAMES
            if run(HERE / f"{name}.py", options.flags or [], results) not in (0, 1)  # 1: a bar was missed
        ]
        found = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    missed = summed_up(found, failed, time.monotonic() - began)
    if options.picture:
        options.picture.write_text(drawn(found, versions()), encoding="utf-8")
        print(f"Drawn: {options.picture}")
    return 1 if missed or failed else 0


def run(file: Path, flags: list[str], results: Path) -> int:
    environment = {**os.environ, "REDIS_URL": URL, "BENCH_RESULTS": str(results)}
    environment.pop("BENCH_PREFIX", None)  # each has its own
    code = subprocess.run([sys.executable, str(file), *flags], env=environment, check=False).returncode
    print(flush=True)
    return code


def summed_up(found: list[dict[str, Any]], failed: list[str], seconds: float) -> int:
    """Print every bar, and return how many were missed."""
    bars = [result for result in found if "bar" in result]
    print(f"{len(bars)} bars, {seconds:.0f} s")
    for result in bars:
        print(f"  {verdict(result['kept'])} {result['bar']}")
    for name in failed:
        print(f"  FAILED {name}: see above")
    return sum(not result["kept"] for result in bars)


if __name__ == "__main__":
    sys.exit(main())
