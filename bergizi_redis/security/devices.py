"""Trusted devices: a browser that has signed in is counted by itself, so strangers cannot lock the owner out of it.

After the protocol of OWASP (Slow Down Online Guessing Attacks with Device Cookies). A log-in that succeeds is given a
cookie; the next from this browser, to this account, pays with the device's own count – as many tries, locks and cap as
an account has – and neither with the account's nor the network's: it works while strangers have either locked, and what
is tried with a stolen cookie locks that device only. The cookie is no password; it only says whose count is used.

It holds, signed (``SECRET_KEY``, and ``SECRET_KEY_FALLBACKS`` while they stand), up to five devices of people who share
the browser: the account's tag, the device, the user's key, and digests by which it ends – of the password (session auth
hash), and the epoch that ``lockout.forget_devices`` renews. Forged, of another account or tenant, too old, or from
before either: it counts as none. One query of the user for a cookie that fits the name; no round trip of its own.
"""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import HttpResponseBase
from django.utils.crypto import constant_time_compare

from bergizi_redis import lockoutkeys
from bergizi_redis.conf import config
from bergizi_redis.keys import SHARED
from bergizi_redis.security.account import Account, in_ms
from bergizi_redis.security.identifiers import account_tags
from bergizi_redis.security.resolvers import resolved, user_of_key
from bergizi_redis.security.steps import Call, Pipeline, Steps

SALT = "bergizi_redis.security.devices"
SCOPE = "password"
TOGETHER = 5  # people who share a browser; the one who signed in longest ago is forgotten


@dataclass(frozen=True, slots=True)
class Trusted:
    """One device of one account, as the cookie has it."""

    tag: str
    ident: str
    user: str
    epoch: str
    password: str


def known(request: Any, account: Account) -> Steps[Trusted | None]:
    """The device that the request comes from, where its cookie is good for this account."""
    if account.scope != SCOPE or not config.DEVICE_COOKIE:
        return None
    tags = account_tags(account.tenant, account.scope, account.identifier)
    fitting = next((device for device in _held(request) if device.tag in tags), None)
    return fitting if fitting and (yield Call(_is_current, (fitting,))) else None


def trusted(account: Account, epoch: str, user: object) -> Trusted | None:
    """What to give the browser of a log-in that succeeded; it keeps the device that it is known by."""
    if account.scope != SCOPE or not config.DEVICE_COOKIE or not hasattr(user, "get_session_auth_hash"):
        return None
    password = _digest(user.get_session_auth_hash())
    key = str(getattr(user, "pk", ""))
    return Trusted(account.tag, account.device or secrets.token_urlsafe(12), key, epoch, password)


def give(request: Any, response: HttpResponseBase, device: Trusted) -> None:
    """Set the cookie; those of others who use this browser stay in it."""
    others = [one for one in _held(request) if one.user != device.user and one.tag != device.tag]
    response.set_cookie(
        config.DEVICE_COOKIE,
        signing.dumps([astuple(one) for one in [device, *others][:TOGETHER]], salt=SALT),
        max_age=round(config.DEVICE_COOKIE_AGE),
        path=settings.SESSION_COOKIE_PATH,
        domain=settings.SESSION_COOKIE_DOMAIN,
        secure=settings.SESSION_COOKIE_SECURE or request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def forget(user: Any, tenant: str | None) -> Steps[None]:
    """Let no cookie given until now count, for every name by which the user may have signed in. Raises Redis's errors.

    Signing in often happens before a tenant is known, so the shared scope's go with the tenant's.
    """
    names = {user.get_username(), getattr(user, user.get_email_field_name(), None)} - {None, ""}
    tags = set[str]()
    for account in [Account.of(name, owner, SCOPE) for name in names for owner in (tenant, SHARED)]:
        tags.add((yield from resolved(account)).tag)
    life_ms = in_ms(config.DEVICE_COOKIE_AGE)
    yield Pipeline([("set", lockoutkeys.devices(tag), secrets.token_hex(8), None, life_ms) for tag in sorted(tags)])


def _held(request: Any) -> Iterator[Trusted]:
    value = getattr(request, "COOKIES", {}).get(config.DEVICE_COOKIE)
    try:
        rows = signing.loads(value, salt=SALT, max_age=config.DEVICE_COOKIE_AGE) if value else []
    except signing.BadSignature:
        rows = []
    yield from (Trusted(*row) for row in rows if len(row) == 5)


def _is_current(device: Trusted) -> bool:
    """Whether the user is there, and has the password of then."""
    user = user_of_key(device.user)
    if user is None:
        return False
    fallbacks = getattr(user, "get_session_auth_fallback_hash", tuple)
    hashes = [user.get_session_auth_hash(), *fallbacks()]
    return any(constant_time_compare(device.password, _digest(one)) for one in hashes)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
