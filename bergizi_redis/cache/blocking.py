"""Django's cache methods, blocking. What each says to the server stands in ``reading.py`` and ``writing.py``."""

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from redis.exceptions import RedisError

from bergizi_redis.cache.alias import moved_to
from bergizi_redis.cache.envelope import is_enveloped
from bergizi_redis.cache.nearby import NearMethods
from bergizi_redis.cache.reading import MISSING
from bergizi_redis.cache.tags import tag_names
from bergizi_redis.cache.writing import is_over


class BlockingMethods(NearMethods):
    """``client`` is django-redis's argument: another client, such as a pipeline's, to send the command with."""

    def get(
        self, key: str, default: Any = None, version: int | None = None, client: Any = None, *, strict: bool = False
    ) -> Any:
        """With ``strict`` the near cache is passed by."""
        name = self.made(key, version)
        if self.near is not None and not strict and client is None:
            found = self.near_value(name)
            if found is not MISSING:
                return found
        entries, scope = self.entries, self.scope
        began = perf_counter()
        if entries.is_plain(name):  # the usual case, without the cost of an exchange
            try:
                raw = (client or self.reader()).get(name)
            except RedisError as error:
                self.tolerate(error, default)
                return default
            self.state.counters.took(perf_counter() - began, "", scope.tenant or "")
            if raw is None or not is_enveloped(raw):
                found = entries.bare(raw, scope.tenant)
            else:
                found = self.ask(entries.judged(name, raw, scope), MISSING, client)
        else:
            found = self.ask(entries.get(name, scope), MISSING, client)
            self.state.counters.took(perf_counter() - began, "", scope.tenant or "")
        if found is MISSING:
            return default
        if self.near is not None:
            self.near_next_time(name)
        return found

    def get_many(self, keys: Iterable[str], version: int | None = None, client: Any = None) -> dict[str, Any]:
        names = {self.made(key, version): key for key in keys}
        found = self.ask(self.entries.get_many(list(names), self.scope), {}, client) if names else {}
        return {names[name]: value for name, value in found.items()}

    def has_key(self, key: str, version: int | None = None, client: Any = None) -> bool:
        return bool(self.ask(self.entries.holds(self.made(key, version), self.scope), False, client))

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None,
        nx: bool = False, xx: bool = False, *, tags: Sequence[str] | None = None,
    ) -> bool:  # fmt: skip
        """True when stored. With ``nx`` only if the key is missing, with ``xx`` only if it is there."""
        name = self.made(key, version)
        exchange = self.entries.set(name, value, self.seconds(timeout), self.scope, tag_names(tags), nx, xx)
        return bool(self.ask(exchange, False, client, deleted=[name]))

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None,
        *, tags: Sequence[str] | None = None,
    ) -> bool:  # fmt: skip
        name = self.made(key, version)
        exchange = self.entries.add(name, value, self.seconds(timeout), self.scope, tag_names(tags))
        return bool(self.ask(exchange, False, client, changed=[name]))

    def set_many(
        self, data: Mapping[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None,
        *, tags: Sequence[str] | None = None,
    ) -> list[str]:  # fmt: skip
        """The keys that could not be stored: none, or with Redis down all."""
        named = {self.made(key, version): value for key, value in data.items()}
        exchange = self.entries.set_many(named, self.seconds(timeout), self.scope, tag_names(tags))
        return list(data) if self.ask(exchange, MISSING, client, deleted=named) is MISSING else []

    def delete(self, key: str, version: int | None = None, client: Any = None) -> bool:
        name = self.made(key, version)
        return bool(self.ask(self.entries.delete([name]), False, client, deleted=[name]))

    def delete_many(self, keys: Iterable[str], version: int | None = None, client: Any = None) -> int | None:
        """How many there were, as django-redis has it; None for no keys, as Django has it."""
        names = [self.made(key, version) for key in keys]
        return int(self.ask(self.entries.delete(names), 0, client, deleted=names)) if names else None

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None) -> bool:
        name, seconds = self.made(key, version), self.seconds(timeout)
        exchange = self.entries.touch(name, seconds, self.scope)
        return bool(self.ask(exchange, False, client, deleted=[name] if is_over(seconds) else (), changed=[name]))

    def incr(
        self, key: str, delta: int = 1, version: int | None = None, client: Any = None, ignore_key_check: bool = False
    ) -> int:
        """The new number. ``ValueError`` without one, unless ``ignore_key_check``; ``RedisUnavailable`` when down."""
        if ignore_key_check:
            return int(super().incr(key, delta, version=version, client=client, ignore_key_check=True))
        name = self.made(key, version)
        number: int = self.ask(self.entries.incr(name, delta, self.scope), client=client, changed=[name])
        return number

    def decr(self, key: str, delta: int = 1, version: int | None = None, client: Any = None) -> int:
        return self.incr(key, -delta, version, client)

    def incr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        version = self.version if version is None else version
        names = self.made(key, version), self.made(key, version + delta)
        return moved_to(key, self.ask(self.entries.move(*names, self.scope), changed=names), version + delta)

    def decr_version(self, key: str, delta: int = 1, version: int | None = None) -> int:
        return self.incr_version(key, -delta, version)
