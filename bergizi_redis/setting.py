"""What a setting is: a name, a type, a default and why; read live from the project's ``BERGIZI_REDIS``."""

import ipaddress
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar, overload

from django.conf import settings as django_settings

from bergizi_redis.exceptions import ConfigurationError

T = TypeVar("T")

SETTINGS_NAME = "BERGIZI_REDIS"
SECONDS = (int, float)


_lazy: Any = django_settings  # its type does not tell of the object inside, which override_settings changes
NOTHING: Mapping[str, Any] = MappingProxyType({})
# What Django's settings have read, and forget when they change; asking them for it costs ten times as much.
_read: dict[str, Any] = object.__getattribute__(_lazy, "__dict__")
_without: object = None  # Django's settings in force that have none: finding that out again costs more than a near hit


def given_settings() -> Mapping[str, Any]:
    """The project's ``BERGIZI_REDIS`` as it stands."""
    global _without
    given: Mapping[str, Any] = _read.get(SETTINGS_NAME, NOTHING)
    if given is NOTHING:
        if _read.get("_wrapped") is _without and SETTINGS_NAME not in vars(_without):
            return NOTHING
        given = getattr(_lazy, SETTINGS_NAME, NOTHING)
    if given is NOTHING:
        _without = _lazy._wrapped
    if type(given) is not dict and not isinstance(given, Mapping):
        raise ConfigurationError(f"{SETTINGS_NAME} is {given!r}; expected a dict, such as {{'CACHE_ALIAS': 'cache'}}.")
    return given


class Setting(Generic[T]):
    """One setting. ``why`` is its row in the reference; ``valid`` may narrow what its type allows."""

    def __init__(
        self, default: T, why: str, *, types: tuple[type, ...] | None = None, valid: Callable[[Any], bool] | None = None
    ) -> None:
        self.default = default
        self.why = why
        self.types = types or (type(default),)
        self.valid = valid or (lambda value: True)
        self.name = ""
        self.sound: object = self  # a value that was found valid, or none yet

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "Setting[T] | T":
        if instance is None:
            return self
        given = given_settings()
        if self.name not in given:
            return self.default
        value = given[self.name]
        if value is not self.sound:
            if problem := self.problem(value):
                raise ConfigurationError(f"{SETTINGS_NAME}[{self.name!r}] {problem}")
            if isinstance(value, str | int | float):  # what cannot change is judged once: reads ask all the time
                self.sound = value
        return value  # type: ignore[no-any-return]

    def problem(self, value: object) -> str | None:
        """What is wrong with the value, or None."""
        is_bool_by_mistake = isinstance(value, bool) and bool not in self.types
        if not isinstance(value, self.types) or is_bool_by_mistake:
            expected = " or ".join("None" if kind is type(None) else kind.__name__ for kind in self.types)
            return f"is {value!r}; expected {expected}. Default: {self.default!r}."
        if not self.valid(value):
            return f"is {value!r}, which is out of range. {self.why} Default: {self.default!r}."
        return None


def is_positive(value: Any) -> bool:
    return bool(0 < value < float("inf"))


def are_networks(value: Any) -> bool:
    try:
        return all(isinstance(cidr, str) and ipaddress.ip_network(cidr, strict=False) for cidr in value)
    except ValueError:
        return False


def are_proxies(value: Any) -> bool:
    """Networks, or a number of hops."""
    return 0 <= value <= 32 if isinstance(value, int) else are_networks(value)


def are_names(value: Any) -> bool:
    """A field's name, "" for none, or several of them."""
    return isinstance(value, str) or all(isinstance(name, str) and name for name in value)


def are_lives(value: Any) -> bool:
    return all(
        isinstance(label, str) and isinstance(life, int | float) and not isinstance(life, bool) and is_positive(life)
        for label, life in value.items()
    )
