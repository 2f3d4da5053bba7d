"""Which primary holds which of the keys."""

from dataclasses import dataclass
from typing import Any

from bergizi_redis.cache.tags import by_slot


@dataclass(frozen=True, slots=True)
class Route:
    """Keys that one command may ask for, and the pool of the node that holds them."""

    node: str
    pool: Any
    keys: tuple[str, ...]


def routes(client: Any, keys: tuple[str, ...], clustered: bool) -> list[Route]:
    """Raises redis-py's errors where a cluster cannot say."""
    if not clustered:
        return [Route("", client.connection_pool, keys)]
    found = []
    for group in by_slot(keys):
        node = client.get_node_from_key(group[0])
        found.append(Route(node.name, client.get_redis_connection(node).connection_pool, tuple(group)))
    return found
