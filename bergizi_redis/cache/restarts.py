"""A server that was restarted from an older copy, or a replica that was behind and became primary, serves nothing old.

Such a server holds entries and versions as they were before an invalidation, and they agree with one another. So each
new connection asks, before anything else, whether the server is the process that the epoch was made on; if not, a new
epoch voids what is there. One round trip a connection. Not on a cluster, whose nodes do not share a key; nor for
untagged entries, which are as old as their timeouts allow anyway.
"""

import os
from collections.abc import Iterator

from django.conf import settings
from django.utils.module_loading import import_string

from bergizi_redis import keys
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.tags import VERSION_LIFE
from bergizi_redis.greetings import Step
from bergizi_redis.scripts.script import script
from bergizi_redis.topology import servers


def steps(url: str) -> Iterator[Step]:
    """The question for each namespace that an alias keeps at the URL; see ``greetings.py``."""
    namespaces = {
        str(alias.get("KEY_PREFIX") or "")
        for alias in settings.CACHES.values()
        if _is_tagged(alias.get("BACKEND", "")) and url in servers(alias.get("LOCATION"))[:1]
    }
    for namespace in sorted(namespaces):
        yield script("epoch_guard").text, [keys.epoch(namespace)], [VERSION_LIFE * 1000, os.urandom(8)]


def _is_tagged(backend: str) -> bool:
    try:
        kind = import_string(backend)
    except ImportError:
        return False
    return isinstance(kind, type) and issubclass(kind, TaggedRedisCache)
