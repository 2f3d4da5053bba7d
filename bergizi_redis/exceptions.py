"""Every error the package raises on purpose. The message names the wrong value, the valid ones and the remedy."""

from django.core.exceptions import ImproperlyConfigured


class BergiziRedisError(Exception):
    """Base class of this package's errors."""


class ConfigurationError(BergiziRedisError, ImproperlyConfigured):
    """A setting cannot be used as it stands."""


class TenantError(BergiziRedisError, ValueError):
    """A tenant id that cannot stand in a Redis key."""


class TenantRequired(BergiziRedisError, LookupError):
    """Tenant-scoped work was started where no tenant is known.

    Raised rather than falling back to a shared scope: the fallback would show one tenant's data to another.
    """


class RedisUnavailable(BergiziRedisError):
    """The server could not be asked within the time budget. The driver's error is the ``__cause__``."""


class EmbeddedUnavailable(BergiziRedisError):
    """The embedded Valkey is not installed, or did not start."""


class UnknownWarmer(BergiziRedisError, LookupError):
    """``warm_cache`` was asked for a warmer that nobody registered."""


class CacheKeyError(BergiziRedisError, TypeError):
    """An argument that no stable cache key can be made of."""


class NotCacheable(BergiziRedisError, ValueError):
    """A query whose result must not be remembered: it may differ without a write, or its tables cannot be told."""
