"""``@invalidates``: when a model is saved or deleted, void what was computed from it.

Promise: the tenant and the tags are taken when the row is saved; the bump is sent after the transaction committed, in
one round trip for all rows of a run of saves; a rollback, of a savepoint too, sends nothing. Redis down: the save
stands, the bump is kept and sent before this process reads its cache again.

Django sends no signal for ``QuerySet.update()``, ``bulk_create()`` and raw SQL: call ``cache.invalidate_tags()`` there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections, router
from django.db.models import Model
from django.db.models.signals import post_delete, post_save

from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.keys import validated_tenant
from bergizi_redis.signals import tags_invalidated


@dataclass(frozen=True, slots=True)
class Touched:
    """What a row concerns. ``tenant`` None: it may be any tenant's, so the tags are voided for all."""

    tenant: str | None
    tags: Sequence[str]


class Batch:
    """What one transaction (or one savepoint of it) has touched so far; called by Django after the commit."""

    def __init__(self) -> None:
        self.touched: dict[str | None, dict[str, None]] = {}

    def add(self, touched: Touched) -> None:
        tenant = None if touched.tenant is None else validated_tenant(str(touched.tenant))
        self.touched.setdefault(tenant, {}).update(dict.fromkeys(touched.tags))

    def __call__(self) -> None:
        cache = tagged_cache()
        cache.bump({key for tenant, tags in self.touched.items() for key in cache.scope_of(tenant).bumped_by(tags)})
        for tenant, tags in self.touched.items():
            tags_invalidated.send(type(cache), tenant=tenant, tags=tuple(tags))


def invalidates(*models: type[Model]) -> Callable[[Callable[[Any], Touched]], Callable[[Any], Touched]]:
    """Call the function with each saved or deleted instance of the models, and void what it says was touched."""
    if not models or not all(isinstance(model, type) and issubclass(model, Model) for model in models):
        raise ConfigurationError(f"@invalidates{models!r}: name the models, such as @invalidates(Menu, Recipe).")

    def decorate(function: Callable[[Any], Touched]) -> Callable[[Any], Touched]:
        def receive(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
            touch(function(instance), using)

        for model in models:
            name = f"{function.__module__}.{function.__qualname__}:{model._meta.label_lower}"
            for signal in (post_save, post_delete):
                signal.connect(receive, sender=model, weak=False, dispatch_uid=f"bergizi_redis.{name}")
        return function

    return decorate


def touch(touched: Touched, using: str | None = None) -> None:
    """Void the tags when the transaction on the database ``using`` has committed; at once outside of one."""
    if not isinstance(touched, Touched):
        raise TypeError(f"An @invalidates function returned {touched!r}; expected Touched(tenant=…, tags=[…]).")
    connection = connections[using or router.db_for_write(Model)]
    batch = _open_batch(connection)
    if batch is None:
        batch = Batch()
        batch.add(touched)
        connection.on_commit(batch, robust=True)
    else:
        batch.add(touched)


def _open_batch(connection: Any) -> Batch | None:
    """The batch that was registered last, if nothing else and no savepoint came in between: it shares its fate."""
    if not connection.in_atomic_block or not connection.run_on_commit:
        return None
    savepoints, function, *_ = connection.run_on_commit[-1]
    return function if isinstance(function, Batch) and savepoints == set(connection.savepoint_ids) else None
