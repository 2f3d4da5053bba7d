"""The settings of the lockout; ``conf.config`` has them with all others."""

from collections.abc import Mapping, Sequence
from typing import Any

from bergizi_redis.setting import SECONDS, Setting, is_positive

MODES = ("degrade", "closed", "open")
NETWORKS = ("address", "network24", "network48")
ALERTS = ("spray", "distributed", "failures", "success")


def is_number(value: Any, kinds: Any = int) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(0 <= value < float("inf"))


def are_modes(value: Any) -> bool:
    """One of the modes, or one by scope."""
    return value in MODES if isinstance(value, str) else all(
        isinstance(scope, str) and mode in MODES for scope, mode in value.items()
    )  # fmt: skip


def are_limits(value: Any) -> bool:
    """Network to (attempts, seconds)."""
    return all(
        name in NETWORKS and isinstance(pair, tuple | list) and len(pair) == 2
        and is_number(pair[0]) and pair[0] > 0 and is_number(pair[1], SECONDS) and pair[1] > 0
        for name, pair in value.items()
    )  # fmt: skip


def are_thresholds(value: Any) -> bool:
    return all(name in ALERTS and is_number(number) for name, number in value.items())


class LockoutConfig:
    """Read ``config.NAME``; never write."""

    LOCKOUT_ATTEMPTS = Setting(5, "Password checks allowed before an account locks.", valid=is_positive)
    LOCKOUT_SECONDS = Setting(
        1800, "Seconds a lock lasts; trying again never extends it.", types=SECONDS, valid=is_positive
    )
    LOCKOUT_SCHEDULE = Setting[Sequence[float]](
        (), "Seconds of the first lock, the second, and so on, such as `[1800, 3600, 14400, 86400]`; the last goes on."
        " Empty: `LOCKOUT_SECONDS` each time.",
        types=(tuple, list), valid=lambda value: all(is_number(one, SECONDS) and one > 0 for one in value),
    )  # fmt: skip
    LOCKOUT_WINDOW = Setting(
        24 * 3600, "Seconds that failed attempts are remembered.", types=SECONDS, valid=is_positive
    )
    LOCKOUT_CAP = Setting(
        100, "Failures in a row, locks in between or not, after which an account stays locked until it is unlocked"
        " (NIST SP 800-63B-4 §3.2.2: no more than 100); 0: none.", valid=is_number,
    )  # fmt: skip
    LOCKOUT_MEMORY = Setting(
        90 * 24 * 3600, "Seconds after the last failure for which failures in a row, and how long the last lock was,"
        " are remembered.", types=SECONDS, valid=is_positive,
    )  # fmt: skip
    NETWORK_LOCKOUT = Setting[Mapping[str, tuple[int, float]]](
        {"address": (100, 900), "network48": (1000, 900)},
        "Failed attempts and seconds of a window, for all accounts together: of an `address` (IPv4 /32, IPv6 /64), a"
        " `network48` (IPv6 /48) and, not by default, a `network24` (IPv4 /24). An office behind one address"
        " shares it.",
        types=(dict,), valid=are_limits,
    )  # fmt: skip
    LOCKOUT_ON_OUTAGE = Setting[str | Mapping[str, str]](
        {"password": "degrade", "*": "closed"},
        "When Redis is down: `degrade` to a small per-process limiter, fail `closed` (503), or `open`; for every scope,"
        " or by scope, with `staff` for the admin's log-in and `*` for the rest.",
        types=(str, dict), valid=are_modes,
    )  # fmt: skip
    LOCKOUT_ALERTS = Setting[Mapping[str, int]](
        {"spray": 30, "distributed": 10, "failures": 90, "success": 5},
        "What `spray_detected` and `success_after_failures` tell of: accounts tried from a network, networks that tried"
        " an account, per cent of a tenant's log-ins that fail, failures before a success; 0 or left out: nothing.",
        types=(dict,), valid=are_thresholds,
    )  # fmt: skip
    IDENTIFIER_RESOLVER = Setting(
        "", "Dotted path of `resolver(identifier) -> str | None`, the one name of an account that has several, such as"
        " `bergizi_redis.security.resolvers.username_or_email`.",
    )  # fmt: skip
    DEVICE_COOKIE = Setting(
        "device", "Name of the cookie by which a browser that has signed in is known again; `''`: none is given."
    )
    DEVICE_COOKIE_AGE = Setting(
        180 * 24 * 3600, "Seconds that the device's cookie is good for.", types=SECONDS, valid=is_positive
    )
    UNLOCK_LINK_SECONDS = Setting(
        1800, "Seconds that an e-mailed link to unlock an account is good for, once.", types=SECONDS, valid=is_positive
    )
    LOCKED_LOOKS_WRONG = Setting(
        False, "Answer a refused log-in just as a wrong password, and as late, so that not even the lock shows; the"
        " owner is not told either. False: 429 with `Retry-After`, alike for names that exist and that do not.",
    )  # fmt: skip
    REVEAL_LOCK = Setting(False, "Tell the person at the log-in form that the account is locked (and a stranger too).")
