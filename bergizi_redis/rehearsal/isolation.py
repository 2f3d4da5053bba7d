"""Keys of its own for a test, on a server that others use at the same time.

Promise: inside the block every key of this package and of every Redis alias of ``CACHES`` has a prefix that nobody else
has; afterwards the settings are as before, and those keys are gone. Nothing is flushed. Round trips: none, but for the
removal: SCAN over the servers in use, UNLINK of what is found. Redis down: there is nothing to remove.
"""

import copy
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings
from django_redis.cache import RedisCache
from redis.exceptions import RedisError

from bergizi_redis.conf import SETTINGS_NAME, given_settings
from bergizi_redis.connections import alias_settings, client
from bergizi_redis.tenancy import use_tenant

SCANNED = 1000  # keys a step


def new_name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@contextmanager
def isolation() -> Iterator[str]:
    """The block of ``isolated_redis``: a name that is part of every key. ``ImproperlyConfigured`` without settings."""
    try:
        before: Mapping[str, Any] = settings.CACHES
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(
            "Isolation needs Django's settings: set DJANGO_SETTINGS_MODULE and call django.setup(), or install "
            "pytest-django, which does both."
        ) from error
    name = new_name()
    caches = copy.deepcopy(dict(before))
    for options in caches.values():
        own = options.get("KEY_PREFIX")
        options["KEY_PREFIX"] = f"{own}.{name}" if own else name  # aliases that differ go on to differ
    overridden = {"CACHES": caches, SETTINGS_NAME: {**given_settings(), "KEY_PREFIX": name}}
    with override_settings(**overridden):
        try:
            yield name
        finally:
            _remove(name)


@contextmanager
def tenancy() -> Iterator[str]:
    """The block of ``isolated_tenant``: a tenant that nobody else has, in force."""
    name = new_name()
    with use_tenant(name):
        yield name


def _remove(name: str) -> None:
    for alias in {alias_settings(alias)[0]: alias for alias in _redis_aliases()}.values():
        try:
            found = list(client(alias).scan_iter(match=f"*{name}*", count=SCANNED))
            for start in range(0, len(found), SCANNED):
                client(alias).unlink(*found[start : start + SCANNED])
        except RedisError:  # the test may have killed its server, and the keys with it
            pass


def _redis_aliases() -> list[str]:
    from django.core.cache import caches

    return [alias for alias in settings.CACHES if isinstance(caches[alias], RedisCache)]
