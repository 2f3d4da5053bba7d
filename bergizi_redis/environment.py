"""The URL of Redis in the environment. Public as ``bergizi_redis.conf.redis_url_from_env``."""

import os
from urllib.parse import quote

from bergizi_redis.exceptions import ConfigurationError


def redis_url_from_env(default: str | None = None) -> str | None:
    """The URL in ``REDIS_URL``, else one made of ``REDIS_HOST``, ``REDIS_PORT``, ``REDIS_PASSWORD``, ``REDIS_DB``.

    ``default`` when neither ``REDIS_URL`` nor ``REDIS_HOST`` is set. An empty variable counts as unset. Raises
    ``ConfigurationError`` for a port or a database that is not a number.
    """
    if url := os.environ.get("REDIS_URL"):
        return url
    host = os.environ.get("REDIS_HOST")
    if not host:
        return default
    port = _number_from_env("REDIS_PORT", 6379, range(1, 65536))
    database = _number_from_env("REDIS_DB", 0, range(10_000))
    password = os.environ.get("REDIS_PASSWORD", "")
    credentials = f":{quote(password, safe='')}@" if password else ""
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"redis://{credentials}{host}:{port}/{database}"


def _number_from_env(name: str, default: int, valid: range) -> int:
    text = os.environ.get(name) or str(default)
    if text.isascii() and text.isdecimal() and int(text) in valid:
        return int(text)
    hint = " Kubernetes sets it so for a service named redis: set REDIS_URL instead." if "://" in text else ""
    raise ConfigurationError(f"{name} is {text!r}; expected a number up to {valid[-1]}, such as {default}.{hint}")
