"""Which address a request comes from, and the networks that it belongs to. No round trip, and never an exception.

The peer's own address counts, unless it is a trusted proxy (``TRUSTED_PROXIES``): then X-Forwarded-For is walked from
the right, past as many proxies as are trusted. What stands further left is the client's own claim and not believed.
"""

import ipaddress
from typing import TYPE_CHECKING

from bergizi_redis.conf import config
from bergizi_redis.tenancy import is_trusted_proxy

if TYPE_CHECKING:
    from django.http import HttpRequest

LONGEST = 4096  # characters of X-Forwarded-For that are looked at, from the right


def client_ip(request: "HttpRequest") -> str | None:
    """The client's address in its shortest form; the peer's where a proxy wrote nonsense; None where that is none."""
    peer = request.META.get("REMOTE_ADDR", "")
    claimed = [part for part in request.META.get("HTTP_X_FORWARDED_FOR", "")[-LONGEST:].split(",") if part.strip()]
    found = _behind_so_many(claimed) if isinstance(config.TRUSTED_PROXIES, int) else _behind_networks(peer, claimed)
    return found or valid_ip(peer)


def _behind_so_many(claimed: list[str]) -> str | None:
    """``TRUSTED_PROXIES`` is how many proxies stand before the application: each has appended one address."""
    hops: int = config.TRUSTED_PROXIES
    return bare_ip(claimed[-hops]) if 0 < hops <= len(claimed) else None


def _behind_networks(peer: str, claimed: list[str]) -> str | None:
    address = valid_ip(peer)
    while claimed and address is not None and is_trusted_proxy(address):
        address = bare_ip(claimed.pop())
    return address


def bare_ip(text: str) -> str | None:
    """An address as proxies write it: in brackets, with a port, quoted."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return valid_ip(text)


def valid_ip(text: object) -> str | None:
    """The address in its shortest form, or None. An IPv4 one in IPv6 dress (``::ffff:…``) is the IPv4 one.

    A zone (``fe80::1%eth0``) goes: it is the server's own name for an interface.
    """
    try:
        address = ipaddress.ip_address(str(text or "").strip().partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def network_of(address: str, ipv4: int, ipv6: int) -> str:
    """The network of a valid address, so many bits wide: ``network_of("10.1.2.3", 24, 64)`` is ``10.1.2.0/24``."""
    width = ipv6 if ":" in address else ipv4
    return str(ipaddress.ip_network(f"{address}/{width}", strict=False))
