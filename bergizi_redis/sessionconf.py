"""The settings of sessions; ``conf.config`` has them with all others."""

from datetime import date
from typing import Any

from bergizi_redis.setting import SECONDS, Setting, are_names, is_positive


def is_day(value: Any) -> bool:
    """A date, as itself or in ISO, or "" for none."""
    try:
        return value == "" or isinstance(value, date) or bool(date.fromisoformat(value))
    except ValueError:
        return False


class SessionConfig:
    """Read ``config.NAME``; never write."""

    SESSION_IDLE = Setting(
        8 * 3600, "Seconds without a request after which a session of `create_session` ends: one shift.",
        types=SECONDS, valid=is_positive,
    )  # fmt: skip
    SESSION_ABSOLUTE = Setting(
        24 * 3600, "Seconds after log-in when a session of `create_session` ends whatever happens.",
        types=SECONDS, valid=is_positive,
    )  # fmt: skip
    TOUCH_EVERY = Setting(
        60, "Seconds between two renewals of an unchanged session: one write a minute, not one a request.",
        types=SECONDS, valid=is_positive,
    )  # fmt: skip
    SESSION_MAX_BYTES = Setting(
        256 * 1024, "Bytes a session may hold; it is read whole on every request, so large data belongs elsewhere.",
        valid=is_positive,
    )  # fmt: skip
    SESSION_LIMIT = Setting[int | str | None](
        None,
        "Sessions a user may have at one time; or dotted path of `limit(user_id, role, tenant) -> int | None`. 0: any.",
        types=(int, str, type(None)), valid=lambda value: not isinstance(value, int) or value >= 0,
    )  # fmt: skip
    SESSION_LIMIT_POLICY = Setting(
        "deny", "Above the limit: `deny` the log-in, or `evict` the least recently used session.",
        valid=lambda value: value in ("deny", "evict"),
    )  # fmt: skip
    SESSION_ONLINE = Setting(
        300, "Seconds since a user was last seen that still count as online; above `TOUCH_EVERY`.",
        types=SECONDS, valid=is_positive,
    )  # fmt: skip
    SESSION_MOVE_FROM = Setting(
        "", "What `SESSION_ENGINE` was, or a tuple, each with `@alias` if need be: sessions move in at their next use.",
        types=(str, tuple, list), valid=are_names,
    )  # fmt: skip
    SESSION_MOVE_UNTIL = Setting(
        "", "Last day (UTC, ISO) on which the old stores are asked; `''`: as long as `SESSION_MOVE_FROM` is set.",
        types=(str, date), valid=is_day,
    )  # fmt: skip
