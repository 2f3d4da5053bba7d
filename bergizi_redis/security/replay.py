"""What this process counted by itself while Redis was away, and owes it.

Promise: each failure is added once, however many threads and tasks find out at the same time that Redis is back, and
however often the answer gets lost: what is owed has a name, which Redis remembers. An account's own debt is paid before
its next attempt is counted, so an outage's end allows nothing that the outage's failures used up; those of others are
paid a few at a time. Bounded: beyond ``CAPACITY`` accounts the oldest debts are dropped. Owed by each process for
itself, and lost with it. Only accounts are replayed: networks were counted by this process too, and begin afresh.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from bergizi_redis import lockoutkeys
from bergizi_redis.security import counters
from bergizi_redis.security.account import Account, Limits, in_ms, new_generation
from bergizi_redis.security.steps import RunScript, Steps

CAPACITY = 10_000  # accounts
AT_ONCE = 10  # accounts of others that an attempt pays for: so many round trips, once an outage
NONCE_MS = in_ms(24 * 3600)


@dataclass(slots=True)
class Owed:
    """``is_sent``: it may have been added, so it holds what it holds."""

    account: Account
    failures: int = 0
    nonce: str = field(default_factory=new_generation)
    is_sent: bool = False


class Ledger:
    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._owed: OrderedDict[str, list[Owed]] = OrderedDict()
        self._lock = threading.Lock()

    def owe(self, account: Account) -> None:
        """One failure more."""
        with self._lock:
            entries = self._owed.setdefault(account.local, [])
            if not entries or entries[-1].is_sent:
                entries.append(Owed(account))
            entries[-1].failures += 1
            while len(self._owed) > self.capacity:
                self._owed.popitem(last=False)
                counters.add("replay.dropped")

    def forgive(self, account: Account) -> None:
        """A success of this process: its failures count no more."""
        with self._lock:
            self._owed.pop(account.local, None)

    def of(self, account: Account) -> Sequence[Owed]:
        """What this account owes, to be sent."""
        return self._sent([account.local]) if self._owed else ()

    def some(self) -> Sequence[Owed]:
        return self._sent(list(self._owed)[:AT_ONCE]) if self._owed else ()

    def _sent(self, tags: Sequence[str]) -> Sequence[Owed]:
        with self._lock:
            entries = [entry for tag in tags for entry in self._owed.get(tag, ())]
            for entry in entries:
                entry.is_sent = True
            return entries

    def paid(self, entry: Owed) -> bool:
        """It is in Redis; whether this is the first to say so."""
        with self._lock:
            entries = self._owed.get(entry.account.local, [])
            if entry not in entries:
                return False
            entries.remove(entry)
            if not entries:
                del self._owed[entry.account.local]
            return True


ledger = Ledger()


def replay(entries: Sequence[Owed], limits: Limits) -> Steps[list[tuple[Account, int, int]]]:
    """Add them; the accounts that this locked, the length of each lock and when that was, ms. Raises Redis's errors."""
    locked = []
    for entry in entries:
        account = entry.account
        keys = [*account.counters, account.record, lockoutkeys.replayed(account.tag, entry.nonce)]
        what: list[str | int] = [entry.failures, limits.attempts, limits.window_ms, entry.nonce]
        what += [limits.cap, limits.memory_ms, NONCE_MS, *limits.schedule]
        closed, left_ms, now_ms = yield RunScript("lockout_replay", keys, what)
        if ledger.paid(entry):
            counters.add("replayed", entry.failures)
        if closed and not account.device:
            locked.append((account, left_ms, now_ms))
    return locked


def replay_others(limits: Limits) -> Steps[list[tuple[Account, int, int]]]:
    try:
        return (yield from replay(ledger.some(), limits))
    except RedisError:  # the next attempt goes on with it
        return []
