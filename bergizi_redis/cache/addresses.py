"""Where an entry lives and which versions it depends on, for entries whose name implies their tags."""

import zlib
from dataclasses import dataclass
from functools import lru_cache

from bergizi_redis import keys
from bergizi_redis.cache.tags import Scope
from bergizi_redis.conf import config

BUCKETS = 64  # one entry is invalidated with 1/64 of its domain: a version for each entry would double its memory


@dataclass(frozen=True, slots=True)
class Address:
    """``domain`` and ``tenant`` are what the entry is counted under; ``strict`` reads skip the near cache."""

    key: str
    version_keys: tuple[str, ...]
    domain: str = ""
    tenant: str = ""
    strict: bool = False


def bucket_of(domain: str, name: str) -> str:
    """The tag that an entry shares with 1/64 of its domain."""
    return f"{domain}#{zlib.crc32(name.encode('utf-8', 'surrogatepass')) % BUCKETS}"


def address_of(
    namespace: str, tenant: str | None, domain: str, part: str, ident: str, tags: tuple[str, ...], own: str = "",
    strict: bool = False,
) -> Address:  # fmt: skip
    """The entry ``ident`` of the domain; ``part`` sets several families of a domain apart. Raises ``TenantError``.

    It depends on the domain's own tag, on ``tags``, and on ``own``, which is the tenant's alone: its bucket by default.
    """
    if len(ident) > keys.LONGEST_PART:  # not remembered: a few thousand long names would be many megabytes
        return _made(config.KEY_PREFIX, namespace, tenant, domain, part, ident, tags, own, strict)
    return _remembered(config.KEY_PREFIX, namespace, tenant, domain, part, ident, tags, own, strict)


def _made(
    prefix: str, namespace: str, tenant: str | None, domain: str, part: str, ident: str, tags: tuple[str, ...],
    own: str, strict: bool,
) -> Address:  # fmt: skip
    key = keys.cache_entry(tenant, domain + part, ident)
    versions = Scope(tenant, namespace).read_by((domain, *tags), own or bucket_of(domain, ident))
    return Address(key, versions, domain, tenant or "", strict)


# Names are made anew for every read: remembering the hot ones halves the cost of a hit outside of Redis. ``prefix`` is
# only there to be part of what is remembered.
_remembered = lru_cache(maxsize=4096)(_made)
