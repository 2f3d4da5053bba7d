"""One text for sync and async: a procedure is a generator that yields steps, and a driver takes them.

``run`` takes each step at once, ``arun`` awaits it; an error of a step is raised inside the procedure, at its
``yield``. Every step is one round trip (or one signal), always to the primary of ``SECURITY_ALIAS``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import redis.asyncio.cluster
from asgiref.sync import sync_to_async
from django.dispatch import Signal
from redis.cluster import RedisCluster

from bergizi_redis.aconnections import aclient
from bergizi_redis.conf import config
from bergizi_redis.connections import client
from bergizi_redis.scripts.script import script
from bergizi_redis.security.turnstile import async_turnstile, turnstile

T = TypeVar("T")
CLUSTERS = (RedisCluster, redis.asyncio.cluster.RedisCluster)


class Step(Protocol):
    def run(self) -> Any: ...
    async def arun(self) -> Any: ...


Steps = Generator[Step, Any, T]


class Ask(ABC):
    """A step that asks Redis, a bounded number at a time."""

    __slots__ = ()

    @abstractmethod
    def ask(self, client: Any) -> Any: ...
    @abstractmethod
    async def aask(self, client: Any) -> Any: ...

    def run(self) -> Any:
        return turnstile().run(lambda: self.ask(client(config.SECURITY_ALIAS)))

    async def arun(self) -> Any:
        return await async_turnstile().run(lambda: self.aask(aclient(config.SECURITY_ALIAS)))


@dataclass(frozen=True, slots=True)
class RunScript(Ask):
    name: str
    keys: Sequence[str]
    args: Sequence[str | int] = ()

    def ask(self, client: Any) -> Any:
        return script(self.name).run(client, self.keys, self.args)

    async def aask(self, client: Any) -> Any:
        return await script(self.name).arun(client, self.keys, self.args)


@dataclass(frozen=True, slots=True)
class Pipeline(Ask):
    """Commands in one round trip, each as (method of redis-py's client, arguments…)."""

    commands: Sequence[tuple[Any, ...]]

    def _fill(self, pipeline: Any) -> Any:
        for method, *arguments in self.commands:
            getattr(pipeline, method)(*arguments)
        return pipeline

    def ask(self, client: Any) -> Any:
        return self._fill(client.pipeline(transaction=False)).execute()

    async def aask(self, client: Any) -> Any:
        return await self._fill(client.pipeline(transaction=False)).execute()


class OnCluster:
    """Whether keys of several slots must be asked one by one. No round trip."""

    def run(self) -> bool:
        return isinstance(client(config.SECURITY_ALIAS), CLUSTERS)

    async def arun(self) -> bool:
        return isinstance(aclient(config.SECURITY_ALIAS), CLUSTERS)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the project, which may ask its database; awaited in a thread, as Django's ORM is."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def run(self) -> Any:
        return self.function(*self.arguments)

    async def arun(self) -> Any:
        return await sync_to_async(self.function)(*self.arguments)


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
