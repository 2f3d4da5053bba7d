"""Warmers: functions that fill the cache before the first visitor does, once for each tenant.

``@warmer("menus")`` in a module ``warmers`` of any installed app; ``manage.py warm_cache`` finds and runs them. Round
trips: the warmer's own. Promise: one that fails stops no other, and is reported; ``stopping`` ends a run after the
warmers that are under way. Redis down: as the cache calls inside it say, which means a warmer may "succeed" unstored.
"""

import difflib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.db import connections
from django.utils.module_loading import autodiscover_modules

from bergizi_redis.conf import SETTINGS_NAME, config, import_setting
from bergizi_redis.exceptions import ConfigurationError, TenantError, UnknownWarmer
from bergizi_redis.keys import validated_tenant
from bergizi_redis.tenancy import use_tenant

F = TypeVar("F", bound=Callable[..., Any])

MODULE = "warmers"


@dataclass(frozen=True, slots=True)
class Warmer:
    """``function(tenant)``, or ``function()`` where not ``per_tenant``; either may be a coroutine function."""

    name: str
    function: Callable[..., Any]
    per_tenant: bool = True

    @property
    def place(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"


@dataclass(frozen=True, slots=True)
class Task:
    """One warmer for one tenant; ``tenant`` is None for a warmer without one."""

    warmer: Warmer
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of a task: seconds it took, and the error that ended it or None."""

    warmer: str
    tenant: str | None
    seconds: float
    error: BaseException | None = None


_registry: dict[str, Warmer] = {}


def warmer(name: object, *, per_tenant: bool = True) -> Callable[[F], F]:
    """Register the decorated function, sync or async, as the warmer ``name``.

    It takes the tenant and runs inside ``use_tenant(tenant)``; with ``per_tenant=False`` it takes nothing and runs
    once, without a tenant. Raises ``ConfigurationError`` for a name that another function has, ``TypeError`` for none.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(f"@warmer got {name!r}; give it a name, such as @warmer('menus').")

    def register(function: F) -> F:
        new = Warmer(name, function, per_tenant)
        present = _registry.get(name)
        if present is not None and present.place != new.place:  # the same place again: its module was reloaded
            raise ConfigurationError(
                f"There are two warmers {name!r}: {present.place} and {new.place}. Give one of them another name."
            )
        _registry[name] = new
        return function

    return register


def discover() -> dict[str, Warmer]:
    """Import the module ``warmers`` of every installed app, and return all warmers by name, as they registered."""
    autodiscover_modules(MODULE)
    return dict(_registry)


def find(names: Iterable[str] = ()) -> list[Warmer]:
    """The warmers of these names, else every one. Raises ``UnknownWarmer``, with the known ones."""
    known = discover()
    wanted = list(dict.fromkeys(names)) or list(known)
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            others = f"The warmers are {', '.join(sorted(known))}." if known else "None is declared: see @warmer."
            raise UnknownWarmer(f"There is no warmer {name!r}.{hint} {others}")
    return [known[name] for name in wanted]


def every_tenant() -> list[str]:
    """What the callable named by ``TENANTS`` yields. Raises ``ConfigurationError``, or ``TenantError`` for a bad id."""
    path = config.TENANTS
    if not path:
        raise ConfigurationError(
            f"Which tenants? Name them (--tenant sppg-1), or set {SETTINGS_NAME}['TENANTS'] to the dotted path of a "
            "callable that yields every tenant id."
        )
    tenants = import_setting("TENANTS", path)
    if not callable(tenants):
        raise ConfigurationError(f"{SETTINGS_NAME}['TENANTS'] is {path!r}, which cannot be called.")
    try:
        return [validated_tenant(tenant) for tenant in dict.fromkeys(tenants())]
    except TenantError:
        raise
    except Exception as error:  # it is the project's, and may ask a database that is not there yet
        raise ConfigurationError(
            f"{path}, which {SETTINGS_NAME}['TENANTS'] names, failed: {type(error).__name__}: {error}"
        ) from error


def plan(names: Iterable[str] = (), tenants: Sequence[str] | None = None) -> list[Task]:
    """The tasks for these warmers (else all) and tenants (else ``every_tenant``, asked only where it is needed)."""
    warmers = find(names)
    if tenants:
        tenants = [validated_tenant(tenant) for tenant in dict.fromkeys(tenants)]
    elif any(each.per_tenant for each in warmers):
        tenants = every_tenant()
    tasks = []
    for each in warmers:
        tasks += [Task(each, tenant) for tenant in tenants or ()] if each.per_tenant else [Task(each, None)]
    return tasks


def run(tasks: Sequence[Task], *, concurrency: int = 1, stopping: threading.Event | None = None) -> Iterator[Warmed]:
    """Run the tasks in order, ``concurrency`` at a time, and yield each result as it comes. Never raises for a warmer.

    Once ``stopping`` is set no task begins, and the run ends after those under way. With ``concurrency`` 1 they run in
    this thread, else in threads that close their database connections; leaving the loop early stops those likewise,
    but ``KeyboardInterrupt`` leaves them behind.
    """
    stopping = stopping or threading.Event()
    if concurrency <= 1:
        for task in tasks:
            if stopping.is_set():
                return
            yield warm(task)
        return
    yield from _run_in_threads(tasks, min(concurrency, len(tasks)), stopping)


def warm(task: Task) -> Warmed:
    """Run one task here, for its tenant."""
    function = task.warmer.function
    arguments = (task.tenant,) if task.warmer.per_tenant else ()
    error: BaseException | None = None
    began = time.perf_counter()
    try:
        with use_tenant(task.tenant):
            (async_to_sync(function) if iscoroutinefunction(function) else function)(*arguments)
    except (Exception, SystemExit) as raised:  # sys.exit() in a warmer must not end the others, nor pass unseen
        error = raised
    return Warmed(task.warmer.name, task.tenant, time.perf_counter() - began, error)


def _run_in_threads(tasks: Sequence[Task], threads: int, stopping: threading.Event) -> Iterator[Warmed]:
    waiting: SimpleQueue[Task] = SimpleQueue()
    results: SimpleQueue[Warmed | None] = SimpleQueue()  # None: a thread has ended
    left = threading.Event()
    for task in tasks:
        waiting.put(task)

    def work() -> None:
        try:
            while not (stopping.is_set() or left.is_set()):
                results.put(warm(waiting.get_nowait()))
        except Empty:
            pass
        finally:
            connections.close_all()
            results.put(None)

    workers = [threading.Thread(target=work, name=f"warmer-{number}", daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    running = len(workers)
    try:
        while running:
            result = results.get()
            if result is None:
                running -= 1
            else:
                yield result
    except KeyboardInterrupt:
        workers.clear()
        raise
    finally:
        left.set()
        for worker in workers:
            worker.join()
