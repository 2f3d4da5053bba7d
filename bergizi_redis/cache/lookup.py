# ruff: noqa: ASYNC109 – Django's signatures
"""The race-free read – compute – store, spelled out.

The versions of the tags are read before the value is computed and stored with it: if one of them moves meanwhile, what
is stored is dead from birth. Of many that miss at one time one computes and the others are given its value, see
``herd.py``. Round trips: a hit 1; a miss 3: to look, to take the lease, to store; without ``herd`` 2.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from redis.exceptions import RedisError

from bergizi_redis import points
from bergizi_redis.cache import leases
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.awaiting import fetched
from bergizi_redis.cache.crowds import look_together
from bergizi_redis.cache.flights import Pause
from bergizi_redis.cache.herd import Herd
from bergizi_redis.cache.leases import Turn
from bergizi_redis.cache.reading import MISSING, Found
from bergizi_redis.cache.transactions import amay_store, may_store
from bergizi_redis.cache.writing import Writing
from bergizi_redis.exchange import Exchange


class Entries(Protocol):
    """What a lookup asks of the cache behind it."""

    @property
    def entries(self) -> Writing: ...
    def ask(self, exchange: Exchange[Any], otherwise: Any) -> Any: ...
    async def aask(self, exchange: Exchange[Any], otherwise: Any) -> Any: ...
    def look(self, address: Address) -> Found: ...
    async def alook(self, address: Address) -> Found: ...
    def put(
        self, address: Address, value: Any, timeout: Any, token: bytes | None, names: tuple[str, ...] | None,
        cost: float, stale: float, turn: Turn | None,
    ) -> bool: ...  # fmt: skip
    async def aput(
        self, address: Address, value: Any, timeout: Any, token: bytes | None, names: tuple[str, ...] | None,
        cost: float, stale: float, turn: Turn | None,
    ) -> bool: ...  # fmt: skip


class Lookup:
    """``with cache.lookup("k", tags=["menus"]) as entry:``, or ``async with`` and ``await entry.astore(…)``.

    ``missed`` tells whether to compute; ``value`` is what was found, or what was stored since. When Redis is down every
    lookup misses and nothing is stored. A block that may compute nothing should be left soon: others may wait for it.

    ``stale``: for how many seconds beyond its timeout a stored value may be served while one computes it anew – never
    across an invalidation. Without ``herd`` every reader that misses computes.
    """

    def __init__(
        self, cache: Entries, address: Address, names: Sequence[str] | None = None, stale: float = 0, herd: bool = True
    ) -> None:
        self._cache = cache
        self.address = address
        self._names = None if names is None else tuple(names)
        self._stale = stale
        self._herd = herd
        self._turn: Turn | None = None
        self._token = b""
        self._began = 0.0
        self.missed = True
        self.value: Any = None

    def __enter__(self) -> "Lookup":
        found = self._cache.look(self.address)
        if self._is_settled(found):
            self._arrive(found.value, None, found.token)
        else:
            herd = Herd(self._cache.entries, self.address, found, blocking=True)
            self._arrive(self._led(herd), herd.turn)
        if points.hold is not None and self.missed:
            points.hold("before_compute")
        return self

    async def __aenter__(self) -> "Lookup":
        found = await self._looked()
        if self._is_settled(found):
            self._arrive(found.value, None, found.token)
        else:
            herd = Herd(self._cache.entries, self.address, found, blocking=False)
            self._arrive(await self._aled(herd), herd.turn)
        if points.hold is not None and self.missed:
            await points.hold.awaiting("before_compute")
        return self

    async def _looked(self) -> Found:
        if not self._herd:
            return await self._cache.alook(self.address)
        return await look_together(self._cache.entries, self.address, lambda: self._cache.alook(self.address))

    def _is_settled(self, found: Found) -> bool:
        return not self._herd or (found.value is not MISSING and not found.due)

    def _arrive(self, value: Any, turn: Turn | None, token: bytes = b"") -> None:
        self.missed = value is MISSING
        self.value = None if self.missed else value
        self._turn = turn if self.missed else None
        self._token = token if turn is None else turn.token
        self._began = time.perf_counter()

    def _led(self, herd: Herd) -> Any:
        """Go the herd's steps, blocking."""
        steps = herd.steps()
        reply = None
        try:
            while True:
                step = steps.send(reply)
                reply = step.here() if isinstance(step, Pause) else self._cache.ask(step, None)
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    async def _aled(self, herd: Herd) -> Any:
        steps = herd.steps()
        reply = None
        try:
            while True:
                step = steps.send(reply)
                reply = await (step.awaiting() if isinstance(step, Pause) else self._cache.aask(step, None))
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Whoever waits for a value that was not stored is told to see for itself."""
        if (turn := self._turn) is not None:
            try:
                if turn.lease:
                    with suppress(RedisError):  # it runs out by itself
                        self._cache.ask(leases.release(turn), None)
            finally:
                self._land()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if (turn := self._turn) is not None:
            try:
                if turn.lease:
                    with suppress(RedisError):
                        await self._cache.aask(leases.release(turn), None)
            finally:
                self._land()

    @property
    def cache(self) -> Entries:
        return self._cache

    @property
    def token(self) -> bytes:
        """Digest of the versions that the value was found, or is to be stored, under."""
        return self._token

    def store(self, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        """Store the computed value for ``timeout`` seconds.

        False when it was not: Redis is down, a transaction forbids it, or the lease was voided by an invalidation.
        """
        self.value = value
        if not self._token:
            points.reach("before_store")
            self._share(may_store(self.address.version_keys))
            return False
        stored = self._cache.put(
            self.address, value, timeout, self._token, self._names, self._cost, self._stale, self._turn
        )
        self._settle()
        return stored

    async def astore(self, value: Any, timeout: Any = DEFAULT_TIMEOUT) -> bool:
        self.value = value
        if not self._token:
            await fetched(value)
            await points.awaiting("before_store")
            self._share(await amay_store(self.address.version_keys))
            return False
        stored = await self._cache.aput(
            self.address, value, timeout, self._token, self._names, self._cost, self._stale, self._turn
        )
        self._settle()
        return stored

    def _share(self, may: bool) -> None:
        """What cannot be stored serves those of this process who wait for it, if it can be encoded."""
        if self._turn is not None and self._turn.flight is not None and may:
            with suppress(Exception):  # a serializer may raise anything
                self._turn.payload = self._cache.entries.payload(self.value)
        self._settle()

    def _settle(self) -> None:
        if self._turn is not None and self._turn.payload is not None:
            self._land()

    def _land(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and turn.flight is not None:
            self._cache.entries.state.flights.end(turn.flight, turn.payload)

    @property
    def _cost(self) -> float:
        return time.perf_counter() - self._began
