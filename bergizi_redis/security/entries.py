"""One event of an audit trail: what may stand in it, how it is written, and how it is read.

Text is cut and escaped, so that no client writes a line of its own into a log; a field that is called like a secret is
refused. Of an address there stands what ``SESSION_CLIENT_PRIVACY`` lets be kept. Needs no Redis.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.utils.crypto import salted_hmac

from bergizi_redis import keys
from bergizi_redis.addresses import network_of, valid_ip
from bergizi_redis.auditkeys import unknown_trail, user_trail
from bergizi_redis.conf import config
from bergizi_redis.security.vocabulary import checked_name

LONGEST = 200  # characters of a text
AGENT = 256  # of a user agent; browsers send some 120
MOST_DETAILS = 16
OUTCOMES = ("success", "failure", "denied", "unknown")
TENANT_TIMES = 5  # as many events of those who are unknown at a tenant as of a user
# Parts of words, so that ``new_password``, ``X-Api-Key`` and ``sessionid`` are found as well.
SECRET = re.compile(
    r"pass(wor|phr|wd|code)|pwd|secret|token|cookie|authoriz|credential|session_?(key|id)$|csrf|api_?key|private_?key"
    r"|otp|^pin$|cvv|card_?number|signature|hash$"
)


class SecretRefused(ValueError):
    """A field that is called like a secret was to be recorded. Nothing was."""


def plain(text: object, longest: int = LONGEST) -> str:
    """One line, cut; what cannot be printed – line ends, controls, what turns text around – is written as an escape.

    A backslash is doubled, so that no text can look like an escape that was made here.
    """
    shown = []
    for char in str(text)[:longest]:
        if char == "\\":
            shown.append("\\\\")
        elif char.isprintable():
            shown.append(char)
        else:
            shown.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return "".join(shown)[:longest]


def kept_network(address: str | None) -> str | None:
    """What may be kept of an address: itself, its network, a digest, or nothing; None for what is none."""
    mode, valid = config.SESSION_CLIENT_PRIVACY, valid_ip(address)
    if valid is None or mode == "off":
        return None
    if mode == "prefix":
        return network_of(valid, 24, 48)
    if mode == "hash":
        return "#" + salted_hmac("bergizi_redis.sessions.ip", valid, algorithm="sha256").hexdigest()[:16]
    return valid


def kept_agent(agent: str | None) -> str | None:
    return None if not agent or config.SESSION_CLIENT_PRIVACY == "off" else plain(agent, AGENT)


def cleaned(details: Mapping[str, Any]) -> dict[str, Any]:
    """Names and plain values, at most ``MOST_DETAILS``. Raises ``SecretRefused`` for a name like that of a secret."""
    if len(details) > MOST_DETAILS:
        raise ValueError(f"details holds {len(details)} fields; {MOST_DETAILS} are the most. Record what matters.")
    found = {}
    for name, value in details.items():
        if SECRET.search(str(name).lower().replace("-", "_")):
            raise SecretRefused(f"details[{plain(name)!r}] is called like a secret, and an audit trail holds none.")
        found[plain(name, 40)] = _value(value)
    return found


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return cleaned(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(each) for each in [*value][:MOST_DETAILS]]
    is_small = isinstance(value, bool | None) or (isinstance(value, int) and abs(value) < 2**53)
    return value if is_small else plain(value)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that is to be written. ``same``: what makes it one with the event before it, "": nothing;
    ``same_ms``: for how long, 0: as long as it is the last. ``noted``: ms, of one that waited for Redis."""

    trail: str
    fields: Mapping[str, Any]
    same: str = ""
    same_ms: int = 0
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))
    noted: int | None = None

    @property
    def keep(self) -> tuple[int, int]:
        """ms and events that its trail keeps."""
        times = TENANT_TIMES if self.trail.startswith(keys.SHARED) else 1
        return round(config.AUDIT_RETENTION * 1000), config.AUDIT_MAXLEN * times

    @property
    def payload(self) -> str:
        """Canonical JSON. ``keep`` stands in it so that a trail itself says how much of it may be gone."""
        told = {name: value for name, value in self.fields.items() if value not in (None, "", {})}
        noted = {} if self.noted is None else {"noted": self.noted}
        return json.dumps({**told, **noted, "keep": self.keep}, sort_keys=True, separators=(",", ":"))


def draft(
    event: str, user_id: object | None, *, tenant: str | None, actor: object | None, outcome: str, ip: str | None,
    user_agent: str | None, reason: str, request_id: str | None, details: Mapping[str, Any] | None, same: str = "",
    same_ms: int = 0,
) -> Draft:  # fmt: skip
    """Raises ``ValueError`` for what cannot be recorded."""
    if outcome not in OUTCOMES:
        raise ValueError(f"{outcome[:40]!r} is no outcome: use one of {', '.join(OUTCOMES)}.")
    tenant = None if tenant in (None, keys.SHARED) else keys.validated_tenant(tenant)
    trail = unknown_trail(tenant) if user_id in (None, "") else user_trail(user_id)
    told = {
        "event": checked_name(event), "user": _named(user_id), "tenant": tenant, "actor": _named(actor),
        "outcome": outcome, "network": kept_network(ip), "agent": kept_agent(user_agent), "reason": plain(reason),
        "request": None if request_id is None else plain(request_id, 80), "details": cleaned(details or {}),
    }  # fmt: skip
    return Draft(trail, told, same, same_ms)


def _named(who: object | None) -> str | None:
    return None if who in (None, "") else plain(who)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event of a trail. ``at`` is aware (UTC), by Redis's clock; ``noted``, by the application's, of one that waited
    for Redis. ``times``: how often the same came again, the last one ``last``. ``seq`` is 0 of one not in Redis yet."""

    at: datetime
    event: str
    user_id: str | None
    tenant: str | None
    actor: str | None
    outcome: str
    network: str | None
    agent: str | None
    reason: str
    request_id: str | None
    details: Mapping[str, Any]
    seq: int = 0
    id: str = ""
    times: int = 0
    last: datetime | None = None
    noted: datetime | None = None


def moment(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def entry_of(told: Mapping[str, Any], ms: float, *, seq: int = 0, entry_id: str = "", again: str = "") -> Entry:
    """What the payload says. Raises ``ValueError``, ``TypeError``, ``OverflowError`` for what is none of ours."""
    times, _, last = again.partition(" ")
    return Entry(
        moment(ms), str(told.get("event", "")), told.get("user"), told.get("tenant"), told.get("actor"),
        str(told.get("outcome", "unknown")), told.get("network"), told.get("agent"), str(told.get("reason", "")),
        told.get("request"), dict(told.get("details") or {}), seq, entry_id, int(times or 0),
        moment(int(last)) if last else None, moment(told["noted"]) if "noted" in told else None,
    )  # fmt: skip
