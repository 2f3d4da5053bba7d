"""Where an alias finds its near cache: one shelf for what it stores, one watch for its server, in each process."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from bergizi_redis.cache.near.options import near_options
from bergizi_redis.cache.near.shelf import NearShelf
from bergizi_redis.cache.near.watch import Watch
from bergizi_redis.cache.process import ProcessState
from bergizi_redis.connections import Role, kept, pool_key

_lock = threading.Lock()


def shelf_of(
    state: ProcessState, url: str, options: Mapping[str, Any], clustered: bool, client_of: Callable[[], Any]
) -> NearShelf | None:
    """None where ``NEAR_CACHE`` is off. Aliases with one server and one KEY_PREFIX share what the first has made.

    Raises ``ConfigurationError``. Opens no connection.
    """
    chosen = near_options(options)
    if chosen is None:
        return None

    def watch_of() -> Watch:
        key = (*pool_key(url, options, Role.MAIN), "near", str(chosen.max_staleness))
        watch: Watch = kept(key, lambda: Watch(client_of, clustered, chosen.max_staleness))
        return watch

    with _lock:
        if state.near is None:
            state.near = NearShelf(chosen, watch_of, state.unsent)
    return state.near
