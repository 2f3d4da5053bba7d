"""Removing every key of one alias by its pattern: never FLUSHDB, which would take sessions and locks along."""

from typing import Any

BATCH = 1000


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
