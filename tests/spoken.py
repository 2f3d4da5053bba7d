"""One test for both ways of calling: ``spoken.get("k")`` calls ``get`` or awaits ``aget``."""

import asyncio
from collections.abc import Callable
from typing import Any

WAYS = ("blocking", "awaiting")


class Spoken:
    def __init__(self, target: Any, way: str) -> None:
        self._target = target
        self._way = way

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if self._way == "blocking":
            method: Callable[..., Any] = getattr(self._target, name)
            return method
        twin = getattr(self._target, f"a{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            async def run() -> Any:
                return await twin(*args, **kwargs)

            return asyncio.run(run())

        return call
