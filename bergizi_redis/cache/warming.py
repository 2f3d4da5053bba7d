"""Warmers: functions that fill the cache before the first visitor does, once for each tenant.

``@warmer("menus")`` in a module ``warmers`` of any installed app; ``manage.py warm_cache`` finds and runs them. Round
trips: the warmer's own. Promise: one that fails stops no other, and is reported; ``stopping`` ends a run after the
warmers that are under way. Redis down: the cache calls inside it compute and keep nothing, so it has failed, too.
What runs know of one another stands in ``ledger.py``, how fast they start in ``pacing.py``.
"""

import difflib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.db import connections
from django.utils.module_loading import autodiscover_modules

from bergizi_redis import keys
from bergizi_redis.cache.ledger import Alone, Claim
from bergizi_redis.cache.pacing import Pace
from bergizi_redis.cache.process import outages
from bergizi_redis.conf import SETTINGS_NAME, config, import_setting
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable, TenantError, UnknownWarmer
from bergizi_redis.keys import validated_tenant
from bergizi_redis.tenancy import use_tenant

F = TypeVar("F", bound=Callable[..., Any])

MODULE = "warmers"
AGAIN = 0.25  # seconds between two looks at the tasks that other runs have under way


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

    @property
    def name(self) -> str:
        """What the ledger calls it; no tenant id holds an @, so no two tasks share a name."""
        return f"{keys.SHARED if self.tenant is None else self.tenant}:{self.warmer.name}"


@dataclass(frozen=True, slots=True)
class Warmed:
    """What became of a task: seconds it took, and the error that ended it or None.

    ``skipped``: it was done already, by another run or before this one was resumed.
    """

    warmer: str
    tenant: str | None
    seconds: float
    error: BaseException | None = None
    skipped: bool = False


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


def run(
    tasks: Sequence[Task], *, concurrency: int = 1, stopping: threading.Event | None = None,
    pace: Pace | None = None, ledger: Alone | None = None,
) -> Iterator[Warmed]:  # fmt: skip
    """Run the tasks in order, ``concurrency`` at a time, and yield each result as it comes. Never raises for a warmer.

    Once ``stopping`` is set no task begins, and the run ends after those under way. With ``concurrency`` 1 they run in
    this thread, else in threads that close their database connections. Leaving the loop early sets ``stopping`` and
    waits for those under way; ``KeyboardInterrupt`` leaves them behind. ``pace`` bounds the starts a second. With the
    ledger of ``shared_run`` what is done is skipped, and what another run has under way comes last.
    """
    stopping = stopping or threading.Event()
    waiting: SimpleQueue[Task] = SimpleQueue()
    for task in tasks:
        waiting.put(task)
    work = partial(_work, waiting, ledger or Alone(), pace or Pace(), stopping)
    if concurrency <= 1:
        yield from work()
    else:
        yield from _run_in_threads(work, min(concurrency, len(tasks)), stopping)


def warm(task: Task) -> Warmed:
    """Run one task here, for its tenant."""
    function = task.warmer.function
    arguments = (task.tenant,) if task.warmer.per_tenant else ()
    error: BaseException | None = None
    lost, began = outages(), time.perf_counter()
    try:
        with use_tenant(task.tenant):
            (async_to_sync(function) if iscoroutinefunction(function) else function)(*arguments)
    except (Exception, SystemExit) as raised:  # sys.exit() in a warmer must not end the others, nor pass unseen
        error = raised
    if error is None and outages() > lost:  # of this one, or of one beside it
        error = RedisUnavailable("Redis could not be reached meanwhile, so not all that it computed is kept.")
    return Warmed(task.warmer.name, task.tenant, time.perf_counter() - began, error)


def _work(waiting: "SimpleQueue[Task]", ledger: Alone, pace: Pace, stopping: threading.Event) -> Iterator[Warmed]:
    """What one thread does: the tasks that wait, then those that other runs had, once they are done or free."""
    busy: deque[Task] = deque()
    tried = 0
    while not stopping.is_set():
        try:
            task = waiting.get_nowait()
        except Empty:
            if not busy or (tried >= len(busy) and stopping.wait(AGAIN)):
                return
            tried = tried % len(busy) + 1
            task = busy.popleft()
        match ledger.claim(task.name):
            case Claim.BUSY:
                busy.append(task)
            case Claim.DONE:
                yield Warmed(task.warmer.name, task.tenant, 0.0, skipped=True)
            case Claim.OURS:
                result = warm(task) if pace.wait(stopping) else None
                ledger.finish(task.name, result is not None and result.error is None)
                if result is not None:
                    yield result


def _run_in_threads(work: Callable[..., Iterator[Warmed]], threads: int, stopping: threading.Event) -> Iterator[Warmed]:
    results: SimpleQueue[Warmed | None] = SimpleQueue()  # None: a thread has ended

    def run_here() -> None:
        try:
            for result in work():
                results.put(result)
        finally:
            connections.close_all()
            results.put(None)

    workers = [threading.Thread(target=run_here, name=f"warmer-{number}", daemon=True) for number in range(threads)]
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
    except BaseException as error:
        stopping.set()
        if isinstance(error, KeyboardInterrupt):
            workers.clear()
        raise
    finally:
        for worker in workers:
            worker.join()
