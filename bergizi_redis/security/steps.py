"""One text for sync and async: a procedure is a generator that yields steps, and a driver takes them.

``run`` takes each step at once, ``arun`` awaits it; an error of a step is raised inside the procedure, at its
``yield``. Every step is one round trip (or one signal), always to the primary of ``SECURITY_ALIAS``.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from django.dispatch import Signal

from bergizi_redis.aconnections import aclient
from bergizi_redis.conf import config
from bergizi_redis.connections import client
from bergizi_redis.scripts.script import script

T = TypeVar("T")


class Step(Protocol):
    def run(self) -> Any: ...
    async def arun(self) -> Any: ...


Steps = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class RunScript:
    name: str
    keys: Sequence[str]
    args: Sequence[str | int] = ()

    def run(self) -> Any:
        return script(self.name).run(client(config.SECURITY_ALIAS), self.keys, self.args)

    async def arun(self) -> Any:
        return await script(self.name).arun(aclient(config.SECURITY_ALIAS), self.keys, self.args)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands in one round trip, each as (method of redis-py's client, arguments…)."""

    commands: Sequence[tuple[Any, ...]]

    def _fill(self, pipeline: Any) -> Any:
        for method, *arguments in self.commands:
            getattr(pipeline, method)(*arguments)
        return pipeline

    def run(self) -> Any:
        return self._fill(client(config.SECURITY_ALIAS).pipeline(transaction=False)).execute()

    async def arun(self) -> Any:
        return await self._fill(aclient(config.SECURITY_ALIAS).pipeline(transaction=False)).execute()


class Send:
    """Tell receivers; Django logs an error of theirs, so that none can turn a refusal into a log-in or back."""

    def __init__(self, signal: Signal, **arguments: Any) -> None:
        self.signal = signal
        self.arguments = arguments

    def run(self) -> None:
        self.signal.send_robust(**self.arguments)

    async def arun(self) -> None:
        await self.signal.asend_robust(**self.arguments)


def run(steps: Steps[T]) -> T:
    """Take the steps; the procedure's result."""
    try:
        step = next(steps)
        while True:
            try:
                reply = step.run()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(steps: Steps[T]) -> T:
    """The same, awaiting each. Cancelled: the procedure ends where it is."""
    try:
        step = next(steps)
        while True:
            try:
                reply = await step.arun()
            except Exception as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        result: T = end.value
        return result
