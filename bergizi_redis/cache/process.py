"""What a process knows about an alias, shared by its threads and loops (Django makes a backend object for each).

* ``hints``: which version keys an entry was found or stored with, so that the next read takes entry and versions in one
  round trip. Only a guess: the entry's own names decide.
* ``unsent``: what an outage kept from being sent, see ``unsent.py``.
* ``flights``: what its threads and tasks compute now, see ``flights.py``.
* ``near``: the entries kept here, of aliases with ``NEAR_CACHE``, see ``near/shelf.py``.
* ``counters``: what ``cache.stats()`` shows; ``sender`` adds it to the fleet's, see ``fleet.py``.
"""

import os
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from bergizi_redis.cache.counters import Counters
from bergizi_redis.cache.fleet import Sender
from bergizi_redis.cache.flights import Flights
from bergizi_redis.cache.near.shelf import NearShelf
from bergizi_redis.cache.unsent import Unsent

HINTS = 16_384  # about 3 MB when full
LOG_EVERY = 10.0  # seconds between two log lines about one outage


@dataclass(slots=True)
class ProcessState:
    hints: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsent: Unsent = field(default_factory=Unsent)
    flights: Flights = field(default_factory=Flights)
    counters: Counters = field(default_factory=Counters)
    sender: Sender = field(init=False)
    near: NearShelf | None = None
    logged: float = -LOG_EVERY
    outages: int = 0  # commands that an outage has cost so far

    def __post_init__(self) -> None:
        self.sender = Sender(self.counters)

    def worth_logging(self) -> bool:
        """Whether the last line about an outage is long enough ago: a dead server must not flood the log."""
        now = time.monotonic()
        if now - self.logged < LOG_EVERY:
            return False
        self.logged = now
        return True

    def forget(self, names: Collection[str]) -> None:
        """This process has changed these keys, or may have: the near cache does not wait to be told."""
        if self.near is not None and names:
            self.near.forget(names)

    def hint(self, key: str, version_keys: tuple[str, ...]) -> None:
        if len(self.hints) >= HINTS:
            self.hints.clear()  # refilled at one extra round trip a key; cheaper than keeping an order
        self.hints[key] = version_keys


_states: dict[tuple[str, str], ProcessState] = {}
_lock = threading.Lock()


def state_of(server: object, namespace: str) -> ProcessState:
    """The state for what one alias stores: aliases with one server and one KEY_PREFIX share their keys, so this too."""
    with _lock:
        name = (repr(server), namespace)
        if name not in _states:
            _states[name] = ProcessState()
        return _states[name]


def outages() -> int:
    """Commands that outages have cost this process so far, of all aliases."""
    with _lock:
        return sum(state.outages for state in _states.values())


def _begin_anew() -> None:
    """In a forked child: what was counted so far is the parent's."""
    global _lock
    _lock = threading.Lock()
    for state in _states.values():
        state.counters.forget()
        state.sender = Sender(state.counters)


os.register_at_fork(after_in_child=_begin_anew)
