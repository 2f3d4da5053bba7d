# ruff: noqa: ASYNC109 – Django's signatures
"""Django's asynchronous cache methods, native: no thread, one client for each event loop."""

from collections.abc import Iterable, Mapping, Sequence
from inspect import isawaitable
from time import perf_counter
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.db.models import QuerySet

from bergizi_redis.cache.alias import moved_to
from bergizi_redis.cache.nearby import NearMethods
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.tags import tag_names
from bergizi_redis.cache.writing import is_over


async def fetched(value: Any) -> None:
    """Fetch the rows of a lazy queryset in a thread: pickling it would ask the database from the event loop."""
    if isinstance(value, QuerySet):
        await sync_to_async(len)(value)


async def called(default: Any) -> Any:
    """The value that ``default`` is, returns, or returns when awaited."""
    value = default() if callable(default) else default
    return await value if isawaitable(value) else value


class AwaitingMethods(NearMethods):
    """The twins of ``BlockingMethods``."""

    async def aget(self, key: str, default: Any = None, version: int | None = None, *, strict: bool = False) -> Any:
        name = self.made(key, version)
        if self.near is not None and not strict:
            found = self.near_value(name)
            if found is not MISSING:
                return found
        began, scope = perf_counter(), self.scope
        found = await self.aask(self.entries.get(name, scope), MISSING)
        self.state.counters.took(perf_counter() - began, "", scope.tenant or "")
        if found is MISSING:
            return default
        if self.near is not None:
            self.near_next_time(name)
        return found

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        names = {self.made(key, version): key for key in keys}
        found = await self.aask(self.entries.get_many(list(names), self.scope), {}) if names else {}
        return {names[name]: value for name, value in found.items()}

    async def ahas_key(self, key: str, version: int | None = None) -> bool:
        return bool(await self.aask(self.entries.holds(self.made(key, version), self.scope), False))

    async def aset(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, nx: bool = False,
        xx: bool = False, *, tags: Sequence[str] | None = None,
    ) -> bool:  # fmt: skip
        name = self.made(key, version)
        await fetched(value)
        exchange = self.entries.set(name, value, self.seconds(timeout), self.scope, tag_names(tags), nx, xx)
        return bool(await self.aask(exchange, False, deleted=[name]))

    async def aadd(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None,
        *, tags: Sequence[str] | None = None,
    ) -> bool:  # fmt: skip
        name = self.made(key, version)
        await fetched(value)
        exchange = self.entries.add(name, value, self.seconds(timeout), self.scope, tag_names(tags))
        return bool(await self.aask(exchange, False, changed=[name]))

    async def aset_many(
        self, data: Mapping[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None,
        *, tags: Sequence[str] | None = None,
    ) -> list[str]:  # fmt: skip
        for value in data.values():
            await fetched(value)
        named = {self.made(key, version): value for key, value in data.items()}
        exchange = self.entries.set_many(named, self.seconds(timeout), self.scope, tag_names(tags))
        return list(data) if await self.aask(exchange, MISSING, deleted=named) is MISSING else []

    async def adelete(self, key: str, version: int | None = None) -> bool:
        name = self.made(key, version)
        return bool(await self.aask(self.entries.delete([name]), False, deleted=[name]))

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> int | None:
        names = [self.made(key, version) for key in keys]
        return int(await self.aask(self.entries.delete(names), 0, deleted=names)) if names else None

    async def atouch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        name, seconds = self.made(key, version), self.seconds(timeout)
        exchange = self.entries.touch(name, seconds, self.scope)
        return bool(await self.aask(exchange, False, deleted=[name] if is_over(seconds) else (), changed=[name]))

    async def aincr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        name = self.made(key, version)
        number: int = await self.aask(self.entries.incr(name, delta, self.scope), changed=[name])
        return number

    async def adecr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return await self.aincr(key, -delta, version)

    async def aincr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        version = self.version if version is None else version
        names = self.made(key, version), self.made(key, version + delta)
        return moved_to(key, await self.aask(self.entries.move(*names, self.scope), changed=names), version + delta)

    async def adecr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return await self.aincr_version(key, -delta, version)
