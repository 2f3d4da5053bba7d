"""Write strategies: through the cache to the database at once, or behind it, buffered in Redis.

``WriteThrough`` promises: the database first, then the cache, in one fenced step; no reader that starts after the
commit is served the value from before it, and of several writers the newest value stays. Round trips: 1 before the
transaction, 2 around its COMMIT, 1 for the new value. Redis down: as for any write, see ``commits.py``.

``WriteBehind`` promises: a write that was accepted is shown by ``read`` at once, and flushed to the database at least
once, in order for each entry, with a token that is the same at every delivery. It lives in Redis meanwhile: see the
guide for what a server without AOF loses. Round trips: write 1, read 1 and those of its domain. Redis down: ``write``
raises ``RedisUnavailable``, or with ``fallback="through"`` writes to the database; ``read`` shows the database.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from os import urandom
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import connections, router, transaction
from django.db.models import Model
from redis.exceptions import MaxConnectionsError, RedisError, ResponseError

from bergizi_redis.aconnections import aclient
from bergizi_redis.cache.behind import Shard, name_of, shard_of
from bergizi_redis.cache.buffers import buffers
from bergizi_redis.cache.domains import Domain, tagged_cache
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.through import Put, Voiding, saving
from bergizi_redis.conf import config
from bergizi_redis.connections import client, explain, is_outage
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable
from bergizi_redis.exchange import Exchange, aspeak, speak
from bergizi_redis.keys import validated_tenant
from bergizi_redis.tenancy import current_tenant, use_tenant

T = TypeVar("T")
logger = logging.getLogger("bergizi_redis.cache")


@dataclass(frozen=True, slots=True)
class WriteThrough:
    """``save(tenant, ident, data)`` writes to the database ``using``, the default one by default.

    Inside a transaction the entry is voided and put when the outermost one commits; a rollback, of a savepoint too,
    leaves the cache as it was. What is written afterwards in that transaction by other means withdraws the put.
    """

    domain: Domain
    save: Callable[[str, Any, Any], Any]
    using: str | None = None

    def __post_init__(self) -> None:
        _refuse_coroutines("WriteThrough", "save", self.save)

    def write(self, tenant: str | None, ident: object, data: Any) -> Any:
        """Save ``data`` and cache it for the domain's ``ttl``; what ``save`` returns. Its errors come through."""
        owner = _owner(tenant)
        connection = connections[self.using or router.db_for_write(Model)]
        put = Put(self.domain, owner, ident, data, connection)
        with transaction.atomic(using=connection.alias), saving(connection):
            result = self.save(owner, ident, data)
            put.arrange()
        return result

    async def awrite(self, tenant: str | None, ident: object, data: Any) -> Any:
        """The same in a thread: Django's transactions are synchronous."""
        return await sync_to_async(self.write)(tenant, ident, data)


@dataclass(frozen=True, slots=True)
class WriteBehind:
    """``flush(tenant, ident, data, token)`` writes one buffered value to the database ``using``, in a transaction.

    It may be called again with the same ``token``, and tokens of one entry sort in the order of its writes. A flush
    that raises is tried again after ``backoff`` seconds (first, longest), doubled each time, with jitter; after
    ``max_failures`` the write becomes a dead letter and halts its entry. ``coalesce``: of several writes of an entry
    that wait, flush the newest alone. ``durable``: accept a write when the server's AOF is on disk. ``fallback``:
    "raise" or "through" when Redis is down. ``shards``: streams, each with one worker at a time; not to be changed
    while writes wait. The alias is ``WRITE_BEHIND_ALIAS``.
    """

    domain: Domain
    flush: Callable[[str, Any, Any, str], Any]
    shards: int = 8
    max_failures: int = 8
    backoff: tuple[float, float] = (0.5, 60.0)
    coalesce: bool = False
    durable: bool = False
    fallback: str = "raise"
    using: str | None = None

    def __post_init__(self) -> None:
        _refuse_coroutines("WriteBehind", "flush", self.flush)
        if self.fallback not in ("raise", "through"):
            raise ConfigurationError(f"WriteBehind: fallback={self.fallback!r}; expected 'raise' or 'through'.")
        if not (1 <= self.shards <= 1024 and self.max_failures >= 1):
            raise ConfigurationError("WriteBehind: shards must be 1 to 1024, max_failures at least 1.")
        first, longest = self.backoff
        if not 0 <= first <= longest < float("inf"):
            raise ConfigurationError(f"WriteBehind: backoff={self.backoff!r}; expected seconds (first, longest).")
        _declared[self.domain.name] = buffers[self.domain.name] = self

    def write(self, tenant: str | None, ident: object, data: Any) -> str:
        """Accept the write; its token. ``RedisUnavailable`` when it could not be: it may have been all the same.

        Not part of a transaction: it stays when an outer one is rolled back. Write on commit where that matters.
        """
        owner = _owner(tenant)
        try:
            return speak(self._writing(owner, ident, data), client(config.WRITE_BEHIND_ALIAS))
        except RedisError as error:
            self._judge(error)
            if self.fallback == "raise":
                raise RedisUnavailable(f"The write was not buffered. {explain(error)}") from error
        return self.flush_through(owner, ident, data)

    async def awrite(self, tenant: str | None, ident: object, data: Any) -> str:
        owner = _owner(tenant)
        try:
            return await aspeak(self._writing(owner, ident, data), aclient(config.WRITE_BEHIND_ALIAS))
        except RedisError as error:
            self._judge(error)
            if self.fallback == "raise":
                raise RedisUnavailable(f"The write was not buffered. {explain(error)}") from error
        return await sync_to_async(self.flush_through)(owner, ident, data)

    def read(self, tenant: str | None, ident: object, load: Callable[[], T]) -> T:
        """The buffered value, else the domain's entry, else what ``load()`` reads from the database."""
        return self.domain.get_or_compute(tenant, ident, load)

    async def aread(self, tenant: str | None, ident: object, load: Callable[[], Any]) -> Any:
        """``load`` may be a coroutine function."""
        return await self.domain.aget_or_compute(tenant, ident, load)

    # What follows is for the worker and the domain

    def peek(self, tenant: str | None, ident: object) -> Any:
        """The buffered value, or ``MISSING``; with Redis down too."""
        name = name_of(_owner(tenant), ident)
        try:
            return self._decoded(speak(self.shard(name).peek(name), client(config.WRITE_BEHIND_ALIAS)))
        except RedisError as error:
            return self._unseen(error)

    async def apeek(self, tenant: str | None, ident: object) -> Any:
        name = name_of(_owner(tenant), ident)
        try:
            return self._decoded(await aspeak(self.shard(name).peek(name), aclient(config.WRITE_BEHIND_ALIAS)))
        except RedisError as error:
            return self._unseen(error)

    def shard(self, name: bytes) -> Shard:
        return Shard(self.domain.name, shard_of(name, self.shards))

    def all_shards(self) -> list[Shard]:
        return [Shard(self.domain.name, number) for number in range(self.shards)]

    def flush_through(self, tenant: str, ident: object, data: Any, token: str = "", guard: Any = None) -> str:
        """Flush in a transaction that voids the domain's entry; ``guard()`` is the last thing before its COMMIT."""
        connection = connections[self.using or router.db_for_write(Model)]
        token = token or local_token()
        with use_tenant(tenant), transaction.atomic(using=connection.alias):
            Voiding(self.domain, tenant, ident, connection).arrange()
            self.flush(tenant, ident, data, token)
            if guard is not None:
                guard()
        if connection.in_atomic_block:  # inside somebody's transaction, a test case's say, who sees it already
            self.domain.invalidate(tenant, ident)
        return token

    def _writing(self, tenant: str, ident: object, data: Any) -> Exchange[str]:
        name = name_of(tenant, ident)
        on_disk = config.REQUEST_BUDGET / 2 if self.durable else 0
        return self.shard(name).write(name, encoded(ident), encoded(data), on_disk)

    def _decoded(self, payload: bytes | None) -> Any:
        return MISSING if payload is None else tagged_cache().entries.decode(payload)

    def _judge(self, error: RedisError) -> None:
        """Raise what is no outage."""
        if self.durable and isinstance(error, ResponseError) and "WAITAOF" in str(error):
            raise ConfigurationError(
                "WriteBehind(durable=True) needs a server of Redis 7.2 or Valkey 7.2 on, not a cluster, with "
                f"`appendonly yes`: {error}"
            ) from error
        if not (is_outage(error) or isinstance(error, MaxConnectionsError)):
            raise error

    def _unseen(self, error: RedisError) -> Any:
        self._judge(error)
        if tagged_cache().state.worth_logging():
            logger.warning("Buffered writes cannot be read. %s", explain(error), extra={"action": "behind_unavailable"})
        return MISSING


def encoded(value: Any) -> bytes:
    """By the serializer and compressor of the cache's alias. Raises what they raise, before anything is written."""
    data = tagged_cache().entries.encode(value)
    return data if isinstance(data, bytes) else str(data).encode()


def local_token() -> str:
    """A token for a write that was never buffered; sorts among the others by this machine's clock."""
    return f"{int(time.time() * 1000):0>15}-000000-{urandom(8).hex()}"


def _owner(tenant: str | None) -> str:
    return current_tenant() if tenant is None else validated_tenant(tenant)


def _refuse_coroutines(owner: str, name: str, function: Any) -> None:
    if not callable(function) or iscoroutinefunction(function):
        raise ConfigurationError(
            f"{owner}: {name}={function!r}; expected a function that is not a coroutine function, for Django's "
            "transactions are synchronous."
        )


_declared: dict[str, WriteBehind] = {}  # by domain


def declared() -> list[WriteBehind]:
    """Every write-behind of this process, by the name of its domain; of two for one domain the later."""
    return [_declared[name] for name in sorted(_declared)]
