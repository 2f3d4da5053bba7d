"""Leases: of all processes that miss an entry, one computes it. Once for sync and async (see ``exchange.py``).

A lease is a key beside the entry that holds the token – the digest of the versions – under which its owner computes.
When one of the tags is invalidated the token is no longer that of who looks from then on, and a lease under another
one is void: the next may take it at once, and its owner can neither store over what the next has stored nor be waited
for. So a lease never publishes what an invalidation has voided. Its owner dead, it runs out (``refresh.lease_life``).

| operation | round trips |
| --- | --- |
| take, which tells whether the entry has come meanwhile | 1 |
| store and give back | 1 |
| give back | 1 |
"""

import os
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot

from bergizi_redis import keys
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.flights import Flight
from bergizi_redis.exchange import Exchange, evaluate
from bergizi_redis.scripts.script import script

TOKEN = 16  # bytes
TAKEN, COME, HELD = 1, 2, 0
AFTER_FAILURE = 1.0  # seconds until the next may try to refresh what still serves

_owner = (0, b"")


def owner() -> bytes:
    """This process, in 8 bytes. A lease of its own that no flight stands for is one that it could not give back."""
    global _owner
    if _owner[0] != os.getpid():
        _owner = (os.getpid(), os.urandom(8))
    return _owner[1]


@dataclass(slots=True)
class Turn:
    """What a lookup that has missed holds while it computes: its token, perhaps a flight, perhaps a lease.

    ``seen`` is how the entry began when it was looked at. ``payload`` is the encoded value once it may be shared.
    """

    address: Address
    token: bytes
    seen: bytes = b""
    flight: Flight | None = None
    lease_key: str = ""
    lease: bytes = b""
    is_refresh: bool = False
    payload: bytes | None = None

    def claim(self) -> bytes:
        """The lease, as this process would hold it."""
        return self.token + owner()


def key_for(address: Address, clustered: bool) -> str:
    """The key of the lease; "" where a cluster has no name for it in the entry's slot: then there is none."""
    name = keys.lease(address.key)
    return "" if clustered and key_slot(name.encode()) != key_slot(address.key.encode()) else name


def take(turn: Turn, seconds: float, void: bytes = b"") -> Exchange[tuple[int, bytes]]:
    """(``TAKEN``, b""), (``COME``, the entry) or (``HELD``, another's lease). ``void`` is a lease to be replaced."""
    arguments = (turn.claim(), int(seconds * 1000), turn.seen, void)
    reply = yield from evaluate(script("lease_take"), [turn.address.key, turn.lease_key], arguments)
    return reply[0], (reply[1] if len(reply) > 1 else b"")


def store(turn: Turn, data: bytes, px: int) -> Exchange[bool]:
    """Store the entry, and give the lease back. False where it was voided meanwhile, or another was first."""
    arguments = (data, px, turn.lease or turn.token, turn.seen)
    turn.lease = b""  # whatever comes of it: a server that does not answer is not asked to take it back
    return bool((yield from evaluate(script("lease_store"), [turn.address.key, turn.lease_key], arguments)))


def release(turn: Turn) -> Exchange[Any]:
    """Nothing was stored. What still serves is not tried again at once; what is missing is."""
    stands = int(AFTER_FAILURE * 1000) if turn.is_refresh else 0
    return (yield from evaluate(script("lease_release"), [turn.lease_key], (turn.lease, stands)))
