"""One computing at a time for each key inside a process: threads and tasks wait for the one that has begun.

Who boards first leads and computes; the others wait for what it lands: the encoded value, so that each decodes a copy
of its own, or nothing where it failed. A flight belongs to a key *and* the token of its tags' versions, so nobody is
given what was computed before an invalidation that they began after. Without a token (Redis down, a fence up) nobody
can tell that, so there one boards until the computing begins, and the next flight leaves after it: whatever the number
of readers, one computes and one more waits to.

Nobody waits for itself, over however many others (``leads_here``), nor for a task of the loop that its thread serves,
nor without end: a wait has a deadline, and who waits in vain computes. No round trips. Costs no lock: a step of a dict
is atomic, and losing one of the rarer races costs one computing more.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Waited
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from asgiref.sync import SyncToAsync

from bergizi_redis.cache.addresses import Address

leading: ContextVar[tuple["Flight", ...]] = ContextVar("bergizi_redis_leading", default=())


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Flight:
    """One computing. ``loop`` is that of the task that leads it, None where a thread does."""

    __slots__ = ("_landed", "key", "loop", "name", "waits_for")

    def __init__(self, address: Address, token: bytes) -> None:
        self.key = address.key
        self.name = (token, address)  # one key with other tags is another matter
        self.loop = running_loop()
        self.waits_for: set[Flight] = set()
        self._landed: Future[bytes | None] = Future()
        self._landed.set_running_or_notify_cancel()  # or a task that gives up waiting would cancel it for all

    @property
    def is_over(self) -> bool:
        return self._landed.done()

    def land(self, payload: bytes | None) -> None:
        """Give those who wait the encoded value, or None: they must see for themselves."""
        if not self._landed.done():
            self._landed.set_result(payload)

    def wait(self, seconds: float) -> bytes | None:
        with _waiting_for(self) as is_vain:
            try:
                return None if is_vain else self._landed.result(seconds)
            except Waited:
                return None

    async def awaiting(self, seconds: float) -> bytes | None:
        with _waiting_for(self) as is_vain:
            if is_vain:
                return None
            try:
                async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may swallow a cancellation
                    return await asyncio.wrap_future(self._landed)
            except TimeoutError:
                return None

    def leads_here(self) -> bool:
        """Whether it waits, itself or over others, for what this thread or task computes now."""
        mine = leading.get()
        if not mine:
            return False
        seen: set[Flight] = set()
        ahead = [self]
        while ahead:
            flight = ahead.pop()
            if flight in mine:
                return True
            if flight not in seen:
                seen.add(flight)
                ahead.extend(tuple(flight.waits_for))
        return False

    def needs_this_thread(self) -> bool:
        """Whether it is a task's whose loop runs here, or waits for what ``sync_to_async`` runs here."""
        if self.loop is None:
            return False
        return self.loop in (running_loop(), getattr(SyncToAsync.threadlocal, "main_event_loop", None))


@contextmanager
def _waiting_for(flight: Flight) -> Iterator[bool]:
    """True where it came to wait for this thread or task in the same moment: who notes it and then looks sees that."""
    mine = leading.get()
    for own in mine:
        own.waits_for.add(flight)
    try:
        yield flight.leads_here()
    finally:
        for own in mine:
            own.waits_for.discard(flight)


class Flights:
    """Those of a process, for one alias. A child forked while some are under way begins without them."""

    def __init__(self) -> None:
        self._boarding: dict[tuple[bytes, Address], Flight] = {}
        self._under_way: dict[str, Flight] = {}
        self._pid = os.getpid()

    def board(self, address: Address, token: bytes) -> tuple[Flight, bool]:
        """The flight to wait for, and whether it is this caller's to lead: then it must ``end``."""
        if self._pid != os.getpid():
            self._boarding, self._under_way, self._pid = {}, {}, os.getpid()
        mine = Flight(address, token)
        flight = self._boarding.setdefault(mine.name, mine)
        if flight is mine:
            leading.set((*(one for one in leading.get() if not one.is_over), mine))
            if token:
                self._under_way[mine.key] = mine
        return flight, flight is mine

    def before(self, flight: Flight) -> Flight | None:
        """The flight under way that has to end before this one, without a token, may leave."""
        return self._under_way.get(flight.key)

    def depart(self, flight: Flight) -> None:
        """Let nobody board any more: it computes from here on."""
        self._under_way[flight.key] = flight
        self._forget(flight)

    def _forget(self, flight: Flight) -> None:
        if self._boarding.get(flight.name) is flight:
            self._boarding.pop(flight.name, None)

    def end(self, flight: Flight, payload: bytes | None) -> None:
        self.desert(flight)
        leading.set(tuple(one for one in leading.get() if one is not flight))
        flight.land(payload)

    def desert(self, flight: Flight) -> None:
        """Nobody is to wait for it any more: it has ended, or was waited for in vain."""
        self._forget(flight)
        if self._under_way.get(flight.key) is flight:
            self._under_way.pop(flight.key, None)


@dataclass(frozen=True, slots=True)
class Pause:
    """A step that waits: for the flight, if there is one, but ``seconds`` at most."""

    seconds: float
    flight: Flight | None = None

    def here(self) -> bytes | None:
        if self.flight is not None:
            return self.flight.wait(self.seconds)
        time.sleep(self.seconds)
        return None

    async def awaiting(self) -> bytes | None:
        if self.flight is not None:
            return await self.flight.awaiting(self.seconds)
        await asyncio.sleep(self.seconds)
        return None
