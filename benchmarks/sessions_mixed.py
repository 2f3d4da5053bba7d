"""10,000 sessions read, written, begun and revoked by 16 threads of two processes at once; then everything is counted.

How many operations a second, and whether a write was lost, a list or a count is wrong. Exits 1 where one is, however
short the run.
"""

import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from _bench import PREFIX, URL, Size, size_asked, versions
from _measure import bar, lines

sys.path.append(str(Path(__file__).resolve().parents[1]))  # the visitors of the tests

PROCESSES, THREADS = 2, 8  # of each


def measured(size: Size) -> bool:
    from tests.sessionload import problems
    from tests.sessionvisitors import Process, configure, visited

    configure(URL, PREFIX)
    workers = PROCESSES * THREADS
    sessions = size.of(10_000, 2_000, 64) // workers
    with ExitStack() as stack:
        processes = [
            stack.enter_context(Process(URL, PREFIX, THREADS * number, THREADS)) for number in range(PROCESSES)
        ]
        done, seconds = visited(processes, sessions, size.of(2_500, 600, 10))
    counts = sum((Counter(one.counts) for one in done), Counter[str]())
    counts["log-ins"] -= workers * sessions  # those of before
    counts["all"] = counts.total()
    rows = {kind: [count, count / seconds] for kind, count in sorted(counts.items(), key=lambda item: item[1])}
    title = f"{workers * sessions:,} sessions under {workers} threads"
    lines(title, f"in {seconds:.0f} s", ["operations", "a second"], rows)
    found = problems(done)
    for problem in found[:20]:
        print(f"         {problem}")
    return bar("lost writes, wrong lists and wrong counts", len(found), at_most=0, unit="found")


def main() -> int:
    from _bench import remove

    size = size_asked(__doc__)
    print(f"{Path(sys.argv[0]).stem} ({size.name}): {versions()}", flush=True)
    try:
        return 0 if measured(size) else 1
    finally:
        remove()


if __name__ == "__main__":
    sys.exit(main())
