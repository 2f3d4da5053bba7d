"""The networks that an attempt comes from, and how many failures each may have, for all accounts together.

They slow down who tries one password on a thousand accounts; an account's own limit is the smaller one. The log of a
network holds its attempts of the window, so in no window of that length there are more than its limit; a success takes
its own attempt off the log, and no other. A refused network costs the account nothing, and refuses alike whoever is
tried: one stranger cannot lock more accounts than the limit allows, nor fill the memory with made-up names.
"""

from dataclasses import dataclass

from bergizi_redis import lockoutkeys
from bergizi_redis.addresses import network_of, valid_ip
from bergizi_redis.conf import config
from bergizi_redis.security.account import in_ms
from bergizi_redis.security.identifiers import network_tag

# Name in NETWORK_LOCKOUT → (reason of a refusal, bits of IPv4 or None, bits of IPv6 or None); the narrowest first.
WIDTHS: dict[str, tuple[str, int | None, int | None]] = {
    "address": ("address", 32, 64),
    "network24": ("network", 24, None),
    "network48": ("network", None, 48),
}


@dataclass(frozen=True, slots=True)
class Network:
    """``text``: ``203.0.113.7/32``; ``reason``: ``address`` or ``network``."""

    reason: str
    text: str
    tag: str
    limit: int
    window_ms: int

    @property
    def keys(self) -> tuple[str, str, str]:
        return lockoutkeys.network(self.tag), lockoutkeys.spray(self.tag), lockoutkeys.told(self.tag)


def networks_of(ip: str | None, scope: str) -> tuple[Network, ...]:
    """Those to pass, in order; none for what is no address. They are the same for every tenant."""
    address = valid_ip(ip)
    return () if address is None else tuple(
        Network(reason, text, network_tag(scope, text), *_limit(name))
        for name, (reason, ipv4, ipv6) in WIDTHS.items()
        if name in config.NETWORK_LOCKOUT and (ipv6 if ":" in address else ipv4)
        for text in [network_of(address, ipv4 or 32, ipv6 or 128)]
    )  # fmt: skip


def _limit(name: str) -> tuple[int, int]:
    attempts, seconds = config.NETWORK_LOCKOUT[name]
    return attempts, in_ms(seconds)
