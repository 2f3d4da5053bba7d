"""What events are called: the OWASP Application Logging Vocabulary, and a few names of ours where it has none.

A project's own events are called likewise: lower case, words joined by ``_``, the first one the area.
"""

import logging
import re

NAME = re.compile(r"[a-z]{2,16}(_[a-z0-9]{2,24}){1,6}")

LOGIN_SUCCESS = "authn_login_success"
LOGIN_SUCCESS_AFTER_FAIL = "authn_login_successafterfail"
LOGIN_FAIL = "authn_login_fail"
LOGIN_LOCK = "authn_login_lock"
LOGIN_UNLOCK = "authn_login_unlock"  # ours
PASSWORD_CHANGE = "authn_password_change"  # noqa: S105 – the name of an event
AUTHZ_FAIL = "authz_fail"
AUTHZ_CHANGE = "authz_change"
SESSION_CREATED = "session_created"
SESSION_EXPIRED = "session_expired"
CLIENT_CHANGED = "session_client_changed"  # ours
SPRAY = "malicious_password_spray"  # ours, in the vocabulary's area of malicious behaviour
DISTRIBUTED = "malicious_distributed_guessing"  # ours
MANY_FAILURES = "malicious_many_failures"  # ours

LEVELS = {
    LOGIN_SUCCESS: logging.INFO,
    LOGIN_SUCCESS_AFTER_FAIL: logging.INFO,
    LOGIN_FAIL: logging.WARNING,
    LOGIN_LOCK: logging.WARNING,
    LOGIN_UNLOCK: logging.WARNING,
    PASSWORD_CHANGE: logging.INFO,
    "authn_password_change_fail": logging.CRITICAL,
    "authn_login_fail_max": logging.WARNING,
    "authn_impossible_travel": logging.CRITICAL,
    "authn_token_created": logging.INFO,
    "authn_token_revoked": logging.INFO,
    "authn_token_reuse": logging.CRITICAL,
    "authn_token_delete": logging.WARNING,
    AUTHZ_FAIL: logging.CRITICAL,
    AUTHZ_CHANGE: logging.WARNING,
    "authz_admin": logging.WARNING,
    "excess_rate_limit_exceeded": logging.WARNING,
    "privilege_permissions_changed": logging.WARNING,
    SESSION_CREATED: logging.INFO,
    "session_renewed": logging.INFO,
    SESSION_EXPIRED: logging.INFO,
    "session_use_after_expire": logging.CRITICAL,
    CLIENT_CHANGED: logging.WARNING,
    SPRAY: logging.CRITICAL,
    DISTRIBUTED: logging.CRITICAL,
    MANY_FAILURES: logging.CRITICAL,
    "user_created": logging.WARNING,
    "user_updated": logging.WARNING,
    "user_archived": logging.WARNING,
    "user_deleted": logging.WARNING,
}


def level_of(event: str) -> int:
    """The vocabulary's level; INFO for a project's own."""
    return LEVELS.get(event, logging.INFO)


def checked_name(event: object) -> str:
    """The name, or ``ValueError``."""
    if isinstance(event, str) and NAME.fullmatch(event):
        return event
    raise ValueError(
        f"{str(event)[:80]!r} is no name of an event: use lower case and '_', the area first, such as 'authz_fail'; "
        "the vocabulary is in bergizi_redis.security.vocabulary."
    )
