"""Domain caches: named families of a tenant's entries – menus, stock, staff – with a life and tags of their own.

Promise: every entry belongs to one tenant, and none is served after its tags, its domain or its tenant were voided.
What ``set`` is given was computed before: where an invalidation may come in between, use ``get_or_compute`` or
``lookup``. Round trips: get 1, set 2, get_or_compute 1 on a hit and 3 on a miss, invalidate 1. Redis down: a get
misses, a set is logged and counted, an invalidation is kept and sent before this process reads again.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.cache import caches

from bergizi_redis import keys
from bergizi_redis.cache.addresses import Address, address_of, bucket_of
from bergizi_redis.cache.awaiting import called
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.buffers import buffers
from bergizi_redis.cache.explain import Explanation
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.tags import tag_names
from bergizi_redis.cache.verify import averify, is_sampled, verify
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.tenancy import current_tenant

T = TypeVar("T")

LONG = 2 * 3600  # seconds: what changes a few times a week, such as menus and staff
SHORT = 5 * 60  # seconds: what changes all day, such as stock and deliveries


def tagged_cache() -> TaggedRedisCache:
    """The cache behind ``CACHE_ALIAS``; ``ConfigurationError`` when that alias is missing or cannot hold tags."""
    global _known
    alias = config.CACHE_ALIAS
    known = _known
    if known is not None and known[0] is caches.settings and known[1] == alias:
        return known[2]
    if alias not in caches.settings:
        raise ConfigurationError(f"There is no CACHES[{alias!r}], which domains and @cached need (CACHE_ALIAS).")
    cache = caches[alias]
    if not isinstance(cache, TaggedRedisCache):
        raise ConfigurationError(
            f"CACHES[{alias!r}] is a {type(cache).__name__}; domains and @cached need the BACKEND "
            "'bergizi_redis.cache.backend.TaggedRedisCache'."
        )
    _known = (caches.settings, alias, cache)
    return cache


# The cache of the settings in force. One for all threads, where Django makes one for each: it holds no state but its
# client, and finding it in Django's context-local store costs as much as all else that is done for a hit.
_known: tuple[dict[str, Any], str, TaggedRedisCache] | None = None


def checked_life(owner: str, life: object, tags: Any) -> tuple[str, ...]:
    """The tags; ``ConfigurationError``, naming ``owner``, for tags or a life (seconds) that cannot be."""
    if isinstance(life, bool) or not isinstance(life, int | float) or not life > 0:
        raise ConfigurationError(f"{owner}: a life of {life!r}; expected a positive number of seconds.")
    try:
        return tag_names(tags) or ()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{owner}: {error}") from error


def checked_stale(owner: str, stale: object) -> None:
    """``ConfigurationError``, naming ``owner``, for seconds that cannot be."""
    if isinstance(stale, bool) or not isinstance(stale, int | float) or not 0 <= stale < float("inf"):
        raise ConfigurationError(f"{owner}: stale={stale!r}; expected seconds, 0 for none.")


def domain_named(name: str) -> "Domain | None":
    """The domain of that name, if the module that makes it has been imported."""
    return _by_name.get(name)


_by_name: dict[str, "Domain"] = {}


@dataclass(frozen=True, slots=True)
class Domain:
    """``ttl`` in seconds. Every entry carries the domain's name as a tag, and ``tags``.

    For ``stale`` seconds beyond its life an entry may still be served while one reader computes it anew – never across
    an invalidation. Of many that miss at once one computes; each for itself without ``herd``. ``strict`` reads never
    come from the near cache.

    ``tenant`` is an id such as ``"sppg-jakarta-001"``, or None for the one in force (``TenantRequired`` without).
    ``ident`` is a number or text that names the entry in its domain; 42 and ``"42"`` are one name.
    """

    name: str
    ttl: float = SHORT
    tags: Sequence[str] = ()
    stale: float = 0
    herd: bool = True
    strict: bool = False

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigurationError(f"Domain name {self.name!r}: use letters, digits and '_', such as 'menu'.")
        object.__setattr__(self, "tags", checked_life(f"Domain {self.name!r}", self.ttl, self.tags))
        checked_stale(f"Domain {self.name!r}", self.stale)
        _by_name[self.name] = self

    def lookup(self, tenant: str | None, ident: object) -> Lookup:
        """Read – compute – store by hand: ``with menu.lookup(tenant, 42) as entry:``."""
        cache = tagged_cache()
        return Lookup(cache, self._entry(cache, tenant, ident), stale=self.stale, herd=self.herd)

    def get(self, tenant: str | None, ident: object, default: Any = None) -> Any:
        if self.name in buffers and (buffered := buffers[self.name].peek(tenant, ident)) is not MISSING:
            return buffered
        cache = tagged_cache()
        found = cache.look(self._entry(cache, tenant, ident)).value
        return default if found is MISSING else found

    async def aget(self, tenant: str | None, ident: object, default: Any = None) -> Any:
        if self.name in buffers and (buffered := await buffers[self.name].apeek(tenant, ident)) is not MISSING:
            return buffered
        cache = tagged_cache()
        found = (await cache.alook(self._entry(cache, tenant, ident))).value
        return default if found is MISSING else found

    def set(self, tenant: str | None, ident: object, value: Any, ttl: float | None = None) -> bool:
        """False when it could not be stored. ``ttl`` in seconds, the domain's own by default."""
        cache = tagged_cache()
        return cache.put(self._entry(cache, tenant, ident), value, self.ttl if ttl is None else ttl, stale=self.stale)

    async def aset(self, tenant: str | None, ident: object, value: Any, ttl: float | None = None) -> bool:
        cache = tagged_cache()
        return await cache.aput(
            self._entry(cache, tenant, ident), value, self.ttl if ttl is None else ttl, stale=self.stale
        )

    def get_list(self, tenant: str | None, default: Any = None, name: str = "all") -> Any:
        """The list that ``set_list`` stored; ``name`` tells several lists of one domain apart."""
        cache = tagged_cache()
        found = cache.look(self._list(cache, tenant, name)).value
        return default if found is MISSING else found

    async def aget_list(self, tenant: str | None, default: Any = None, name: str = "all") -> Any:
        cache = tagged_cache()
        found = (await cache.alook(self._list(cache, tenant, name))).value
        return default if found is MISSING else found

    def set_list(self, tenant: str | None, rows: Sequence[Any], ttl: float | None = None, name: str = "all") -> bool:
        cache = tagged_cache()
        return cache.put(self._list(cache, tenant, name), rows, self.ttl if ttl is None else ttl, stale=self.stale)

    async def aset_list(
        self, tenant: str | None, rows: Sequence[Any], ttl: float | None = None, name: str = "all"
    ) -> bool:
        cache = tagged_cache()
        return await cache.aput(
            self._list(cache, tenant, name), rows, self.ttl if ttl is None else ttl, stale=self.stale
        )

    def get_or_compute(
        self, tenant: str | None, ident: object, compute: Callable[[], T], ttl: float | None = None
    ) -> T:
        """The entry, or what ``compute()`` returns, stored unless the domain was invalidated while it ran."""
        value: T
        if self.name in buffers and (value := buffers[self.name].peek(tenant, ident)) is not MISSING:
            return value
        with self.lookup(tenant, ident) as entry:
            if entry.missed:
                entry.store(compute(), self.ttl if ttl is None else ttl)
            elif is_sampled():
                verify(entry, compute)
        value = entry.value
        return value

    async def aget_or_compute(
        self, tenant: str | None, ident: object, compute: Callable[[], Any], ttl: float | None = None
    ) -> Any:
        """``compute`` may be a function or a coroutine function."""
        if self.name in buffers and (buffered := await buffers[self.name].apeek(tenant, ident)) is not MISSING:
            return buffered
        async with self.lookup(tenant, ident) as entry:
            if entry.missed:
                await entry.astore(await called(compute), self.ttl if ttl is None else ttl)
            elif is_sampled():
                await averify(entry, compute)
        return entry.value

    def explain(self, tenant: str | None, ident: object) -> Explanation:
        """Why ``get(tenant, ident)`` hits or misses: print it. ``RedisUnavailable`` when Redis is down."""
        cache = tagged_cache()
        return cache.explain_entry(self._entry(cache, tenant, ident))

    async def aexplain(self, tenant: str | None, ident: object) -> Explanation:
        cache = tagged_cache()
        return await cache.aexplain_entry(self._entry(cache, tenant, ident))

    def invalidate(self, tenant: str | None, ident: object | None = None) -> None:
        """Void the tenant's whole domain; or one entry, with every list (it may be in one) and 1/64 of the rest."""
        owner = self._owner(tenant)
        if ident is None:
            tagged_cache().invalidate_tags([self.name], tenant=owner)
        else:
            tagged_cache().bump_own(owner, self._own_tags(ident))

    async def ainvalidate(self, tenant: str | None, ident: object | None = None) -> None:
        owner = self._owner(tenant)
        if ident is None:
            await tagged_cache().ainvalidate_tags([self.name], tenant=owner)
        else:
            await tagged_cache().abump_own(owner, self._own_tags(ident))

    def voided_by(self, tenant: str | None, ident: object) -> Collection[str]:
        """The version keys that ``invalidate(tenant, ident)`` makes anew, for a write that fences them itself."""
        return tagged_cache().scope_of(self._owner(tenant)).bumped_by((), own=self._own_tags(ident))

    def _own_tags(self, ident: object) -> tuple[str, str]:
        return bucket_of(self.name, str(ident)), self._lists

    @property
    def _lists(self) -> str:
        return f"{self.name}#lists"

    def _entry(self, cache: TaggedRedisCache, tenant: str | None, ident: object) -> Address:
        owner = current_tenant() if tenant is None else tenant
        return address_of(cache.key_prefix, owner, self.name, "", str(ident), self.tags, strict=self.strict)  # type: ignore[arg-type]

    def _list(self, cache: TaggedRedisCache, tenant: str | None, name: str) -> Address:
        owner = current_tenant() if tenant is None else tenant
        return address_of(cache.key_prefix, owner, self.name, ".list", name, self.tags, self._lists, self.strict)  # type: ignore[arg-type]

    def _owner(self, tenant: str | None) -> str:
        return current_tenant() if tenant is None else keys.validated_tenant(tenant)


menu = Domain("menu", LONG)
hrd = Domain("hrd", LONG)
procurement = Domain("procurement", SHORT)
production = Domain("production", SHORT)
inventory = Domain("inventory", SHORT)
distribution = Domain("distribution", SHORT)
