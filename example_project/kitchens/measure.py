"""How a page came by its data: the strip "from cache · 0 queries · 0.4 ms"."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection


@dataclass(slots=True)
class Reading:
    """What a block of code cost. ``milliseconds`` is set when the block ends."""

    queries: int = 0
    milliseconds: float = 0.0

    @property
    def from_cache(self) -> bool:
        """Whether the database was left alone."""
        return self.queries == 0


@contextmanager
def measured() -> Iterator[Reading]:
    """Count the database queries and the time of the block."""
    reading = Reading()

    def count(execute: Callable[..., Any], *args: Any) -> Any:
        reading.queries += 1
        return execute(*args)

    start = time.perf_counter()
    with connection.execute_wrapper(count):
        yield reading
    reading.milliseconds = (time.perf_counter() - start) * 1000
