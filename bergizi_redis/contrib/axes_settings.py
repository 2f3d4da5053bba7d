"""The settings of django-axes as those of this package. Imports nothing of django-axes, so settings.py may use it::

BERGIZI_REDIS = {**lockout_settings(globals()), "SECURITY_ALIAS": "sessions"}
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bergizi_redis.exceptions import ConfigurationError

OLD_NAMES = ("AXES_ONLY_USER_FAILURES", "AXES_LOCK_OUT_BY_COMBINATION_USER_AND_IP")  # without the address alone
DEFAULT_LIMIT = 3  # of django-axes


def lockout_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Of ``AXES_…`` names and values. ``ConfigurationError`` for a value that is a function: it must be mapped by hand.

    Limits are of the account and, where ``AXES_LOCKOUT_PARAMETERS`` names it, of the address in a window as long as
    the cool-off. Without a cool-off accounts stay locked until somebody unlocks them.
    """
    limit = _plain(given, "AXES_FAILURE_LIMIT", DEFAULT_LIMIT, int)
    seconds = _seconds(_plain(given, "AXES_COOLOFF_TIME", None, (int, float, timedelta, type(None))))
    mapped: dict[str, Any] = {"LOCKOUT_ATTEMPTS": limit}
    if seconds is None:
        mapped["LOCKOUT_CAP"] = limit
    else:
        mapped |= {"LOCKOUT_SECONDS": seconds, "LOCKOUT_WINDOW": seconds}
    parameters = _plain(given, "AXES_LOCKOUT_PARAMETERS", None, (list, tuple, type(None)))
    by_address = not any(map(given.get, OLD_NAMES)) if parameters is None else "ip_address" in parameters
    mapped["NETWORK_LOCKOUT"] = {"address": (limit, seconds or 24 * 3600)} if by_address else {}
    return mapped | _proxies(given)


def _plain(given: Mapping[str, Any], name: str, default: Any, kinds: Any) -> Any:
    value = given.get(name, default)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ConfigurationError(f"{name} is {value!r}, which only a person can map; see 'Move from django-axes'.")
    return value


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value * 3600  # numbers are hours there
    if seconds <= 0:
        raise ConfigurationError(f"AXES_COOLOFF_TIME is {value!r}; expected hours above 0, or a timedelta.")
    return float(seconds)


def _proxies(given: Mapping[str, Any]) -> dict[str, Any]:
    trusted = given.get("AXES_IPWARE_PROXY_TRUSTED_IPS", given.get("AXES_PROXY_TRUSTED_IPS"))
    count = given.get("AXES_IPWARE_PROXY_COUNT", given.get("AXES_PROXY_COUNT"))
    if trusted:
        return {"TRUSTED_PROXIES": list(trusted)}
    return {"TRUSTED_PROXIES": count} if count else {}
