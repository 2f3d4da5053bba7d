"""Whom a limit counts: the address, the user, the tenant, a field or a header of the request, or what a function says.

No value is one bucket for all who have none: a visitor who is not signed in, a request without the tenant, the field
or the header is counted by its address. Addresses are networks (/32, IPv6 /64), from the one who stands before the
trusted proxies. What the client wrote is compared as names are (case, width, invisible characters), and counted for
each tenant apart; an address or a user is one whichever tenant it turns to. No round trip to Redis.
"""

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from inspect import iscoroutine
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.encoding import force_bytes
from django.utils.module_loading import import_string

from bergizi_redis import keys
from bergizi_redis.addresses import client_ip, network_of
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.security.identifiers import canonical_identifier
from bergizi_redis.security.limiting import theirs
from bergizi_redis.tenancy import find_tenant, find_tenant_of_account

SALT = b"bergizi_redis.security.ratelimit"
NAMES = "'ip', 'user', 'user_or_ip', 'tenant', 'get:<name>', 'post:<name>', 'header:<name>', a function or its path"

Value = tuple[str, str, str]  # what it is, the tenant where that matters, the value itself


def address(request: HttpRequest) -> str | None:
    """The client's address as limits see it; None where the server does not tell."""
    found = theirs.named_ip(request) if theirs.names_address() else None
    return found or client_ip(request)


def network(request: HttpRequest) -> str:
    """The network that is counted, by its first address. ``ConfigurationError`` where nothing tells any address."""
    found = address(request)
    if found is None:
        raise ConfigurationError(
            "The client's address is not known: REMOTE_ADDR is "
            f"{request.META.get('REMOTE_ADDR')!r}, as behind a proxy on a Unix socket. Say in RATELIMIT_IP_META_KEY "
            "where your proxy writes it, such as 'HTTP_X_REAL_IP'; otherwise all clients would be one."
        )
    return _first_address(found, *theirs.widths())


@lru_cache(maxsize=4096)
def _first_address(address: str, ipv4: int, ipv6: int) -> str:
    return network_of(address, ipv4, ipv6).partition("/")[0]


def value_of(key: Any, group: str, request: HttpRequest) -> Value:
    """Whom the request counts for. Raises ``ConfigurationError``."""
    check(key)
    if callable(key):
        return _called(key, group, request)
    if key in SIMPLE:
        return SIMPLE[key](request) or _ip(request)
    kind, colon, name = key.partition(":")
    if not colon:
        return _called(import_string(key), group, request)
    text = FIELDS[kind](request, name)
    return (key, find_tenant_of_account() or keys.SHARED, canonical_identifier(text)) if text else _ip(request)


def check(key: Any) -> None:
    """Raises ``ConfigurationError`` for what is no key."""
    if not key:
        raise ConfigurationError(f"A rate limit needs a key: {NAMES}.")
    if callable(key) or key in SIMPLE:
        return
    kind, colon, name = key.partition(":")
    if not (kind in FIELDS and name if colon else "." in key):
        raise ConfigurationError(f"{key!r} is not a key of a rate limit. Give {NAMES}.")


def _called(function: Callable[..., Any], group: str, request: HttpRequest) -> Value:
    value = function(group, request)
    if iscoroutine(value):
        value.close()
        raise ConfigurationError(f"{function!r} is asynchronous; the key of a rate limit is asked in a thread.")
    return ("", "", str(value))


def _ip(request: HttpRequest) -> Value:
    return ("ip", "", network(request))


def _user(request: HttpRequest) -> Value | None:
    user = getattr(request, "user", None)
    return ("user", "", str(user.pk)) if user is not None and user.is_authenticated else None


def _tenant(request: HttpRequest) -> Value | None:
    tenant = find_tenant()
    return ("tenant", "", tenant) if tenant else None


SIMPLE: dict[str, Callable[[HttpRequest], Value | None]] = {
    "ip": _ip,
    "user": _user,
    "user_or_ip": _user,
    "tenant": _tenant,
}
FIELDS: dict[str, Callable[[HttpRequest, str], str]] = {
    "get": lambda request, name: request.GET.get(name, ""),
    "post": lambda request, name: str(request.POST.get(name, "")),
    "header": lambda request, name: request.META.get("HTTP_" + name.replace("-", "_").upper(), ""),
}


@lru_cache(maxsize=4)
def _secret(secret: str | bytes) -> bytes:
    return hashlib.sha256(SALT + force_bytes(secret)).digest()


def tag_of(*parts: str) -> str:
    """128 bits in hex for the parts, keyed with ``SECRET_KEY``, so that a key in Redis names nobody.

    Each part has its length before it: no choice of separators makes two lists of parts one.
    """
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
    return hmac.digest(_secret(settings.SECRET_KEY), message, "sha256").hex()[:32]
