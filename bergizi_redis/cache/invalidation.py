"""``@invalidates``: when a model is saved or deleted, void what was computed from it.

Promise: the tenant and the tags are taken when the row is saved; they are fenced before COMMIT and released after it
(``commits.py``), in two round trips for all rows that the transaction kept; a rollback, of a savepoint too, sends
nothing; what another app does on commit cannot get in the way. Outside of a transaction the row is committed before
Django tells of it: the bump follows, in one round trip. Redis down: the save stands, and what it voids is kept and sent
before this process reads its cache again.

Subclasses and proxies of the models count as they do. What saves no instance – ``update()``, ``bulk_create()``, raw
SQL – voids the tags of ``bulk``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from django.db import connections, router
from django.db.models import Model
from django.db.models.signals import class_prepared, post_delete, post_save

from bergizi_redis.cache.commits import fence_commits, release
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.listeners import listen
from bergizi_redis.cache.tables import with_unnamed_rows
from bergizi_redis.cache.tags import tag_names
from bergizi_redis.cache.transactions import Made, is_open, pending_of, written_on
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.keys import validated_tenant
from bergizi_redis.signals import tags_invalidated


@dataclass(frozen=True, slots=True)
class Touched:
    """What a row concerns. ``tenant`` None: it may be any tenant's, so the tags are voided for all."""

    tenant: str | None
    tags: Sequence[str]

    def __post_init__(self) -> None:
        tenant = None if self.tenant is None else validated_tenant(str(self.tenant))
        object.__setattr__(self, "tenant", tenant)
        object.__setattr__(self, "tags", tag_names(self.tags) or ())


class Batch:
    """What rows that share one fate have touched; Django calls it after the commit, or drops it at the rollback.

    The first that is called sends for all that are left: those of a rolled back savepoint are gone by then, for
    nothing but Django's list holds them.
    """

    def __init__(self, connection: Any) -> None:
        self.touched: dict[str | None, dict[str, None]] = {}
        self.version_keys: set[str] = set()
        self.made: Made = {}
        self.siblings: WeakSet[Any] = pending_of(connection)
        self.siblings.add(self)

    def add(self, touched: Touched) -> None:
        self.touched.setdefault(touched.tenant, {}).update(dict.fromkeys(touched.tags))
        self.version_keys |= tagged_cache().scope_of(touched.tenant).bumped_by(touched.tags)

    def __call__(self) -> None:
        merged: dict[str | None, dict[str, None]] = {}
        version_keys: set[str] = set()
        for batch in [each for each in self.siblings if isinstance(each, Batch)]:
            for tenant, tags in batch.touched.items():
                merged.setdefault(tenant, {}).update(tags)
            version_keys |= batch.version_keys
            batch.touched, batch.version_keys = {}, set()
        if not merged:
            return
        release(version_keys)
        for tenant, tags in merged.items():
            tags_invalidated.send_robust(type(tagged_cache()), tenant=tenant, tags=tuple(tags))


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def invalidates(
    *models: type[Model], bulk: Sequence[str] | None = None
) -> Callable[[Callable[[Any], Touched]], Callable[[Any], Touched]]:
    """Call the function with each saved or deleted instance of the models, and void what it says was touched.

    ``bulk``: the tags to void, at every tenant, when rows of the models change without an instance – ``update()``,
    ``bulk_create()``, raw SQL; without it such a write voids every tagged entry. Raises ``ConfigurationError`` for what
    is no model, ``TypeError`` for tags that are no list of strings.
    """
    if not models or not all(map(_is_model, models)):
        raise ConfigurationError(f"@invalidates{models!r}: name the models, such as @invalidates(Menu, Recipe).")
    names = tag_names(bulk)

    def decorate(function: Callable[[Any], Touched]) -> Callable[[Any], Touched]:
        name = f"bergizi_redis.{function.__module__}.{function.__qualname__}"

        listener = listen(name, function, models, names)

        def receive(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
            # A save that committed itself has released what the function said before: no need to bump that again.
            _touch(function(instance), using, written_on(connections[using]).released)

        def connect(sender: type[Model], **_: Any) -> None:
            if issubclass(sender, models):
                listener.hears(sender)
                for signal in (post_save, post_delete):
                    signal.connect(receive, sender=sender, weak=False, dispatch_uid=name)

        # Django tells the class of the instance, which may be a subclass; one that is not made yet comes later.
        for model in models:
            for kind in _with_subclasses(model):
                connect(kind)
        class_prepared.connect(connect, weak=False, dispatch_uid=name)
        return function

    return decorate


def _with_subclasses(model: type[Model]) -> Iterator[type[Model]]:
    yield model
    for kind in model.__subclasses__():
        yield from _with_subclasses(kind)


def touch(touched: Touched, using: str | None = None) -> None:
    """Void the tags when the transaction on the database ``using`` has committed; at once outside of one."""
    if isinstance(touched, Touched):
        touched = Touched(touched.tenant, sorted(with_unnamed_rows(touched.tags)))
    _touch(touched, using or router.db_for_write(Model), frozenset())


def _touch(touched: Touched, using: str, released: frozenset[str]) -> None:
    """``released``: what need not be bumped outside of a transaction."""
    if not isinstance(touched, Touched):
        raise TypeError(f"An @invalidates function returned {touched!r}; expected Touched(tenant=…, tags=[…]).")
    tagged_cache()  # a cache that cannot hold tags is told now, not by a line in the log after the commit
    connection = connections[using]
    fence_commits(connection)
    if connection.get_autocommit() and not is_open(connection):
        batch = Batch(connection)
        batch.add(touched)
        batch.version_keys -= released
        connection.on_commit(batch, robust=True)
    else:  # without autocommit too, where Django's on_commit() refuses
        _batch_of(connection).add(touched)


def _batch_of(connection: Any) -> Batch:
    """The batch of the savepoints in force. Batches stand first in Django's list: a function of another app that fails
    after the commit takes those behind it along. Not so in a test case, whose captured callbacks are a list's end."""
    savepoints: set[str | None] = set(connection.savepoint_ids) - {None}
    in_test = any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
    hooks = connection.run_on_commit
    if not in_test and hooks and isinstance(hooks[0][1], Batch) and hooks[0][0] == savepoints:
        batch: Batch = hooks[0][1]
        return batch
    batch = Batch(connection)
    hooks.insert(len(hooks) if in_test else 0, (savepoints, batch, True))
    return batch
