# ruff: noqa: ASYNC109 – Django's signatures
"""``TaggedRedisCache``: django-redis's backend with tags, natively asynchronous, never a 500 because Redis is down.

Promise: a tagged value is served only while its tags stand as they stood before it was computed. Redis down: reads are
misses, stores are logged and counted, deletions and invalidations are kept and sent before this process reads again.
``OPTIONS: {"IGNORE_EXCEPTIONS": False}`` raises instead. Round trips: see ``reading.py`` and ``writing.py``.
"""

from collections.abc import Collection, Sequence
from time import perf_counter
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, InvalidCacheBackendError
from redis.exceptions import RedisError

from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.alias import RAISE
from bergizi_redis.cache.awaiting import AwaitingMethods, called, fetched
from bergizi_redis.cache.blocking import BlockingMethods
from bergizi_redis.cache.clearing import aunlink_matching, pattern_of, unlink_matching
from bergizi_redis.cache.insight import InsightMethods
from bergizi_redis.cache.leases import Turn
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.reading import MISSING, Found
from bergizi_redis.cache.tables import with_unnamed_rows
from bergizi_redis.cache.tags import Scope, tag_names
from bergizi_redis.cache.transactions import avoid_at_commit, void_at_commit
from bergizi_redis.cache.verify import averify, is_sampled, verify
from bergizi_redis.conf import config
from bergizi_redis.signals import tags_invalidated


class TaggedRedisCache(BlockingMethods, AwaitingMethods, InsightMethods):
    """Timeouts are seconds. ``tags`` is a list of strings; without it an entry is byte for byte django-redis's.

    A tagged entry lives 15 days at most. With ``OPTIONS: {"TENANT_SCOPED": True}`` every key and tag belongs to the
    tenant in force, and ``TenantRequired`` is raised where there is none.
    """

    def get_or_set(
        self, key: str, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None,
        *, tags: Sequence[str] | None = None,
    ) -> Any:  # fmt: skip
        """With ``tags`` race-free: what was computed before an invalidation is never served after it."""
        if tags is None:
            return super().get_or_set(key, default, timeout, version)
        with self.lookup(key, tags, version) as entry:
            if entry.missed:
                entry.store(default() if callable(default) else default, timeout)
            elif callable(default) and is_sampled():
                verify(entry, default)
        return entry.value

    async def aget_or_set(
        self, key: str, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None,
        *, tags: Sequence[str] | None = None,
    ) -> Any:  # fmt: skip
        """The same; ``default`` may be a coroutine function too."""
        if tags is None:
            found = await self.aget(key, MISSING, version)
            if found is not MISSING:
                return found
            value = await called(default)
            await self.aadd(key, value, timeout, version)
            return await self.aget(key, value, version)  # what another added meanwhile, as Django has it
        async with self.lookup(key, tags, version) as entry:
            if entry.missed:
                await entry.astore(await called(default), timeout)
            elif callable(default) and is_sampled():
                await averify(entry, default)
        return entry.value

    def lookup(
        self, key: str, tags: Sequence[str] = (), version: int | None = None, *, stale: float = 0, herd: bool = True,
        strict: bool = False,
    ) -> Lookup:  # fmt: skip
        """``with cache.lookup("k", tags=["menus"]) as entry:`` – or ``async with``. See ``lookup.py``."""
        names = tag_names(tags) or ()
        address = Address(self.made(key, version), self.scope.read_by(names), strict=strict)
        return Lookup(self, address, names, stale, herd)

    def invalidate_tags(self, tags: Sequence[str], *, tenant: str | None = None) -> None:
        """Void every entry with one of the tags, in one round trip: of ``tenant`` and the shared ones, or of all.

        Inside of a transaction at once, and with its commit once more: what readers store until then is old. With Redis
        down the bump is kept and sent before this process reads again.
        """
        self.void_in(self._scope_for(tenant), tag_names(tags) or ())

    async def ainvalidate_tags(self, tags: Sequence[str], *, tenant: str | None = None) -> None:
        await self._avoid_in(self._scope_for(tenant), tag_names(tags) or ())

    def invalidate_all(self, *, tenant: str | None = None) -> None:
        """Void every tagged entry of the tenant, or of all: one bump."""
        self.void_in(self._scope_for(tenant), None)

    def void_in(self, scope: Scope, names: tuple[str, ...] | None) -> None:
        """Void the tags in a scope, with None everything there: ``scope_of(None)`` is every tenant's, on any alias."""
        if names != ():
            self._void(_voided(scope, names))
            tags_invalidated.send_robust(type(self), tenant=scope.tenant, tags=names or ())

    async def ainvalidate_all(self, *, tenant: str | None = None) -> None:
        await self._avoid_in(self._scope_for(tenant), None)

    async def _avoid_in(self, scope: Scope, names: tuple[str, ...] | None) -> None:
        if names != ():
            await self._avoid(_voided(scope, names))
            await tags_invalidated.asend_robust(type(self), tenant=scope.tenant, tags=names or ())

    def _scope_for(self, tenant: str | None) -> Scope:
        return self.scope if tenant is None else self.scope_of(tenant)

    def clear(self) -> None:
        """Remove what this alias stored, and nothing else on the server. ``RedisUnavailable`` when it is down."""
        pattern = pattern_of(self.key_func, self.key_prefix, self.version)
        everything = [self.scope.everything()]
        self.ask(self.entries.bump(everything), changed=everything)
        try:
            unlink_matching(self.client.get_client(write=True), pattern)
        except RedisError as error:
            self.tolerate(error, RAISE)

    async def aclear(self) -> None:
        pattern = pattern_of(self.key_func, self.key_prefix, self.version)
        everything = [self.scope.everything()]
        await self.aask(self.entries.bump(everything), changed=everything)
        try:
            await aunlink_matching(self.aclient(), pattern)
        except RedisError as error:
            self.tolerate(error, RAISE)

    def _void(self, version_keys: Collection[str]) -> None:
        if self._is_fenced():
            void_at_commit(version_keys)
        self.bump(version_keys)

    async def _avoid(self, version_keys: Collection[str]) -> None:
        if self._is_fenced():
            await avoid_at_commit(version_keys)
        await self.abump(version_keys)

    def _is_fenced(self) -> bool:
        """Whether commits put up their fences here."""
        try:
            return getattr(caches[config.CACHE_ALIAS], "state", None) is self.state
        except InvalidCacheBackendError:
            return False

    # For domains, decorators and lookups

    def bump(self, version_keys: Collection[str], *, is_strict: bool = True) -> None:
        """Bump the versions, or with Redis down remember to."""
        self.ask(self.entries.bump(version_keys), None, bumped=version_keys, is_strict=is_strict)

    async def abump(self, version_keys: Collection[str]) -> None:
        await self.aask(self.entries.bump(version_keys), None, bumped=version_keys)

    def bump_own(self, tenant: str | None, tags: Collection[str]) -> None:
        """Bump tags that are the tenant's alone: buckets of a domain or a function."""
        self._void(self.scope_of(tenant).bumped_by((), own=tags))

    async def abump_own(self, tenant: str | None, tags: Collection[str]) -> None:
        await self._avoid(self.scope_of(tenant).bumped_by((), own=tags))

    def look(self, address: Address) -> Found:
        """Its token is empty when Redis is down."""
        if (near := self.near_look(address)) is not None:
            return near
        began = perf_counter()
        found: Found = self.ask(self.entries.look(address), Found(MISSING, b""))
        self.state.counters.took(perf_counter() - began, address.domain, address.tenant)
        self.look_next_time(address, found)
        return found

    async def alook(self, address: Address) -> Found:
        if (near := self.near_look(address)) is not None:
            return near
        began = perf_counter()
        found: Found = await self.aask(self.entries.look(address), Found(MISSING, b""))
        self.state.counters.took(perf_counter() - began, address.domain, address.tenant)
        self.look_next_time(address, found)
        return found

    def put(
        self, address: Address, value: Any, timeout: Any, token: bytes | None = None,
        names: tuple[str, ...] | None = None, cost: float = 0, stale: float = 0, turn: Turn | None = None,
    ) -> bool:  # fmt: skip
        """Store under a token, or under the versions of now. ``cost`` and ``stale`` are seconds, see ``store``."""
        exchange = self.entries.store(address, value, self.seconds(timeout), token, names, cost, stale, turn)
        return bool(self.ask(exchange, False, deleted=[address.key]))

    async def aput(
        self, address: Address, value: Any, timeout: Any, token: bytes | None = None,
        names: tuple[str, ...] | None = None, cost: float = 0, stale: float = 0, turn: Turn | None = None,
    ) -> bool:  # fmt: skip
        await fetched(value)
        exchange = self.entries.store(address, value, self.seconds(timeout), token, names, cost, stale, turn)
        return bool(await self.aask(exchange, False, deleted=[address.key]))


def _voided(scope: Scope, names: tuple[str, ...] | None) -> Collection[str]:
    """The version keys of the tags in a scope; with None that of everything there."""
    return [scope.everything()] if names is None else scope.bumped_by(with_unnamed_rows(names))
