"""What stands for a query in the cache: a key that no other query has, and the versions of all that it reads.

The key holds the text as Django sends it, every parameter with its type, the database, what is made of the rows, and
the fields of the models: 1, ``"1"``, ``True`` and ``Decimal(1)`` are four queries, and rows that were stored before a
field was added are not found by the code after it. Asks neither the database nor Redis.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import django
from django.core.exceptions import EmptyResultSet
from django.db.models import Model
from django_redis.serializers.json import JSONSerializer

from bergizi_redis import keys
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import tagged_cache
from bergizi_redis.cache.fingerprint import fingerprint
from bergizi_redis.cache.prefetched import prefetches
from bergizi_redis.cache.querychecks import check, check_text
from bergizi_redis.cache.queryreads import proven, state_of, tables_read, versions_read
from bergizi_redis.cache.variants import plain
from bergizi_redis.exceptions import ConfigurationError, NotCacheable
from bergizi_redis.tenancy import current_tenant

# Parameters of PostgreSQL whose repr() says all.
PRINTED_IN_FULL = ("ipaddress", "psycopg.types.range", "django.db.backends.postgresql.psycopg_any")


@dataclass(frozen=True, slots=True)
class Read:
    """One query: what tells it from all others, and its tables; ``mine`` are those read of the tenant alone."""

    name: tuple[Any, ...]
    tables: frozenset[str]
    mine: frozenset[str] = frozenset()


def domain_of(model: type[Model]) -> str:
    """What the model's queries are counted under."""
    return f"query.{model._meta.label_lower}"


def address_of_query(queryset: Any, operation: str) -> tuple[TaggedRedisCache, Address]:
    """Where the result lies. ``operation`` is "rows", or what else is asked of the same rows, such as "count".

    ``EmptyResultSet`` where Django would not ask the database, ``NotCacheable`` and ``CacheKeyError`` for what must not
    be remembered, ``TenantRequired`` without a tenant.
    """
    tenant = current_tenant()
    cache = able(tagged_cache())
    reads = [read_of(queryset, tenant), *(_prefetched(queryset) if operation == "rows" else ())]
    tables = frozenset[str]().union(*(read.tables for read in reads))
    mine = reads[0].mine.difference(*(read.tables for read in reads[1:]))
    name = (django.VERSION[:2], operation, [read.name for read in reads], state_of(tables))
    domain = domain_of(queryset.model)
    versions = versions_read(cache.key_prefix, tenant, mine, tables - mine)
    return cache, Address(keys.cache_entry(tenant, domain, fingerprint(name)), versions, domain, tenant)


def able(cache: TaggedRedisCache) -> TaggedRedisCache:
    """The cache; ``ConfigurationError`` for a serializer that gives back something else than it was given."""
    serializer = cache.client._serializer
    if isinstance(serializer, JSONSerializer) or "msgpack" in type(serializer).__module__:
        raise ConfigurationError(
            f"{type(serializer).__name__} turns rows, dates and decimals into something else. To cache queries, give "
            "CACHE_ALIAS an alias with the default, 'django_redis.serializers.pickle.PickleSerializer'."
        )
    return cache


def read_of(queryset: Any, tenant: str) -> Read:
    made_by = queryset._iterable_class
    if not made_by.__module__.startswith("django."):
        raise NotCacheable(
            f"{made_by.__qualname__} makes the rows of {queryset.model.__name__}, and what it reads is not known."
        )
    query, using = queryset.query, queryset.db
    check(query)
    sql, params = query.get_compiler(using=using).as_sql()
    check_text(sql)
    return Read(
        (
            f"{made_by.__module__}.{made_by.__qualname__}",
            f"{queryset.model.__module__}.{queryset.model.__qualname__}",
            using, sql, [nameable(param) for param in params],
            [str(field) for field in queryset._fields or ()],
            str(getattr(queryset, "_fetch_mode", "")),
        ),
        tables_read(sql),
        proven(query, sql, using, tenant),
    )  # fmt: skip


def _prefetched(queryset: Any) -> Iterator[Read]:
    for called, inner, further in prefetches(queryset):
        tables = frozenset(table.rsplit('"."', 1)[-1].strip('"').lower() for table in further)
        try:
            read = read_of(inner, "")
        except EmptyResultSet:
            read = Read((), frozenset())
        yield Read((called, *read.name), read.tables | tables)
        yield from _prefetched(inner)


def nameable(param: Any) -> Any:
    """The parameter as ``fingerprint`` takes it: drivers and templates wrap plain values."""
    if isinstance(param, list | tuple):
        return [type(param).__qualname__, *(nameable(each) for each in param)]
    if isinstance(param, memoryview | bytearray):
        return bytes(param)
    kind = type(param)
    if isinstance(param, int | float) and kind not in (int, float, bool) and not isinstance(param, Enum):
        return [kind.__qualname__, repr(float(param) if isinstance(param, float) else int(param))]  # psycopg's Int4, …
    if kind.__module__ == "psycopg.types.json":
        return [kind.__qualname__, param.obj]
    if kind.__module__ in PRINTED_IN_FULL:
        return [kind.__qualname__, repr(param)]
    return plain(param)
