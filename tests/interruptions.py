"""Something that happens between two commands of this process, whatever it is doing: a race, forced; or its death."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bergizi_redis.clients import BudgetedPipeline, BudgetedRedis


@contextmanager
def interrupted(after: int, happens: Callable[[], Any], *, backwards: bool = False) -> Iterator[list[bool]]:
    """``with interrupted(3, …) as hit:`` – it happens after the third command; ``hit`` is empty if there were fewer.

    A pipeline counts as its commands, and is cut in two where it happens in the midst of one. ``backwards`` sends its
    last commands first, as on a cluster one node may be quicker than the other.
    """
    left, hit = [after], list[bool]()
    single: Any = BudgetedRedis.execute_command
    several: Any = BudgetedPipeline.execute

    def now() -> None:
        hit.append(True)
        happens()

    def execute_command(self: Any, *args: Any, **options: Any) -> Any:
        if not hit:
            if left[0] == 0:
                now()
            left[0] -= 1
        return single(self, *args, **options)

    def execute(self: Any, raise_on_error: bool = True) -> Any:
        asked = list(self.command_stack)
        if hit or left[0] >= len(asked):
            left[0] -= len(asked)
            return several(self, raise_on_error)
        cut = len(asked) - left[0] if backwards else left[0]
        parts = {False: asked[:cut], True: asked[cut:]}
        replies = dict[bool, Any]()
        for is_last in (backwards, not backwards):
            self.command_stack = parts[is_last]
            replies[is_last] = several(self, raise_on_error) if parts[is_last] else []
            if is_last is backwards:
                now()
        return [*replies[False], *replies[True]]

    BudgetedRedis.execute_command, BudgetedPipeline.execute = execute_command, execute  # type: ignore[method-assign]
    try:
        yield hit
    finally:
        BudgetedRedis.execute_command, BudgetedPipeline.execute = single, several  # type: ignore[method-assign]
