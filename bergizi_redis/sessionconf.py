"""The settings of sessions; ``conf.config`` has them with all others."""

from collections.abc import Mapping, Sequence
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
    SESSION_PERMISSIONS = Setting(
        "django", "Where permissions noted at log-in come from: `django`, the user; a path of `permissions(user_id)"
        " -> Iterable[str]`; `''`: none are noted.",
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
    SESSION_ADMIN_TENANTS = Setting(
        "bergizi_redis.admin.own_tenant",
        "Dotted path of `tenants(request)`: ids of the tenants whose sessions the admin page shows, None for all.",
    )
    SESSION_MOVE_FROM = Setting(
        "", "What `SESSION_ENGINE` was, or a tuple, each with `@alias` if need be: sessions move in at their next use.",
        types=(str, tuple, list), valid=are_names,
    )  # fmt: skip
    SESSION_MOVE_UNTIL = Setting(
        "", "Last day (UTC, ISO) on which the old stores are asked; `''`: as long as `SESSION_MOVE_FROM` is set.",
        types=(str, date), valid=is_day,
    )  # fmt: skip
    SESSION_PRESET = Setting(
        "", "`strict`, `office`, `shift` or `relaxed`: idle and absolute life by a standard, of Django's `login()` too;"
        " `SESSION_IDLE` and `SESSION_ABSOLUTE`, where given, go before it.",
        valid=lambda value: value in ("", "strict", "office", "shift", "relaxed"),
    )  # fmt: skip
    SESSION_NO_TOUCH_PATHS = Setting[Sequence[str]](
        (), "Paths, such as `['/api/poll/']`, and all below them, whose requests do not keep a session alive.",
        types=(tuple, list), valid=are_names,
    )  # fmt: skip
    SESSION_CLIENT_PRIVACY = Setting(
        "full", "What a session keeps of its log-in's address: `full`, its network (`prefix`: /24, /48), a keyed"
        " `hash`, or nothing (`off`, and then no name of the browser either).",
        valid=lambda value: value in ("full", "prefix", "hash", "off"),
    )  # fmt: skip
    SESSION_CLIENT_CHANGE = Setting(
        "event", "When another family of browser or system sends the cookie: `ignore`, note an `event`, let nobody be"
        " signed in until the user does `re-authenticate`, or `end` the session.",
        valid=lambda value: value in ("ignore", "event", "re-authenticate", "end"),
    )  # fmt: skip
    SESSION_TENANT_MISMATCH = Setting(
        "anonymous", "A session whose cookie is sent to another tenant than that of its log-in: nobody is signed in for"
        " that request (`anonymous`), or it is let in (`ignore`).",
        valid=lambda value: value in ("anonymous", "ignore"),
    )  # fmt: skip
    SESSION_ANONYMOUS_PATHS = Setting[Sequence[str]](
        (), "Paths, such as `['/menus/']`, and all below them, that are served without a session while Redis is down.",
        types=(tuple, list), valid=are_names,
    )  # fmt: skip
    SESSION_MERGE = Setting[Mapping[str, str]](
        {}, "Session key to dotted path, such as `{'cart': 'shop.merge'}`: `merge(base, mine, theirs)` is asked when"
        " two requests change that key at once.",
        types=(dict,), valid=lambda value: are_names(list(value)) and are_names(list(value.values())),
    )  # fmt: skip
    ACTIVITY_LENGTH = Setting(
        200, "Entries kept of the activity of each user, five times as many of each tenant; 0 keeps none.",
        valid=lambda value: 0 <= value <= 100_000,
    )  # fmt: skip
    ACTIVITY_DAYS = Setting(30, "Days that activity is kept.", valid=lambda value: 1 <= value <= 365)
