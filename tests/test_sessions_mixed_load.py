"""Sessions under a mixed load of threads in two processes: no lost write, no wrong list, no wrong count.

Red when a save writes all fields and not those that changed, when it brings ended sessions back, when an ended session
stays listed, and when a revocation is counted twice: each was tried.
"""

from contextlib import ExitStack

from tests.sessionload import problems
from tests.sessionvisitors import Process, visited

PROCESSES, THREADS = 2, 3


def test_everything_is_as_it_must_be_after_a_mixed_load(redis_url: str, prefix: str) -> None:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(Process(redis_url, prefix, number * THREADS, THREADS)) for number in range(PROCESSES)
        ]
        done, _ = visited(processes, sessions=50, operations=60)
    assert problems(done) == []
    assert all(sum(one.counts[kind] for one in done) for kind in ("reads", "writes", "log-ins", "revoked"))
