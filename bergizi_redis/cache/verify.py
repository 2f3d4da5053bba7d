"""Shadow verification: a share of the hits (``VERIFY_SAMPLE``) is computed again and compared with what was served.

Promise: the cached value is served whatever comes of it, and no error of the second computing is passed on. A
difference counts as a lie only if the versions of the entry's tags stand after the computing as they did before: what
an invalidation came in between of proves nothing. A lie is counted, logged with its key and sent as ``cache_lied``; no
value is logged. What it finds: a write that nothing invalidates for, or a function whose result depends on more than
its arguments. Nothing is verified in a transaction that may not store (a snapshot, or one that wrote the tags).

Costs the time of computing, and 1 round trip where the values differ. Redis down: nothing is found.
"""

import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Model, QuerySet

from bergizi_redis.cache import tags as tag_versions
from bergizi_redis.cache.addresses import Address
from bergizi_redis.cache.awaiting import called, fetched
from bergizi_redis.cache.envelope import digest_of
from bergizi_redis.cache.lookup import Lookup
from bergizi_redis.cache.transactions import amay_store, may_store
from bergizi_redis.cache.writing import Writing
from bergizi_redis.conf import SETTINGS_NAME, config
from bergizi_redis.exchange import Exchange
from bergizi_redis.signals import cache_lied

logger = logging.getLogger("bergizi_redis.cache")

# Remembered, because reading a setting takes longer than all else that is done for a near hit.
_share: float | None = None


def is_sampled() -> bool:
    """Whether this hit is one of those to verify."""
    global _share
    if _share is None:
        _share = config.VERIFY_SAMPLE
    return _share > 0 and random.random() < _share  # noqa: S311 – a sample


def read_anew(setting: str = SETTINGS_NAME, **_: Any) -> None:
    """Receives Django's ``setting_changed``, which tests send."""
    global _share
    if setting == SETTINGS_NAME:
        _share = None


def verify(entry: Lookup, compute: Callable[[], Any]) -> None:
    """Compute a hit's value again and tell if it is another one."""
    if not may_store(entry.address.version_keys):
        return
    try:
        fresh = compute()
        differs = not is_same(entry.value, fresh, entry.cache.entries)
    except Exception as error:
        logger.info("A hit could not be verified: %s", type(error).__name__, extra={"action": "cache_unverified"})
        return
    judged(entry, differs and entry.cache.ask(digest_now(entry), b"") == entry.token, differs)


async def averify(entry: Lookup, compute: Callable[[], Any]) -> None:
    """The same; ``compute`` may be a coroutine function."""
    if not await amay_store(entry.address.version_keys):
        return
    try:
        fresh = await called(compute)
        await fetched(fresh)
        differs = not is_same(entry.value, fresh, entry.cache.entries)
    except Exception as error:
        logger.info("A hit could not be verified: %s", type(error).__name__, extra={"action": "cache_unverified"})
        return
    judged(entry, differs and await entry.cache.aask(digest_now(entry), b"") == entry.token, differs)


def digest_now(entry: Lookup) -> Exchange[bytes | None]:
    """The token of now, or None where a version is missing or fenced."""
    names = entry.address.version_keys
    versions = yield tag_versions.get_all(names, entry.cache.entries.clustered)
    return digest_of(names, versions)


def judged(entry: Lookup, is_lie: bool, differs: bool) -> None:
    if differs and not is_lie:
        return  # invalidated meanwhile, or Redis cannot be asked: nothing is proven
    address: Address = entry.address
    counters = entry.cache.entries.state.counters
    counters.add("verified", address.domain, tenant=address.tenant)
    if is_lie:
        counters.add("lies", address.domain, tenant=address.tenant)
        logger.error(
            "The cached value of %s is not what computing gives, and no tag of it was voided: a write is not "
            "invalidated for, or the function depends on more than its arguments.",
            address.key,
            extra={"action": "cache_lied"},
        )
        cache_lied.send_robust(type(entry.cache), key=address.key, domain=address.domain, tenant=address.tenant)


def is_same(served: Any, fresh: Any, entries: Writing) -> bool:
    """By the bytes that are stored, which tell most; then by value, for what has several encodings, such as sets."""
    stored = entries.payload(fresh)
    return entries.payload(served) == stored or are_equal(served, entries.decode(stored))


def are_equal(one: Any, other: Any) -> bool:
    """``==``, but of models by their fields: Django's own compares primary keys alone."""
    if isinstance(one, QuerySet):
        one = list(one)
    if isinstance(other, QuerySet):
        other = list(other)
    if isinstance(one, Model) and isinstance(other, Model):
        return type(one) is type(other) and are_equal(_fields(one), _fields(other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(are_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(are_equal, one, other))
    return bool(one == other)


def _fields(instance: Model) -> dict[str, Any]:
    """What was loaded of the row, and what a query added to it."""
    return {name: value for name, value in vars(instance).items() if name[0] != "_"}
