"""``@cached``: remember what a function returned for its arguments, until its tags move.

Promise: race-free as ``cache.lookup`` is. Sync functions stay sync, coroutine functions asynchronous all the way. An
exception is not cached; a None is. Round trips: 1 on a hit, 2 on a miss. Redis down: the function runs each time.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from bergizi_redis import keys
from bergizi_redis.cache.domains import bucket_of, tagged_cache
from bergizi_redis.cache.fingerprint import fingerprint
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.reading import Address
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.tenancy import current_tenant

P = ParamSpec("P")
R = TypeVar("R")


class Cached(Generic[P, R]):
    """A cached function. Call it as before; ``invalidate(…)`` takes the arguments of the call to forget."""

    def __init__(
        self, function: Callable[P, R], timeout: float, tags: Sequence[str], per_tenant: bool,
        key: Callable[P, object] | None, bound: tuple[Any, ...] = (),
    ) -> None:  # fmt: skip
        functools.update_wrapper(self, function)
        self.function = function
        self.timeout = timeout
        self.tags = tuple(tags)
        self.per_tenant = per_tenant
        self.key = key
        self.bound = bound
        self.name = f"fn.{function.__module__}.{function.__qualname__}"
        self.signature = inspect.signature(function)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method: the instance is its first argument, so its class must have a stable name (a saved model has)."""
        if instance is None:
            return self
        return type(self)(self.function, self.timeout, self.tags, self.per_tenant, self.key, (instance,))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lookup(*args, **kwargs) as entry:
            if entry.missed:
                entry.store(self.function(*self.bound, *args, **kwargs), self.timeout)
        value: R = entry.value
        return value

    def lookup(self, *args: Any, **kwargs: Any) -> Lookup:
        return Lookup(tagged_cache(), self.address(*args, **kwargs))

    def address(self, *args: Any, **kwargs: Any) -> Address:
        """Raises ``TenantRequired`` for a ``per_tenant`` function outside a tenant, ``CacheKeyError`` for odd arguments."""
        tenant = current_tenant() if self.per_tenant else None
        ident = self._ident(*args, **kwargs)
        tags = (self.name, *self.tags)
        versions = tagged_cache().scope_of(tenant).read_by(tags, bucket_of(self.name, ident))
        return Address(keys.cache_entry(tenant, self.name, ident), versions, self.name)

    def _ident(self, *args: Any, **kwargs: Any) -> str:
        if self.key is not None:
            return fingerprint(self.key(*self.bound, *args, **kwargs))
        call = self.signature.bind(*self.bound, *args, **kwargs)
        call.apply_defaults()
        return fingerprint(list(call.arguments.items()))

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget the result of this call (and at most 1/64 of the others); ``TypeError`` if the arguments do not fit."""
        tagged_cache().bump(self._bucket(*args, **kwargs))

    async def ainvalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        await tagged_cache().abump(self._bucket(*args, **kwargs))

    def _bucket(self, *args: Any, **kwargs: Any) -> set[str]:
        scope = tagged_cache().scope_of(current_tenant() if self.per_tenant else None)
        return scope.bumped_by((), own=[bucket_of(self.name, self._ident(*args, **kwargs))])

    def invalidate_all(self) -> None:
        """Forget every result: of the tenant in force, or of all where none is or the function is shared."""
        tagged_cache().invalidate_tags([self.name])

    async def ainvalidate_all(self) -> None:
        await tagged_cache().ainvalidate_tags([self.name])


class AsyncCached(Cached[P, R]):
    """A cached coroutine function."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:  # type: ignore[override]
        async with self.lookup(*args, **kwargs) as entry:
            if entry.missed:
                result: Any = self.function(*self.bound, *args, **kwargs)
                await entry.astore(await result, self.timeout)
        return entry.value


def cached(
    *, timeout: float, tags: Sequence[str] = (), per_tenant: bool = False, key: Callable[..., object] | None = None
) -> Callable[[Callable[P, R]], Cached[P, R]]:
    """Cache a function's results for ``timeout`` seconds, until one of ``tags`` is invalidated.

    ``per_tenant``: each tenant has results of its own. ``key(*args, **kwargs)`` names the call where its arguments have
    no stable name, such as a request. Raises ``ConfigurationError`` for a timeout that is not positive.
    """
    if isinstance(tags, str) or timeout <= 0:
        raise ConfigurationError(f"@cached(timeout={timeout!r}, tags={tags!r}): a positive timeout and a list of tags.")

    def decorate(function: Callable[P, R]) -> Cached[P, R]:
        if not iscoroutinefunction(function):
            return Cached(function, timeout, tags, per_tenant, key)
        wrapper = AsyncCached(function, timeout, tags, per_tenant, key)
        markcoroutinefunction(wrapper)
        return wrapper

    return decorate
