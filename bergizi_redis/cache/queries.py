"""Cached queries: ``cache_query(Menu.objects.filter(…))``, or a model whose ``CachedQuerySet`` caches them by itself.

Promise: a result is served only while no table that the query reads has been written since before it ran. Every result
belongs to the tenant in force. A transaction that has written one of the tables asks the database. Round trips: 1 on a
hit, 3 on a miss; 0 and no query where Django knows that there are no rows. Redis down: the database is asked.

The result is a query set: ``.count()``, ``.exists()``, ``.values(…)``, ``.filter(…)``, slices, ``.first()``, ``.get()``
and ``.iterator()`` are cached each for itself. Not cached: ``aggregate()``, ``raw()``, ``explain()``, what writes. The
async methods are Django's: they run in a thread, whose transactions decide what may be stored.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache
from typing import Any, TypeVar, overload

from django.core.exceptions import EmptyResultSet
from django.db.models import Manager, Model, QuerySet
from django.db.models.query import ModelIterable
from django.utils.asyncio import async_unsafe

from bergizi_redis.cache.domains import checked_life, tagged_cache
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.querychecks import check
from bergizi_redis.cache.queryplans import able, address_of_query
from bergizi_redis.cache.transactions import has_written
from bergizi_redis.cache.verify import is_sampled, verify
from bergizi_redis.conf import config
from bergizi_redis.exceptions import CacheKeyError, NotCacheable
from bergizi_redis.tenancy import current_tenant, find_tenant

M = TypeVar("M", bound=Model)
R = TypeVar("R")


class CachedQuerySet(QuerySet[M, R]):
    """``objects = CachedQuerySet.as_manager()`` caches the queries of a model that ``QUERY_CACHE`` lists.

    Where the model is not listed, no tenant is known, or the query cannot be remembered, the database is asked.
    """

    _life: float | None = None  # seconds, as ``cache_query`` was told; None: ``QUERY_CACHE`` decides

    def _clone(self) -> Any:
        clone: Any = super()._clone()  # type: ignore[misc]
        clone._life = self._life
        return clone

    def _fetch_all(self) -> None:
        queryset: Any = self
        lookup = self._lookup("rows") if queryset._result_cache is None else None
        if lookup is None:
            super()._fetch_all()
            return
        queryset._result_cache = self._answer(lookup, self._rows, verified=queryset.ordered)
        queryset._prefetch_done = True
        if queryset._known_related_objects and issubclass(queryset._iterable_class, ModelIterable):
            introduce(queryset)

    def _rows(self) -> list[Any]:
        """From the database, without the objects that the caller holds: those are handed to the rows each time."""
        clone: Any = self._chain()  # type: ignore[attr-defined]
        clone._known_related_objects = {}
        super(CachedQuerySet, clone)._fetch_all()
        return list(clone._result_cache)

    def count(self) -> int:
        return int(self._remembered("count", super().count))

    def exists(self) -> bool:
        return bool(self._remembered("exists", super().exists))

    def iterator(self, chunk_size: int | None = None) -> Iterator[R]:
        """All rows at once where they are cached, else streamed as Django does."""
        if self._lookup("rows") is None:
            return super().iterator(chunk_size) if chunk_size is not None else super().iterator()
        return iter(self._chain())  # type: ignore[attr-defined]

    async def aiterator(self, chunk_size: int = 2000) -> AsyncIterator[R]:
        rows = self._chain() if self._seconds() is not None else super().aiterator(chunk_size)  # type: ignore[attr-defined]
        async for row in rows:
            yield row

    def _remembered(self, operation: str, compute: Callable[[], Any]) -> Any:
        queryset: Any = self
        lookup = self._lookup(operation) if queryset._result_cache is None else None
        return compute() if lookup is None else self._answer(lookup, compute)

    def _answer(self, lookup: Lookup, compute: Callable[[], Any], verified: bool = True) -> Any:
        """Rows in no order may come in another one, which is no lie: they are not ``verified``."""
        with lookup as entry:
            if entry.missed:
                entry.store(compute(), self._seconds())
            elif verified and is_sampled():
                verify(entry, compute)
        return entry.value

    def _seconds(self) -> float | None:
        return self._life if self._life is not None else listed().get(self.model._meta.label_lower)

    def _lookup(self, operation: str) -> Lookup | None:
        """None where the database is to be asked."""
        queryset: Any = self
        is_explicit = self._life is not None
        if queryset._for_write or self._seconds() is None or not (is_explicit or find_tenant()):
            return None
        refuse_in_loop()
        try:
            cache, address = address_of_query(self, operation)
        except EmptyResultSet:
            return None
        except (NotCacheable, CacheKeyError):
            if is_explicit:
                raise
            return None
        return None if has_written(address.version_keys) else Lookup(cache, address)

    def __reduce__(self) -> Any:
        """A class that ``cache_query`` has made is found again by the one it was made of."""
        origin = vars(type(self)).get("_made_of")
        state = self.__getstate__()
        return (_empty, (type(self) if origin is None else origin, origin is not None), state)


def _empty(kind: type[QuerySet[Any, Any]], is_made: bool) -> Any:
    made: Any = cached_class(kind) if is_made else kind
    return made.__new__(made)


@overload
def cache_query(qs: QuerySet[M, R], timeout: float = 300) -> QuerySet[M, R]: ...
@overload
def cache_query(qs: Manager[M], timeout: float = 300) -> QuerySet[M, M]: ...
def cache_query(qs: Any, timeout: float = 300) -> Any:
    """The rows of ``qs``, kept for ``timeout`` seconds or until one of its tables is written. Asked when it is used.

    ``NotCacheable`` for what may differ without a write (``Now()``, ``order_by("?")``, SQL by hand), for what locks,
    and where it cannot be told which tables are read. ``TenantRequired`` where no tenant is known,
    ``ConfigurationError`` for a timeout that is not positive.
    """
    checked_life("cache_query", timeout, ())
    given: Any = qs.all() if isinstance(qs, Manager) else qs
    if not isinstance(given, QuerySet):
        raise NotCacheable(
            f"cache_query takes a query set, such as Menu.objects.filter(…), not {type(given).__name__}."
        )
    current_tenant()
    able(tagged_cache())
    check(given.query)
    cached = given._chain()  # type: ignore[attr-defined]
    cached.__class__ = cached_class(type(given))  # a copy of ours, with whatever its own class had copied
    cached._life = timeout
    return cached


@lru_cache(maxsize=1024)
def cached_class(kind: type[Any]) -> type[Any]:
    """The class with the methods of ``kind`` whose rows are cached."""
    if issubclass(kind, CachedQuerySet):
        return kind
    own = [each for each in kind.__mro__ if "_fetch_all" in vars(each) and each is not QuerySet]
    if own:
        raise NotCacheable(f"{own[0].__qualname__} has its own way to fetch rows, and what it reads is not known.")
    return (
        CachedQuerySet
        if kind is QuerySet
        else type(f"Cached{kind.__name__}", (CachedQuerySet, kind), {"_made_of": kind})
    )


def listed() -> dict[str, float]:
    """``QUERY_CACHE`` with its labels in lower case."""
    return {label.lower(): life for label, life in config.QUERY_CACHE.items()}


@async_unsafe
def refuse_in_loop() -> None:
    """Django's ``SynchronousOnlyOperation`` in an event loop, on a hit too: not only when the cache is cold."""


def introduce(queryset: Any) -> None:
    """Hand the objects that the caller holds to their rows, as Django does: ``kitchen.menus.all()[0].kitchen``."""
    for field, objects in queryset._known_related_objects.items():
        names = [
            field.attname if name == "self" else queryset.model._meta.get_field(name).attname
            for name in field.from_fields
        ]
        for row in queryset._result_cache:
            if field.is_cached(row) or any(name not in vars(row) for name in names):
                continue
            values = tuple(getattr(row, name) for name in names)
            found = objects.get(values[0] if len(values) == 1 else values)
            if found is not None:
                setattr(row, field.name, found)
