"""How long a thing took, with generous margins: these tests tell 0.8 s from 2 s, not from 0.9 s."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = 1.2  # seconds; the budget of 0.8 and what a busy machine adds


@contextmanager
def ends_within(seconds: float = LIMIT, *, at_least: float = 0.0) -> Iterator[None]:
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    assert at_least <= took < seconds, f"took {took:.2f} s"
