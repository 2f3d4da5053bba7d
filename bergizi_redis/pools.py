"""Connection pools: who finds every connection in use waits within their own budget, then is told so."""

from queue import LifoQueue
from typing import Any

import redis
from redis.exceptions import ConnectionError, MaxConnectionsError
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from bergizi_redis.budget import budgeted, seconds_left
from bergizi_redis.conf import config

POOL_IS_FULL = (
    "All {} connections stayed in use: raise BERGIZI_REDIS['MAX_CONNECTIONS'] or have fewer threads or tasks."
)


class _Places(LifoQueue[Any]):
    """The pool's queue: who waits for a connection waits no longer than its own budget allows."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        left = seconds_left()
        return super().get(block, timeout if left is None else left)


class Pool(redis.BlockingConnectionPool):
    """Threads beyond ``max_connections`` wait for one within their budget, then get ``MaxConnectionsError``."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{"timeout": config.REQUEST_BUDGET, "queue_class": _Places, **arguments})  # type: ignore[no-untyped-call]
        self.connection_class = budgeted(self.connection_class)

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        try:
            return super().get_connection()  # type: ignore[no-untyped-call]
        except ConnectionError as error:
            if str(error) != "No connection available.":
                raise
            raise MaxConnectionsError(POOL_IS_FULL.format(self.max_connections)) from error


class SentinelPool(SentinelConnectionPool, Pool):
    """The same for the primary that the Sentinels name."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:  # not where redis-py drops idle ones because the primary has changed
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.close()


class Sentinels(Sentinel):
    def __init__(self, hosts: list[tuple[str, int]], **arguments: Any) -> None:
        super().__init__(hosts, **arguments)  # type: ignore[no-untyped-call]
        for sentinel in self.sentinels:
            sentinel.connection_pool.connection_class = budgeted(sentinel.connection_pool.connection_class)

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:  # redis-py's text is every Sentinel's every option
            raise MasterNotFoundError(f"No Sentinel that answered knows the primary of {service_name!r}.") from None
