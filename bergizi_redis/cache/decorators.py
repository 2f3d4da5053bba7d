"""``@cached``: remember what a function returned for its arguments, until its tags move.

Promise: race-free as ``cache.lookup`` is. Sync functions stay sync, coroutine functions asynchronous all the way. An
exception is not cached; a None is. Round trips: 1 on a hit, 3 on a miss. Redis down: the function runs each time.

Results are kept under the function's module and qualified name, so two functions that share both share them: of
functions made inside another one, cache those whose result depends on the arguments alone.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from bergizi_redis.cache.addresses import Address, address_of, bucket_of
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import checked_life, checked_stale, tagged_cache
from bergizi_redis.cache.explain import Explanation
from bergizi_redis.cache.fingerprint import fingerprint
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.reading import Found
from bergizi_redis.cache.verify import averify, is_sampled, verify
from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.tenancy import current_tenant, find_tenant

P = ParamSpec("P")
R = TypeVar("R")

# Types whose equal values are one: of these a call's name is remembered, which costs a tenth of making it. A float is
# not: 0.0 equals -0.0.
REMEMBERED = (str, bytes, int, bool, type(None))


def is_remembered(value: object) -> bool:
    return type(value) in REMEMBERED and not (isinstance(value, str | bytes) and len(value) > 120)


def near_at_once(cache: TaggedRedisCache, address: Address) -> Found | None:
    """A near hit without a lookup around it, which costs as much as the hit; none where hits may be verified."""
    return None if config.VERIFY_SAMPLE else cache.near_look(address)


class Cached(Generic[P, R]):
    """A cached function. Call it as before; ``invalidate(…)`` takes the arguments of the call to forget."""

    def __init__(
        self, function: Callable[P, R], timeout: float, tags: tuple[str, ...], per_tenant: bool,
        key: Callable[..., object] | None, stale: float = 0, herd: bool = True, strict: bool = False,
    ) -> None:  # fmt: skip
        functools.update_wrapper(self, function)
        self.function = function
        self.timeout = timeout
        self.tags = tags
        self.per_tenant = per_tenant
        self.key = key
        self.stale = stale
        self.herd = herd
        self.strict = strict
        self.bound: tuple[Any, ...] = ()
        self.name = name_of(function)
        self.signature = inspect.signature(function)
        self._idents: dict[tuple[Any, ...], str] = {}

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method: the instance is its first argument, so it must have a stable name (a saved model has)."""
        if instance is None:
            return self
        method = object.__new__(type(self))
        vars(method).update(vars(self), bound=(instance,))
        return method

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        cache, address = self._place(*args, **kwargs)
        if (near := near_at_once(cache, address)) is not None:
            found: R = near.value
            return found
        with self._lookup(cache, address) as entry:
            if entry.missed:
                entry.store(self.function(*self.bound, *args, **kwargs), self.timeout)
            elif is_sampled():
                verify(entry, lambda: self.function(*self.bound, *args, **kwargs))
        value: R = entry.value
        return value

    def lookup(self, *args: Any, **kwargs: Any) -> Lookup:
        """``TenantRequired`` for a ``per_tenant`` function outside a tenant, ``CacheKeyError`` for odd arguments."""
        return self._lookup(*self._place(*args, **kwargs))

    def _place(self, *args: Any, **kwargs: Any) -> tuple[TaggedRedisCache, Address]:
        cache = tagged_cache()
        ident = self._ident(*args, **kwargs)
        return cache, address_of(cache.key_prefix, self._tenant(), self.name, "", ident, self.tags, strict=self.strict)

    def _lookup(self, cache: TaggedRedisCache, address: Address) -> Lookup:
        return Lookup(cache, address, stale=self.stale, herd=self.herd)

    def address(self, *args: Any, **kwargs: Any) -> Address:
        """Where the result of this call lies."""
        return self._place(*args, **kwargs)[1]

    def _ident(self, *args: Any, **kwargs: Any) -> str:
        if self.key is not None:
            return fingerprint(self.key(*self.bound, *args, **kwargs))
        given = (*self.bound, *args)
        # Types before values: what is not remembered is never compared with what is.
        call = (*map(type, given), *map(type, kwargs.values()), *given, *kwargs.items())
        try:
            return self._idents[call]
        except (KeyError, TypeError):
            ident = self._ident_of(given, kwargs)
        if all(is_remembered(value) for value in (*given, *kwargs.values())):
            if len(self._idents) >= 1024:
                self._idents.clear()
            self._idents[call] = ident
        return ident

    def _ident_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        call = self.signature.bind(*args, **kwargs)
        call.apply_defaults()
        return fingerprint(list(call.arguments.items()))

    def _tenant(self) -> str | None:
        return current_tenant() if self.per_tenant else None

    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """Why this call hits or misses: print it. ``RedisUnavailable`` when Redis is down."""
        return tagged_cache().explain_entry(self.address(*args, **kwargs))

    async def aexplain(self, *args: Any, **kwargs: Any) -> Explanation:
        return await tagged_cache().aexplain_entry(self.address(*args, **kwargs))

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result of this call (and 1/64 of the others); ``TypeError`` if the arguments do not fit."""
        tagged_cache().bump_own(self._tenant(), [bucket_of(self.name, self._ident(*args, **kwargs))])

    async def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        await tagged_cache().abump_own(self._tenant(), [bucket_of(self.name, self._ident(*args, **kwargs))])

    def invalidate_all(self) -> None:
        """Forget every result: of a ``per_tenant`` function those of the tenant in force, of all where none is."""
        tagged_cache().invalidate_tags([self.name], tenant=find_tenant() if self.per_tenant else None)

    async def ainvalidate_all(self) -> None:
        await tagged_cache().ainvalidate_tags([self.name], tenant=find_tenant() if self.per_tenant else None)


class AsyncCached(Cached[P, R]):
    """A cached coroutine function."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:  # type: ignore[override]
        cache, address = self._place(*args, **kwargs)
        if (near := near_at_once(cache, address)) is not None:
            return near.value
        async with self._lookup(cache, address) as entry:
            if entry.missed:
                result: Any = self.function(*self.bound, *args, **kwargs)
                await entry.astore(await result, self.timeout)
            elif is_sampled():
                await averify(entry, lambda: self.function(*self.bound, *args, **kwargs))
        return entry.value


def cached(
    *, timeout: float, tags: Sequence[str] = (), per_tenant: bool = False, key: Callable[..., object] | None = None,
    stale: float = 0, herd: bool = True, strict: bool = False,
) -> Callable[[Callable[P, R]], Cached[P, R]]:  # fmt: skip
    """Cache a function's results for ``timeout`` seconds, until one of ``tags`` is invalidated.

    ``per_tenant``: each tenant has results of its own. ``key(*args, **kwargs)`` names the call where its arguments have
    no stable name, such as a request. For ``stale`` seconds beyond the timeout a result may still be served while one
    computes it anew – never across an invalidation. Of many that call at once one computes; each for itself without
    ``herd``. ``strict``: no result comes from the near cache. Raises ``ConfigurationError`` for a timeout that is not
    positive.
    """
    names = checked_life("@cached", timeout, tags)
    checked_stale("@cached", stale)

    def decorate(function: Callable[P, R]) -> Cached[P, R]:
        if not hasattr(function, "__call__") or not hasattr(function, "__qualname__"):  # noqa: B004 – mypy knows that it is
            raise ConfigurationError(
                f"@cached: {function!r} is no function; put @cached under @classmethod, over a def."
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"@cached: {name_of(function)} is a generator; return a list of what it yields.")
        if not iscoroutinefunction(function):
            return Cached(function, timeout, names, per_tenant, key, stale, herd, strict)
        wrapper: Any = AsyncCached(function, timeout, names, per_tenant, key, stale, herd, strict)
        markcoroutinefunction(wrapper)
        decorated: Cached[P, R] = wrapper
        return decorated

    return decorate


def name_of(function: Callable[..., Any]) -> str:
    """What the results are kept under; lambdas of one module are told apart by their lines."""
    name = f"fn.{function.__module__}.{function.__qualname__}"
    return f"{name}:{function.__code__.co_firstlineno}" if function.__name__ == "<lambda>" else name
