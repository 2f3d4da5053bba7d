"""Tag versions: which keys an entry depends on, and how they are read and bumped.

Promise: once a tag is bumped, no entry that was computed before can be served, for any tenant it concerned. A version
is 8 random bytes; a missing one (evicted, expired, flushed) voids every entry that depends on it.

Three versions stand behind a tag, so that a write proven to touch one tenant leaves all others warm and nothing is ever
under-invalidated: ``v:<tag>`` of the tenant, ``e:<tag>`` "at every tenant", and ``v:<tag>`` of the shared scope "@".

| | reads | a write of tenant t bumps | a write of unknown tenant bumps |
| --- | --- | --- | --- |
| entry of tenant t | t's ``v``, ``e`` | t's ``v`` | ``e`` |
| shared entry | @'s ``v`` | @'s ``v`` | @'s ``v`` |

Every entry also depends on the epoch (everything) and, with a tenant, on that tenant's own version (all of it). One
with the tag of a row, ``menus_menu#42``, depends on ``menus_menu#`` as well, which stands for rows nobody can name.
Round trips: read 1 (0 where it rides with the entry), bump 1; on a cluster one for each slot.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from redis.crc import key_slot
from redis.exceptions import OutOfMemoryError

from bergizi_redis import keys
from bergizi_redis.cache.bumplog import noted
from bergizi_redis.cache.envelope import NO_DIGEST, SEPARATOR, digest_of
from bergizi_redis.conf import config
from bergizi_redis.exchange import Exchange, Request, evaluate, evaluate_by_text
from bergizi_redis.scripts.script import script

VERSION_LIFE = 30 * 24 * 3600  # seconds; longer than any tagged entry, so that a version is never outlived
LONGEST_ENTRY = VERSION_LIFE // 2
LONGEST_NAMES = 0xFFFF  # bytes of all names of one entry


def tag_names(tags: Iterable[str] | None) -> tuple[str, ...] | None:
    """The tags in their one order, each once. ``TypeError`` for a bare string: it would be taken for its letters."""
    if tags is None:
        return None
    is_bare = isinstance(tags, str | bytes) or not isinstance(tags, Iterable)
    names = () if is_bare else tuple(tags)
    if is_bare or not all(isinstance(name, str) for name in names):
        raise TypeError(f"tags is {tags!r}; expected a list of strings, such as ['menus'].")
    return _checked(names)


@lru_cache(maxsize=4096)
def _checked(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not name or SEPARATOR in name:
            raise ValueError(f"{name!r} is no tag: use text that is not empty and has no U+001F in it.")
    if len(SEPARATOR.join(names).encode("utf-8", "surrogatepass")) > LONGEST_NAMES:
        raise ValueError(
            f"{len(names)} tags have names of more than {LONGEST_NAMES} bytes in all; use fewer or shorter."
        )
    return tuple(sorted(set(names)))


@dataclass(frozen=True, slots=True)
class Scope:
    """Where tags live: of one tenant or shared (None), in the namespace of an alias (its KEY_PREFIX)."""

    tenant: str | None = None
    namespace: str = ""

    def read_by(self, tags: tuple[str, ...], own: str | None = None) -> tuple[str, ...]:
        """Version keys that an entry with these tags depends on. ``own`` is a tag of the tenant's alone."""
        common = _read_keys(config.KEY_PREFIX, self.namespace, self.tenant, tags)
        return common if own is None else (*common, keys.tag_version(self.tenant, own, self.namespace))

    def bumped_by(self, tags: Iterable[str], own: Iterable[str] = ()) -> set[str]:
        """Version keys that a write in this scope makes anew; ``own`` as in ``read_by``."""
        tags = tuple(tags)
        shared = {keys.tag_version(None, tag, self.namespace) for tag in tags}
        mine = {keys.tag_version(self.tenant, tag, self.namespace) for tag in own}
        if self.tenant is None:
            return shared | mine | {keys.tag_everywhere(tag, self.namespace) for tag in tags}
        return shared | mine | {keys.tag_version(self.tenant, tag, self.namespace) for tag in tags}

    def everything(self) -> str:
        """The version whose bump voids all tagged entries: of the tenant, or of the whole namespace."""
        return keys.epoch(self.namespace) if self.tenant is None else keys.tenant_version(self.tenant, self.namespace)


@lru_cache(maxsize=4096)
def _read_keys(prefix: str, namespace: str, tenant: str | None, tags: tuple[str, ...]) -> tuple[str, ...]:
    """Cached because a read asks for them each time; ``prefix`` is there to be part of the cache's key."""
    found = [keys.epoch(namespace)]
    tags = (*tags, *(f"{tag.partition('#')[0]}#" for tag in tags if tag.find("#") > 0))
    if tenant is not None:
        found.append(keys.tenant_version(tenant, namespace))
        found += [keys.tag_everywhere(tag, namespace) for tag in tags]
    found += [keys.tag_version(tenant, tag, namespace) for tag in tags]
    return tuple(dict.fromkeys(found))


def read(version_keys: tuple[str, ...], clustered: bool = False) -> Exchange[bytes]:
    """The token: digest of the current versions, made where missing. Ask before computing. One round trip.

    Where a fence stands, ``NO_DIGEST``: what is stored under it is dead from birth.
    """
    versions = yield from read_each(version_keys, clustered)
    return digest_of(version_keys, [versions[key] for key in version_keys]) or NO_DIGEST


def read_each(version_keys: tuple[str, ...], clustered: bool = False) -> Exchange[dict[str, bytes]]:
    """The current versions, made where missing; a fenced one is longer than 8 bytes."""
    versions: dict[str, bytes] = {}
    for group in by_slot(version_keys) if clustered else [version_keys]:
        arguments = (VERSION_LIFE * 1000, os.urandom(8 * len(group)))
        found = yield from evaluate(script("tags_read"), group, arguments)
        versions.update(zip(group, found, strict=True))
    return versions


def bump(version_keys: Collection[str], clustered: bool = False, who: str | None = None) -> Exchange[None]:
    """Make each version anew: what depends on one of them is dead from here on. One round trip; a fence stays up.

    It is noted in the logs of the scopes, as the work of ``who`` or of the caller: see ``bumplog.py``.

    A server that is full and may not evict refuses new versions, but not to forget the old ones: that voids as much,
    and the next reader makes them.
    """
    if not version_keys:
        return
    names = sorted(version_keys)
    try:
        for group in by_slot(names) if clustered else [names]:
            logs, notes = noted(group, who)
            arguments = (VERSION_LIFE * 1000, os.urandom(8 * len(group)), *notes)
            yield from evaluate_by_text(script("tags_bump"), [*group, *logs], arguments)
    except OutOfMemoryError:
        yield lambda client: client.unlink(*names)


def get_all(names: Sequence[str], clustered: bool = False) -> Request:
    """The request for all of them: MGET, one round trip; on a cluster one for each slot."""
    if clustered:
        return lambda client: client.mget_nonatomic(names)
    return lambda client: client.mget(names)


def by_slot(names: Sequence[str]) -> list[list[str]]:
    """The names in groups that one script may touch on a cluster."""
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(key_slot(name.encode()), []).append(name)
    return list(groups.values())
