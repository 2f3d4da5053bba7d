"""One alias of CACHES: its keys, its scope, its clients, and what happens when Redis is down."""

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django_redis.cache import RedisCache
from django_redis.util import CacheKey
from redis.exceptions import MaxConnectionsError, RedisError

from bergizi_redis.aconnections import aclient_at
from bergizi_redis.cache.process import ProcessState, state_of
from bergizi_redis.cache.tags import Scope
from bergizi_redis.cache.writing import Writing
from bergizi_redis.connections import FACTORY, is_outage
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.exchange import Exchange, aspeak, speak
from bergizi_redis.tenancy import current_tenant
from bergizi_redis.topology import parse_location

logger = logging.getLogger("bergizi_redis.cache")

RAISE = object()


class ReplicaFirst:
    """The primary, but for GET: an untagged value may come from a replica, as with django-redis. Versions never do."""

    def __init__(self, primary: Any, replica: Any) -> None:
        self._primary = primary
        self.get = replica.get

    def __getattr__(self, name: str) -> Any:
        return getattr(self._primary, name)


class RedisAlias(RedisCache):  # type: ignore[type-arg]
    """What ``TaggedRedisCache`` stands on; ``ask`` and ``aask`` run an exchange under the outage policy."""

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        params = {**params, "OPTIONS": {"CONNECTION_FACTORY": FACTORY, **params.get("OPTIONS", {})}}
        if isinstance(server, str) and "+" in server.split("://", 1)[0]:
            server = [server]  # django-redis would split the host list of a Sentinel or cluster URL at its commas
        super().__init__(server, params)
        self.options: dict[str, Any] = params["OPTIONS"]
        self.tenant_scoped = bool(self.options.get("TENANT_SCOPED"))
        self.is_strict = self.options.get("IGNORE_EXCEPTIONS") is False
        if self.tenant_scoped:
            self._scope_keys()

    def _scope_keys(self) -> None:
        """Put the tenant into every key, those of django-redis's own methods too."""
        shared_key = self.key_func

        def scoped_key(key: str, prefix: str, version: Any) -> str:
            return shared_key(f"{{{current_tenant()}}}:{key}", prefix, version)

        self.key_func = scoped_key

    @property
    def client(self) -> Any:
        if self._client is None:
            client: Any = super().client
            if self.tenant_scoped:
                unscoped = client.reverse_key
                client.reverse_key = lambda key: unscoped(key).split("}:", 1)[1]
        return self._client

    @cached_property
    def clustered(self) -> bool:
        server = self._server[0] if isinstance(self._server, list | tuple) else self._server.split(",")[0]
        return parse_location(server).kind == "cluster"

    @cached_property
    def state(self) -> ProcessState:
        return state_of(self._server, self.key_prefix)

    @cached_property
    def entries(self) -> Writing:
        return Writing(self.client.encode, self.client.decode, self.state, self.clustered)

    @property
    def scope(self) -> Scope:
        return self.scope_of(current_tenant() if self.tenant_scoped else None)

    def scope_of(self, tenant: str | None) -> Scope:
        return Scope(tenant, self.key_prefix)

    def made(self, key: str, version: int | None = None) -> str:
        """The key as Redis has it, with Django's warning for one that memcached would refuse."""
        return key if isinstance(key, CacheKey) else CacheKey(self.make_and_validate_key(key, version))

    def seconds(self, timeout: Any) -> float | None:
        return self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout

    # Asking

    def ask(self, exchange: Exchange[Any], otherwise: Any = RAISE, client: Any = None, **owed: Iterable[str]) -> Any:
        """The exchange's result. With Redis down: ``otherwise``, and what is ``owed`` is kept to be sent later."""
        try:
            return speak(exchange, client or self.client.get_client(write=True))
        except RedisError as error:
            self._tolerate(error, otherwise, **owed)
            return otherwise

    async def aask(self, exchange: Exchange[Any], otherwise: Any = RAISE, **owed: Iterable[str]) -> Any:
        try:
            return await aspeak(exchange, self.aclient())
        except RedisError as error:
            self._tolerate(error, otherwise, **owed)
            return otherwise

    def aclient(self) -> Any:
        """The running loop's client for the primary."""
        server = self._server[0] if isinstance(self._server, list | tuple) else self._server.split(",")[0]
        return aclient_at(server, self.options)

    def reader(self) -> Any:
        primary = self.client.get_client(write=True)
        if len(self.client._server) == 1:
            return primary
        return ReplicaFirst(primary, self.client.get_client(write=False))

    def _tolerate(self, error: RedisError, otherwise: Any, **owed: Iterable[str]) -> None:
        """Re-raise what is not an outage; else count, log and remember. A full pool is no outage but a miss all the same."""
        if not (is_outage(error) or isinstance(error, MaxConnectionsError)):
            raise error
        self.state.counters.add("errors")
        self.state.owe(**owed, everything=self.scope_of(None).everything())
        if self.is_strict:
            raise error
        if self.state.worth_logging():
            logger.warning(
                "Redis could not be asked, so the cache counts as empty: %s: %s", type(error).__name__, error,
                extra={"action": "cache_unavailable"},
            )  # fmt: skip
        if otherwise is RAISE:
            raise RedisUnavailable(f"Redis could not be asked: {type(error).__name__}: {error}") from error


def tag_names(tags: Sequence[str] | None) -> Sequence[str] | None:
    """The tags, or ``TypeError``: a bare string would be taken for its letters."""
    if isinstance(tags, str | bytes) or tags is not None and not all(isinstance(tag, str) for tag in tags):
        raise TypeError(f"tags is {tags!r}; expected a list of strings, such as ['menus'].")
    return tags


def moved_to(key: str, moved: bool, version: int) -> int:
    """The new version, or Django's ``ValueError`` where there was nothing to move."""
    if not moved:
        raise ValueError(f"Key '{key}' not found")
    return version
