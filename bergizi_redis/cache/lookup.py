# ruff: noqa: ASYNC109 – Django's signatures
"""The race-free read – compute – store, spelled out.

The versions of the tags are read before the value is computed and stored with it: if one of them moves meanwhile, what
is stored is dead from birth. Round trips: 1 to look, 1 to store.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.reading import MISSING


class Entries(Protocol):
    """What a lookup asks of the cache behind it."""

    def look(self, address: Address) -> tuple[Any, bytes]: ...
    async def alook(self, address: Address) -> tuple[Any, bytes]: ...
    def put(
        self,
        address: Address,
        value: Any,
        timeout: Any,
        token: bytes | None,
        names: tuple[str, ...] | None,
        cost: float,
    ) -> bool: ...
    async def aput(
        self,
        address: Address,
        value: Any,
        timeout: Any,
        token: bytes | None,
        names: tuple[str, ...] | None,
        cost: float,
    ) -> bool: ...


class Lookup:
    """``with cache.lookup("k", tags=["menus"]) as entry:``, or ``async with`` and ``await entry.astore(…)``.

    ``missed`` tells whether to compute; ``value`` is what was found, or what was stored since. When Redis is down every
    lookup misses and nothing is stored.
    """

    def __init__(self, cache: Entries, address: Address, names: Sequence[str] | None = None) -> None:
        self._cache = cache
        self.address = address
        self._names = None if names is None else tuple(names)
        self._token = b""
        self._began = 0.0
        self.missed = True
        self.value: Any = None

    def _arrive(self, found: Any, token: bytes) -> "Lookup":
        self.missed = found is MISSING
        self.value = None if self.missed else found
        self._token = token
        self._began = time.perf_counter()
        return self

    def __enter__(self) -> "Lookup":
        return self._arrive(*self._cache.look(self.address))

    async def __aenter__(self) -> "Lookup":
        return self._arrive(*await self._cache.alook(self.address))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing to undo: a value that was not stored is simply missing."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """As above."""

    def store(self, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        """Store the computed value for ``timeout`` seconds; False when Redis is down."""
        self.value = value
        return bool(self._token) and self._cache.put(self.address, value, timeout, self._token, self._names, self._cost)

    async def astore(self, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        self.value = value
        return bool(self._token) and await self._cache.aput(
            self.address, value, timeout, self._token, self._names, self._cost
        )

    @property
    def _cost(self) -> float:
        return time.perf_counter() - self._began
