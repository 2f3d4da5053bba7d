"""Who computes an entry that is missing or due, and what the others do meanwhile: told once for sync and async.

Promise: of any number of readers that miss one entry at one time – threads, tasks, processes – one computes; the others
get its value, unless it fails, or is invalidated after it began and before they did. Nobody waits without end, and
nobody is given what was computed before an invalidation that it came after. Who reads inside of a transaction whose
values may not be stored computes for itself and shares nothing.

Round trips, the look before included: 3 for who computes (look, lease, store), 1 for who waits for a thread or task of
its process, 1 more each time (5 ms, then up to 0.1 s apart) for the one of each process that waits for another process.
Redis down: no leases; in each process one computes at a time.

The steps are a generator: it yields a ``Pause`` to be waited for, or an exchange to be asked of the server, whose reply
is None when Redis is down.
"""

import time
from collections.abc import Generator
from typing import Any

from bergizi_redis.budget import clipped
from bergizi_redis.cache import leases
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.envelope import unpack
from bergizi_redis.cache.flights import Flight, Pause, running_loop
from bergizi_redis.cache.leases import COME, TAKEN, TOKEN, Turn
from bergizi_redis.cache.reading import MISSING, Found
from bergizi_redis.cache.refresh import lease_life, patience
from bergizi_redis.cache.transactions import asked
from bergizi_redis.cache.writing import Writing
from bergizi_redis.exchange import Exchange

Step = Pause | Exchange[Any]
Steps = Generator[Step, Any, Any]

ATTEMPTS = 3  # flights to wait for or to lead, before computing without
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.005, 0.1, 1.6  # seconds between two looks at another process's lease

AGAIN = object()


class Herd:
    """One reader's way from what it found to a value, or to its turn to compute (``turn``; the value is ``MISSING``).

    ``blocking`` says that waiting would block the thread: where a loop runs in it, it does not wait.
    """

    def __init__(self, entries: Writing, address: Address, found: Found, blocking: bool) -> None:
        self._entries = entries
        self._flights = entries.state.flights
        self._found = found
        self._blocking = blocking
        self._may_wait = not blocking or running_loop() is None
        self._life = lease_life(found.cost)
        for_lease, for_flight = patience(found.cost)
        began = time.monotonic()
        self._lease_until = began + (clipped(for_lease) or 0)
        self._flight_until = began + (clipped(for_flight) or 0)
        self._void = b""
        self.turn = Turn(address, found.token, found.seen, lease_key=leases.key_for(address, entries.clustered))

    def steps(self) -> Steps:
        if not (yield asked(self.turn.address.version_keys)):
            return self._found.value
        if self._found.value is not MISSING:
            return (yield from self._refresh())
        for _ in range(ATTEMPTS):
            flight, is_mine = self._flights.board(self.turn.address, self.turn.token)
            value = yield from self._lead(flight) if is_mine else self._follow(flight)
            if value is not AGAIN:
                return value
            if (found := (yield self._entries.look(self.turn.address))) is None:
                found = Found(MISSING, b"")
            if found.value is not MISSING:
                return found.value
            self.turn.token, self.turn.seen = found.token, found.seen
        return MISSING

    def _refresh(self) -> Steps:
        """The value, which still serves, unless this reader is the one to compute it anew."""
        flight, is_mine = self._flights.board(self.turn.address, self.turn.token)
        if not is_mine:
            return self._found.value
        reply = None
        try:
            if self.turn.lease_key:
                reply = yield leases.take(self.turn, self._life)
        finally:
            if reply is None or reply[0] != TAKEN:
                self._flights.end(flight, None)
        if reply is not None and reply[0] == TAKEN:
            self.turn.flight, self.turn.lease, self.turn.is_refresh = flight, self.turn.claim(), True
            return MISSING
        value = self._opened(reply[1])[1] if reply is not None and reply[0] == COME else MISSING
        return self._found.value if value is MISSING else value

    def _follow(self, flight: Flight) -> Steps:
        """What the flight lands; ``AGAIN`` where it failed, ``MISSING`` where it cannot be waited for."""
        left = self._flight_until - time.monotonic()
        if not self._may_wait or left <= 0 or flight.leads_here() or self._needs_this_thread(flight):
            return MISSING
        payload = yield Pause(left, flight)
        if payload is None:
            if flight.is_over:
                return AGAIN
            self._flights.desert(flight)
            return MISSING
        value = self._entries.decoded(payload)
        return MISSING if value is MISSING else value

    def _lead(self, flight: Flight) -> Steps:
        payload = None
        value: Any = AGAIN
        try:
            if not self.turn.token:
                payload, value = yield from self._depart(flight)
            elif not self.turn.lease_key:
                value = MISSING
            else:
                payload, value = yield from self._take()
        finally:
            if value is MISSING:
                self.turn.flight = flight
            else:
                self._flights.end(flight, payload)
        return value

    def _depart(self, flight: Flight) -> Generator[Step, Any, tuple[bytes | None, Any]]:
        """Without a token nobody can tell what was computed since: wait for the one that computes, then look or begin.

        The look serves all who have boarded. It was perhaps only this process that was too busy to be answered.
        """
        before = self._flights.before(flight)
        left = self._flight_until - time.monotonic()
        waits = before is not None and self._may_wait and left > 0
        if before is None or not waits or before.leads_here() or self._needs_this_thread(before):
            self._flights.depart(flight)
            return None, MISSING
        yield Pause(left, before)
        self._flights.depart(flight)
        found = yield self._entries.look(self.turn.address)
        if found is not None and found.value is not MISSING:
            return self._entries.payload(found.value), found.value
        if found is not None:
            self.turn.token, self.turn.seen = found.token, found.seen
        return None, MISSING

    def _take(self) -> Generator[Step, Any, tuple[bytes | None, Any]]:
        """(encoded, value) of what another process has computed; ``MISSING`` when it is this one's turn.

        ``AGAIN`` where the lease is another token's: one of the two is void, and a new look tells which.
        """
        pause = FIRST_PAUSE
        while True:
            reply = yield leases.take(self.turn, self._life, self._replaceable())
            if reply is None:
                return None, MISSING
            state, data = reply
            if state == TAKEN:
                self.turn.lease = self.turn.claim()
                return None, MISSING
            if state == COME:
                return self._opened(data)
            if data == self.turn.claim():  # this process could not give it back
                self._void = data
                continue
            if data[:TOKEN] != self.turn.token:
                self._void = data
                return None, AGAIN
            left = self._lease_until - time.monotonic()
            if not self._may_wait or left <= 0:
                return None, MISSING
            yield Pause(min(pause, left))
            pause = min(pause * GROWTH, LONGEST_PAUSE)

    def _replaceable(self) -> bytes:
        """The lease that was met, where it is void: this process's own, or one that the look after it outdated."""
        own = self._void == self.turn.claim()
        return self._void if own or self._void[:TOKEN] != self.turn.token else b""

    def _opened(self, data: bytes) -> tuple[bytes | None, Any]:
        envelope = unpack(data)
        value = MISSING if envelope is None else self._entries.decoded(envelope.payload)
        return (None, MISSING) if envelope is None or value is MISSING else (envelope.payload, value)

    def _needs_this_thread(self, flight: Flight) -> bool:
        return self._blocking and flight.needs_this_thread()
