"""The settings of sessions; ``conf.config`` has them with all others."""

from bergizi_redis.setting import SECONDS, Setting, is_positive


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
