"""Removing every key of one alias by its pattern: never FLUSHDB, which would take sessions and locks along."""

from collections.abc import Callable
from typing import Any

from django_redis.client.default import glob_escape

from bergizi_redis.exceptions import ConfigurationError

BATCH = 1000


def pattern_of(key_func: Callable[..., str], prefix: str, version: Any) -> str:
    """Matches every key of an alias, of any version that is a number. ``ConfigurationError`` where no pattern can.

    The number keeps the alias ``kitchen`` off the keys of ``kitchen:2``; a ``[0-9]*`` cannot say more.
    """
    try:
        pattern = str(key_func("*", glob_escape(prefix), "[0-9]*" if isinstance(version, int) else "*"))
    except (TypeError, ValueError):
        pattern = ""
    if not pattern.endswith("*") or not pattern.strip("*"):
        raise ConfigurationError(
            "clear() cannot tell this alias's keys from others': its KEY_FUNCTION must put KEY_PREFIX and version "
            f"before the key, and the key at the end (for the key '*' it gave {pattern!r}). Use invalidate_all()."
        )
    return pattern


def unlink_matching(client: Any, pattern: str) -> int:
    """How many keys were removed. SCAN and UNLINK in batches, so the server is never blocked."""
    removed = 0
    batch: list[bytes] = []
    for key in client.scan_iter(match=pattern, count=BATCH):
        batch.append(key)
        if len(batch) == BATCH:
            removed += client.unlink(*batch)
            batch.clear()
    return removed + (client.unlink(*batch) if batch else 0)


async def aunlink_matching(client: Any, pattern: str) -> int:
    removed = 0
    batch: list[bytes] = []
    async for key in client.scan_iter(match=pattern, count=BATCH):
        batch.append(key)
        if len(batch) == BATCH:
            removed += await client.unlink(*batch)
            batch.clear()
    return removed + (await client.unlink(*batch) if batch else 0)
