"""One alias of CACHES: its keys, its scope, its clients, and what happens when Redis is down."""

import logging
import pickle
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from time import monotonic, time
from typing import Any

from django.conf import settings
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.utils.module_loading import import_string
from django_redis.cache import RedisCache
from django_redis.client import DefaultClient, ShardClient
from django_redis.compressors.identity import IdentityCompressor
from django_redis.exceptions import CompressorError
from django_redis.serializers.pickle import PickleSerializer
from django_redis.util import CacheKey
from redis.exceptions import MaxConnectionsError, RedisError

from bergizi_redis.aconnections import aclient_at
from bergizi_redis.cache.altering import Altering
from bergizi_redis.cache.fleet import Sender, send_at_exit
from bergizi_redis.cache.process import ProcessState, state_of
from bergizi_redis.cache.tags import Scope
from bergizi_redis.connections import FACTORY, explain, is_outage
from bergizi_redis.exceptions import ConfigurationError, RedisUnavailable
from bergizi_redis.exchange import Exchange, aspeak, speak
from bergizi_redis.tenancy import current_tenant
from bergizi_redis.topology import parse_location, servers

logger = logging.getLogger("bergizi_redis.cache")

RAISE = object()
# A key that Django has nothing to warn about; its own check walks through the characters one by one.
_is_portable = re.compile(r"[\x21-\x7e\x80-\U0010ffff]{1,250}").fullmatch
_NUMERIC = frozenset(bytes([byte]) for byte in b"0123456789+- \t\n\r\v\f") | {b""}


class ReplicaFirst:
    """The primary, but for GET: an untagged value may come from a replica, as with django-redis. Versions never do."""

    def __init__(self, primary: Any, replica: Any) -> None:
        self._primary = primary
        self.get = replica.get

    def __getattr__(self, name: str) -> Any:
        return getattr(self._primary, name)


def decoder_of(client: Any) -> Callable[[Any], Any]:
    """The client's ``decode``, less its ``int()`` of what is no number: the error's text costs more than unpickling."""
    whole: Callable[[Any], Any] = client.decode
    if type(client).decode is not DefaultClient.decode:
        return whole
    loads = client._serializer.loads
    if type(client._serializer) is PickleSerializer:
        loads = pickle.loads  # what its method calls

    def decode_plain(data: bytes) -> Any:
        return whole(data) if data[:1] in _NUMERIC else loads(data)

    def decode(data: bytes) -> Any:
        if data[:1] in _NUMERIC:
            return whole(data)
        try:
            data = client._compressor.decompress(data)
        except CompressorError:
            pass  # stored before a compressor was set, as django-redis has it
        return loads(data)

    return decode_plain if type(client._compressor) is IdentityCompressor else decode


def scoped(key_func: Callable[[str, str, Any], str]) -> Callable[[str, str, Any], str]:
    """Puts the tenant into every key, those of django-redis's own methods too."""
    return lambda key, prefix, version: key_func(f"{{{current_tenant()}}}:{key}", prefix, version)


class RedisAlias(RedisCache):  # type: ignore[misc]
    """What ``TaggedRedisCache`` stands on; ``ask`` and ``aask`` run an exchange under the outage policy."""

    def __new__(cls, server: Any, params: dict[str, Any]) -> Any:
        """Where the client spreads keys over servers by itself, django-redis's own backend: a tag needs one primary."""
        chosen = params.get("OPTIONS", {}).get("CLIENT_CLASS")
        if chosen and issubclass(import_string(chosen), ShardClient):
            return RedisCache(server, params)
        return super().__new__(cls)

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        if not hasattr(settings, "DJANGO_REDIS_CONNECTION_FACTORY"):
            params = {**params, "OPTIONS": {"CONNECTION_FACTORY": FACTORY, **params.get("OPTIONS", {})}}
        if isinstance(server, str) and "+" in server.split("://", 1)[0]:
            server = [server]  # django-redis would split the host list of a Sentinel or cluster URL at its commas
        super().__init__(server, params)
        self.options: dict[str, Any] = params.get("OPTIONS", {})
        self.tenant_scoped = bool(self.options.get("TENANT_SCOPED"))
        self.is_strict = self.options.get("IGNORE_EXCEPTIONS") is False
        self._shared = Scope(None, self.key_prefix)
        self.key_func: Callable[[str, str, Any], str]
        if self.tenant_scoped:
            self.key_func = scoped(self.key_func)

    @property
    def client(self) -> Any:
        is_new = self._client is None
        client: Any = super().client
        if is_new and self.tenant_scoped:
            unscoped = client.reverse_key
            client.reverse_key = lambda key: unscoped(key).split("}:", 1)[1]
        return client

    @cached_property
    def clustered(self) -> bool:
        return parse_location(servers(self._server)[0]).kind == "cluster"

    @cached_property
    def state(self) -> ProcessState:
        state = state_of(self._server, self.key_prefix)
        send_at_exit(self, (repr(self._server), self.key_prefix))
        return state

    @property
    def sender(self) -> Sender:
        return self.state.sender

    @cached_property
    def entries(self) -> Altering:
        return Altering(self.client.encode, decoder_of(self.client), self.state, self.clustered)

    @property
    def scope(self) -> Scope:
        return Scope(current_tenant(), self.key_prefix) if self.tenant_scoped else self._shared

    def scope_of(self, tenant: str | None) -> Scope:
        return self._shared if tenant is None else Scope(tenant, self.key_prefix)

    def made(self, key: str, version: int | None = None) -> str:
        """The key as Redis has it, with Django's warning for one that memcached would refuse."""
        if isinstance(key, CacheKey):
            return str(key)
        name: str = self.make_key(key, version)
        if _is_portable(name) is None:
            self.validate_key(name)
        return name

    def seconds(self, timeout: Any) -> float | None:
        chosen: float | None = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return chosen

    # Asking

    def ask(
        self, exchange: Exchange[Any], otherwise: Any = RAISE, client: Any = None,
        deleted: Iterable[str] = (), bumped: Iterable[str] = (), changed: Iterable[str] = (), is_strict: bool = True,
    ) -> Any:  # fmt: skip
        """The exchange's result. With Redis down: ``otherwise``; what is ``deleted`` or ``bumped`` is owed then.

        These and what is ``changed`` leave the near cache before this returns. Not ``is_strict``: whatever
        ``IGNORE_EXCEPTIONS`` says, for a write to the database, which has a policy of its own.
        """
        try:
            found = speak(exchange, client or self.client.get_client(write=True))
        except RedisError as error:
            self.tolerate(error, otherwise, deleted, bumped, is_strict)
            return otherwise
        finally:
            if self.state.near is not None:
                self.state.forget({*deleted, *bumped, *changed})
        if monotonic() >= self.state.sender.late:
            self.send_stats()
        return found

    async def aask(
        self, exchange: Exchange[Any], otherwise: Any = RAISE,
        deleted: Iterable[str] = (), bumped: Iterable[str] = (), changed: Iterable[str] = (),
    ) -> Any:  # fmt: skip
        try:
            found = await aspeak(exchange, self.aclient())
        except RedisError as error:
            self.tolerate(error, otherwise, deleted, bumped)
            return otherwise
        finally:
            if self.state.near is not None:
                self.state.forget({*deleted, *bumped, *changed})
        if monotonic() >= self.state.sender.late:
            await self.asend_stats()
        return found

    def send_stats(self, everything: bool = False) -> bool:
        """Add what this process has counted to the fleet's numbers; False when it has to wait. Never raises."""
        try:
            speak(self.state.sender.send(self.key_prefix, time(), everything), self.client.get_client(write=True))
        except (RedisError, ConfigurationError) as error:
            logger.info("Statistics wait to be sent. %s", explain(error), extra={"action": "stats_wait"})
            return False
        return True

    async def asend_stats(self, everything: bool = False) -> bool:
        try:
            await aspeak(self.state.sender.send(self.key_prefix, time(), everything), self.aclient())
        except (RedisError, ConfigurationError) as error:
            logger.info("Statistics wait to be sent. %s", explain(error), extra={"action": "stats_wait"})
            return False
        return True

    def aclient(self) -> Any:
        """The running loop's client for the primary."""
        return aclient_at(servers(self._server)[0], self.options)

    def reader(self) -> Any:
        client = self.client
        primary = client.get_client(write=True)
        if len(client._server) == 1:
            return primary
        return ReplicaFirst(primary, client.get_client(write=False))

    def tolerate(
        self, error: RedisError, otherwise: Any, deleted: Iterable[str] = (), bumped: Iterable[str] = (),
        is_strict: bool = True,
    ) -> None:  # fmt: skip
        """Re-raise what is no outage; else count, log and remember. A full pool is none, but a miss all the same."""
        if not (is_outage(error) or isinstance(error, MaxConnectionsError)):
            raise error
        self.state.counters.add("errors")
        self.state.outages += 1
        self.state.unsent.add(deleted, bumped, everything=self._shared.everything())
        if self.is_strict and is_strict:
            raise error
        if self._log_ignored_exceptions:  # django-redis's own setting, with its own logger and words
            self.logger.error("Exception ignored", exc_info=error)
        elif self.state.worth_logging():
            logger.warning(
                "The cache counts as empty for now. %s", explain(error), extra={"action": "cache_unavailable"}
            )
        if otherwise is RAISE:
            raise RedisUnavailable(explain(error)) from error


def moved_to(key: str, moved: bool, version: int) -> int:
    """The new version, or Django's ``ValueError`` where there was nothing to move."""
    if not moved:
        raise ValueError(f"Key '{key}' not found")
    return version
