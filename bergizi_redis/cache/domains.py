"""Domain caches: named families of a tenant's entries – menus, stock, staff – with a life and tags of their own.

Promise: every entry belongs to one tenant, and none is served after its tags, its domain or its tenant were invalidated.
Round trips: get 1, set 2, get_or_compute 1 on a hit and 2 on a miss, invalidate 1. Redis down: a get misses, a set is
logged and counted, an invalidation is kept and sent before this process reads again.
"""

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.core.cache import caches

from bergizi_redis import keys
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.reading import MISSING, Address
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.tenancy import current_tenant

T = TypeVar("T")

LONG = 2 * 3600  # seconds: what changes a few times a week, such as menus and staff
SHORT = 5 * 60  # seconds: what changes all day, such as stock and deliveries
BUCKETS = 64  # one entry is invalidated with 1/64 of its domain: a version for each entry would double its memory


def tagged_cache() -> TaggedRedisCache:
    """The cache behind ``CACHE_ALIAS``; ``ConfigurationError`` when that alias cannot hold tags."""
    cache = caches[config.CACHE_ALIAS]
    if not isinstance(cache, TaggedRedisCache):
        raise ConfigurationError(
            f"CACHES[{config.CACHE_ALIAS!r}] is a {type(cache).__name__}; domains and @cached need the BACKEND "
            "'bergizi_redis.cache.backend.TaggedRedisCache'."
        )
    return cache


def bucket_of(domain: str, name: str) -> str:
    """The tag that an entry shares with 1/64 of its domain."""
    return f"{domain}#{zlib.crc32(name.encode('utf-8', 'surrogatepass')) % BUCKETS}"


@dataclass(frozen=True, slots=True)
class Domain:
    """``ttl`` in seconds. Every entry carries the domain's name as a tag, and ``tags``.

    ``tenant`` is an id such as ``"sppg-jakarta-001"``, or None for the tenant in force (``TenantRequired`` without one).
    ``ident`` is a number or text that names the entry in its domain.
    """

    name: str
    ttl: float = SHORT
    tags: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigurationError(f"Domain name {self.name!r}: use letters, digits and '_', such as 'menu'.")

    def address(self, tenant: str | None, ident: object, part: str = "") -> Address:
        """``part`` sets a domain's lists apart from its entries."""
        owner = self._owner(tenant)
        scope = tagged_cache().scope_of(owner)
        own = bucket_of(self.name, f"{part}{ident}")
        key = keys.cache_entry(owner, self.name + part, ident)
        return Address(key, scope.read_by((self.name, *self.tags), own), self.name)

    def lookup(self, tenant: str | None, ident: object) -> Lookup:
        """Read – compute – store by hand: ``with menu.lookup(tenant, 42) as entry:``."""
        return Lookup(tagged_cache(), self.address(tenant, ident))

    def get(self, tenant: str | None, ident: object, default: Any = None) -> Any:
        found, _ = tagged_cache().look(self.address(tenant, ident))
        return default if found is MISSING else found

    async def aget(self, tenant: str | None, ident: object, default: Any = None) -> Any:
        found, _ = await tagged_cache().alook(self.address(tenant, ident))
        return default if found is MISSING else found

    def set(self, tenant: str | None, ident: object, value: Any, ttl: float | None = None) -> bool:
        """False when it could not be stored. ``ttl`` in seconds, the domain's own by default."""
        return tagged_cache().put(self.address(tenant, ident), value, self.ttl if ttl is None else ttl)

    async def aset(self, tenant: str | None, ident: object, value: Any, ttl: float | None = None) -> bool:
        return await tagged_cache().aput(self.address(tenant, ident), value, self.ttl if ttl is None else ttl)

    def get_list(self, tenant: str | None, default: Any = None, name: str = "all") -> Any:
        """The list that ``set_list`` stored; ``name`` tells several lists of one domain apart."""
        found, _ = tagged_cache().look(self.address(tenant, name, ".list"))
        return default if found is MISSING else found

    async def aget_list(self, tenant: str | None, default: Any = None, name: str = "all") -> Any:
        found, _ = await tagged_cache().alook(self.address(tenant, name, ".list"))
        return default if found is MISSING else found

    def set_list(self, tenant: str | None, rows: Sequence[Any], ttl: float | None = None, name: str = "all") -> bool:
        return tagged_cache().put(self.address(tenant, name, ".list"), rows, self.ttl if ttl is None else ttl)

    async def aset_list(
        self, tenant: str | None, rows: Sequence[Any], ttl: float | None = None, name: str = "all"
    ) -> bool:
        return await tagged_cache().aput(self.address(tenant, name, ".list"), rows, self.ttl if ttl is None else ttl)

    def get_or_compute(self, tenant: str | None, ident: object, compute: Callable[[], T], ttl: float | None = None) -> T:
        """The entry, or what ``compute()`` returns, stored unless the domain was invalidated while it ran."""
        with self.lookup(tenant, ident) as entry:
            if entry.missed:
                entry.store(compute(), self.ttl if ttl is None else ttl)
        value: T = entry.value
        return value

    async def aget_or_compute(
        self, tenant: str | None, ident: object, compute: Callable[[], Any], ttl: float | None = None
    ) -> Any:
        """``compute`` may be a function or a coroutine function."""
        async with self.lookup(tenant, ident) as entry:
            if entry.missed:
                value = await compute() if iscoroutinefunction(compute) else compute()
                await entry.astore(value, self.ttl if ttl is None else ttl)
        return entry.value

    def invalidate(self, tenant: str | None, ident: object | None = None) -> None:
        """Void the tenant's whole domain, or one entry (and with it at most 1/64 of the domain)."""
        owner = self._owner(tenant)
        if ident is None:
            tagged_cache().invalidate_tags([self.name], tenant=owner)
        else:
            tagged_cache().bump(self._bucket(owner, ident))

    async def ainvalidate(self, tenant: str | None, ident: object | None = None) -> None:
        owner = self._owner(tenant)
        if ident is None:
            await tagged_cache().ainvalidate_tags([self.name], tenant=owner)
        else:
            await tagged_cache().abump(self._bucket(owner, ident))

    def _owner(self, tenant: str | None) -> str:
        return keys.validated_tenant(current_tenant() if tenant is None else tenant)

    def _bucket(self, owner: str, ident: object) -> Collection[str]:
        return tagged_cache().scope_of(owner).bumped_by((), own=[bucket_of(self.name, str(ident))])


menu = Domain("menu", LONG)
hrd = Domain("hrd", LONG)
procurement = Domain("procurement", SHORT)
production = Domain("production", SHORT)
inventory = Domain("inventory", SHORT)
distribution = Domain("distribution", SHORT)
