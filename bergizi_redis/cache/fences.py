"""Fences: what a writer puts up before its COMMIT and takes down after it.

Promise: from the moment a fence stands, nothing stored before is served and nothing can be stored, so a reader that
computes from the old rows while the COMMIT is under way leaves nothing behind. The writer that dies between COMMIT and
release leaves a fence that runs out (``FENCE_SECONDS``) together with the version it stands on: what is missing voids
everything. One fence for each writer, each with its own deadline.

What remains: a COMMIT that takes longer than ``FENCE_SECONDS`` **and** whose writer then dies. Two round trips a
transaction, whatever the number of rows. The state of a version is told in ``fence_raise.lua``.
"""

import os
from collections.abc import Collection
from typing import Any

from bergizi_redis.cache.bumplog import noted
from bergizi_redis.cache.tags import VERSION_LIFE, by_slot
from bergizi_redis.exchange import Exchange, evaluate_by_text
from bergizi_redis.scripts.script import script


def new_writer() -> bytes:
    """A name for one transaction's fence."""
    return os.urandom(8)


def put_up(version_keys: Collection[str], writer: bytes, seconds: float, clustered: bool = False) -> Exchange[None]:
    """Fence the versions for the writer. One round trip, on a cluster one for each slot."""
    for group in _groups(version_keys, clustered):
        yield from evaluate_by_text(script("fence_raise"), group, (writer, int(seconds * 1000)))


def take_down(version_keys: Collection[str], writer: bytes, clustered: bool = False) -> Exchange[dict[str, bytes]]:
    """Take the writer's fence down; where it was the last, new versions stand.

    The result holds those of them that nobody else has fenced or bumped while the fence stood: a value that this
    writer committed may be stored under them, for whoever commits a newer one makes them anew.
    """
    made: dict[str, bytes] = {}
    for group in _groups(version_keys, clustered):
        fresh = os.urandom(8 * len(group))
        logs, notes = noted(group)
        arguments: tuple[Any, ...] = (writer, VERSION_LIFE * 1000, fresh, *notes)
        alone = yield from evaluate_by_text(script("fence_lower"), [*group, *logs], arguments)
        made |= {key: fresh[8 * i : 8 * i + 8] for i, key in enumerate(group) if alone[i]}
    return made


def _groups(version_keys: Collection[str], clustered: bool) -> list[list[str]]:
    names = sorted(version_keys)
    return by_slot(names) if clustered else [names] if names else []
