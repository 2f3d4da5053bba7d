"""Many tasks of one loop that look at one key at one time: beyond a few they look together.

A loop's tasks would take every connection of the pool to ask the same thing, and those that get none in time would
count Redis as down. So ``PLACES`` tasks look each for itself, the usual case; those beyond join the next look that
begins, and each gets a copy of its own. Nobody joins a look that has begun: it may have read the versions before the
joiner came. Round trips: 1 for all who join.
"""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakKeyDictionary

from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.reading import MISSING, Found
from bergizi_redis.cache.writing import Writing

PLACES = 16

Look = Callable[[], Awaitable[Found]]


class Crowd:
    """Those who look at one key, in one loop."""

    __slots__ = ("coming", "looking", "places")

    def __init__(self) -> None:
        self.looking = 0
        self.places = asyncio.Semaphore(PLACES)
        self.coming: asyncio.Future[Found | None] | None = None  # the look that has not begun


_crowds: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[int, Address], Crowd]] = WeakKeyDictionary()


async def look_together(entries: Writing, address: Address, look: Look) -> Found:
    """What ``look`` finds, called here or by one of the tasks that came at the same time."""
    loop = asyncio.get_running_loop()
    crowds = _crowds.setdefault(loop, {})
    name = (id(entries.state), address)  # keys and tags alone do not tell the server
    crowd = crowds.get(name)
    if crowd is None:
        crowd = crowds[name] = Crowd()
    crowd.looking += 1
    try:
        if not crowd.places.locked():
            async with crowd.places:
                return await look()
        while crowd.coming is not None:
            found = await asyncio.shield(crowd.coming)
            if found is not None:
                event = "misses" if found.value is MISSING else "hits"
                entries.state.counters.add(event, address.domain, tenant=address.tenant)
                return _copied(entries, found)
        return await _lead(entries, crowd, look)
    finally:
        crowd.looking -= 1
        if not crowd.looking:
            crowds.pop(name, None)


async def _lead(entries: Writing, crowd: Crowd, look: Look) -> Found:
    """Look for all who have joined until then. Where this fails, or the task is cancelled, they see for themselves."""
    coming = crowd.coming = asyncio.get_running_loop().create_future()
    shared = None
    try:
        async with crowd.places:
            crowd.coming = None
            found = await look()
            shared = found if found.value is MISSING else found._replace(value=entries.payload(found.value))
            return found
    finally:
        if crowd.coming is coming:
            crowd.coming = None
        coming.set_result(shared)


def _copied(entries: Writing, found: Found) -> Found:
    return found if found.value is MISSING else found._replace(value=entries.decoded(found.value))
