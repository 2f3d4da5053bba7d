"""What the names in ``keys`` are made of: prefix, tenant ids, and free text that may not claim another's."""

import hashlib
import re

from bergizi_redis.conf import config
from bergizi_redis.exceptions import TenantError

SHARED = "@"
TENANT_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
LONGEST_PART = 120
DIGESTED = re.compile(r".{40}~[0-9a-f]{32}", re.DOTALL)


def validated_tenant(tenant: object) -> str:
    """The tenant id as it stands in keys; ``TenantError`` for anything but 1–64 of ``A-Z a-z 0-9 _ . -``."""
    if isinstance(tenant, str) and TENANT_PATTERN.fullmatch(tenant):
        return tenant
    raise TenantError(
        f"{str(tenant)[:80]!r} is not a tenant id: use a str of 1 to 64 letters, digits, '_', '.' or '-', such as "
        "'sppg-jakarta-001'."
    )


def part_of(text: object) -> str:
    """Free text as the last part of a key: as it is when short, else its beginning and a digest.

    What looks like such a digest itself, or is no valid Unicode, gets one too: no text may claim another's key.
    """
    part = str(text)
    encoded = part.encode("utf-8", "backslashreplace")
    if len(part) <= LONGEST_PART and DIGESTED.fullmatch(part) is None and encoded.decode() == part:
        return part
    digest = hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{encoded.decode()[:40]}~{digest}"


def inner_part(text: object) -> str:
    """The same for a part that others follow, its colons encoded: ("a:b", "c") is not ("a", "b:c")."""
    return part_of(str(text).replace("%", "%25").replace(":", "%3A"))


def user_trail(user_id: object) -> str:
    """What stands for a user in the names of audit trails: 128 bits in hex. Needs no secret, so it outlives each."""
    text = str(user_id).encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"bergizi_redis.audit.trail\0" + text).hexdigest()[:32]


def prefixed(key: str) -> str:
    return f"{prefix}:{key}" if (prefix := config.KEY_PREFIX) else key
