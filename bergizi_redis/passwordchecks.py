"""What is weak about passwords in the settings: hashers, their order and cost, peppers, validators, uncounted log-ins.

``check`` reports it where a part of ours is in use, ``manage.py check_passwords`` in any case. Reads settings alone;
the deployment check asks for the breach list.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.utils.module_loading import import_string
from redis.exceptions import RedisError

from bergizi_redis import checklist
from bergizi_redis.conf import SETTINGS_NAME, Config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.passwordconf import LEAST_COST
from bergizi_redis.security.breaches.building import in_force
from bergizi_redis.wiring import entries, types_of, unguarded, value_of

TAG = "bergizi_redis"
HASHERS, VALIDATORS = "django.contrib.auth.hashers.", "bergizi_redis.security.validators."
OURS = "peppered_bcrypt"
PEPPERED = "bergizi_redis.security.hashers.PepperedBCryptPasswordHasher"
DJANGO_BCRYPT = f"{HASHERS}BCryptSHA256PasswordHasher"
TRUNCATING = f"{HASHERS}BCryptPasswordHasher"  # a subclass of the one before
FAST = {
    f"{HASHERS}{name}"
    for name in ("MD5PasswordHasher", "SHA1PasswordHasher", "UnsaltedMD5PasswordHasher", "UnsaltedSHA1PasswordHasher")
}
LENGTHS = {f"{VALIDATORS}PolicyValidator", f"{VALIDATORS}LengthValidator"}
DJANGO_LENGTH = "django.contrib.auth.password_validation.MinimumLengthValidator"
DJANGO_COMMON = "django.contrib.auth.password_validation.CommonPasswordValidator"
BLOCKLISTS = {f"{VALIDATORS}PolicyValidator", f"{VALIDATORS}BlocklistValidator", DJANGO_COMMON}

Found = list[CheckMessage]


def in_use() -> bool:
    """Whether the project uses our hasher, a validator of ours, or a setting of passwords."""
    paths = [*settings.PASSWORD_HASHERS, *(entry["NAME"] for entry in settings.AUTH_PASSWORD_VALIDATORS)]
    return any(path.startswith("bergizi_redis.") for path in paths) or any(
        str(name).startswith("PASSWORD_") for name in entries()
    )


@register(TAG, Tags.security)
def check_passwords(app_configs: object = None, **kwargs: Any) -> Found:
    """``PASSWORD_HASHERS``, ``PASSWORD_PEPPERS``, ``AUTH_PASSWORD_VALIDATORS``."""
    return [*hashers(), *validators(), *paths()] if in_use() else []


@register(TAG, Tags.security, deploy=True)
def check_breach_list(app_configs: object = None, **kwargs: Any) -> Found:
    """Asks whether there is the list that new passwords are looked for in."""
    if not value_of("PASSWORD_BREACH_LIST"):
        return []
    try:
        missing = in_force() is None
    except (RedisError, ConfigurationError, ValueError):  # a server that is ill has a check of its own
        return []
    return [checklist.NO_BREACH_LIST.found("PASSWORD_BREACH_LIST is on, and there is no list.")] if missing else []


def weaknesses() -> Found:
    """Everything, in use or not, with the log-ins that nobody counts."""
    return [*hashers(), *validators(), *paths(), *unguarded(), *check_breach_list()]


def hashers() -> Iterator[CheckMessage]:
    """Their order, their cost, and what the peppered one is keyed with."""
    chain = [types_of(path) for path in settings.PASSWORD_HASHERS]
    if not chain:
        return
    peppered = [PEPPERED in types for types in chain]
    if any(peppered):
        yield from _peppers()
        if not peppered[0]:
            yield checklist.HASHER_NOT_FIRST.found(f"PASSWORD_HASHERS begins with {settings.PASSWORD_HASHERS[0]!r}.")
    yield from _weak_first(chain[0])
    for path, types in zip(settings.PASSWORD_HASHERS[1:], chain[1:], strict=True):
        if FAST & {*types} or TRUNCATING in types:
            yield checklist.OLD_HASHER.found(f"PASSWORD_HASHERS verifies with {path!r}.")


def _peppers() -> Iterator[CheckMessage]:
    given = _given_peppers()
    if not given or Config.PASSWORD_PEPPERS.problem(given):
        yield checklist.NO_PEPPER.found(f"{SETTINGS_NAME}['PASSWORD_PEPPERS'] has no secret that can be used.")
        return
    secrets = list(given.values())
    if settings.SECRET_KEY in secrets:
        yield checklist.POOR_PEPPER.found("A pepper is the SECRET_KEY, which is rotated for other reasons.")
    if len({*secrets}) < len(secrets):
        yield checklist.POOR_PEPPER.found("Two key ids of PASSWORD_PEPPERS have one secret.")


def _given_peppers() -> Mapping[str, str]:
    peppers = entries().get("PASSWORD_PEPPERS", {})
    return peppers if isinstance(peppers, Mapping) else {}


def _weak_first(types: list[str]) -> Iterator[CheckMessage]:
    if FAST & {*types}:
        yield checklist.WEAK_HASHER.found(f"PASSWORD_HASHERS begins with {types[0]!r}, which is fast to try.")
    elif TRUNCATING in types:
        yield checklist.WEAK_HASHER.found(f"PASSWORD_HASHERS begins with {types[0]!r}, which reads 72 bytes alone.")
    elif PEPPERED in types or DJANGO_BCRYPT in types:
        rounds = import_string(types[0])().rounds
        if rounds < LEAST_COST:
            yield checklist.WEAK_HASHER.found(f"{types[0]!r} has a cost of {rounds}; {LEAST_COST} is the least.")


def validators() -> Iterator[CheckMessage]:
    """Whether length and common passwords are looked at."""
    chain = [{*types_of(entry["NAME"])} for entry in settings.AUTH_PASSWORD_VALIDATORS]
    if not any(types & BLOCKLISTS for types in chain):
        yield checklist.NO_VALIDATOR.found("AUTH_PASSWORD_VALIDATORS has none against common passwords.")
    lengths = [
        entry.get("OPTIONS", {}).get("min_length", 8)
        for entry, types in zip(settings.AUTH_PASSWORD_VALIDATORS, chain, strict=True)
        if DJANGO_LENGTH in types
    ]
    if not any(types & LENGTHS for types in chain) and max(lengths, default=0) < 15:
        yield checklist.NO_VALIDATOR.found("AUTH_PASSWORD_VALIDATORS asks for fewer than 15 characters.")


def paths() -> Iterator[CheckMessage]:
    """Dotted paths that lead nowhere."""
    for name in ("PASSWORD_SECOND_FACTOR", "PASSWORD_CONTEXT_WORDS"):
        path = value_of(name)
        if not isinstance(path, str) or not path:
            continue
        try:
            is_callable = callable(import_string(path))
        except ImportError:
            is_callable = False
        if not is_callable:
            yield checklist.NOT_IMPORTABLE.found(f"{SETTINGS_NAME}[{name!r}] is {path!r}, no function.")
