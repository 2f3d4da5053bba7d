"""How long a log-in lasts: idle (s without a request) and absolute (s after the log-in, whatever happens).

``SESSION_PRESET`` names both at once:

| preset | idle | absolute | as in |
| --- | --- | --- | --- |
| ``strict`` | 15 min | 12 h | NIST SP 800-63B-4, 2.3.3 (AAL3); OWASP ASVS 4.0.3, 3.3.2, level 3 |
| ``office`` | 30 min | 12 h | OWASP ASVS 4.0.3, 3.3.2, level 2; NIST SP 800-63B-4, 2.2.3 (AAL2) allows 1 h and 24 h |
| ``shift`` | 8 h | 24 h | this package's default: one shift, one day; idle longer than AAL2 advises |
| ``relaxed`` | 7 d | 30 d | NIST SP 800-63B-4, 2.1.3 (AAL1): the absolute one; OWASP ASVS 4.0.3, 3.3.2, level 1 |

OWASP ASVS 5.0 gives no numbers: it asks for both times (7.3.1, 7.3.2), after an analysis of risk that is written down;
name the preset there. The OWASP Session Management Cheat Sheet has 15 to 30 min idle for low risk, 2 to 5 for high.
No round trip.
"""

from dataclasses import dataclass

from bergizi_redis.conf import config, given_settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds."""

    idle: float
    absolute: float

    @property
    def first(self) -> float:
        """The life of a session that has just begun."""
        return min(self.idle, self.absolute)


MINUTE, HOUR, DAY = 60, 3600, 86400
PRESETS = {
    "strict": Limits(15 * MINUTE, 12 * HOUR),
    "office": Limits(30 * MINUTE, 12 * HOUR),
    "shift": Limits(8 * HOUR, 24 * HOUR),
    "relaxed": Limits(7 * DAY, 30 * DAY),
}


def limits() -> Limits:
    """Of a session of ``create_session``: the preset's, but for what the settings give themselves."""
    preset, given = PRESETS.get(config.SESSION_PRESET), given_settings()
    if preset is None:
        return Limits(config.SESSION_IDLE, config.SESSION_ABSOLUTE)
    return Limits(
        config.SESSION_IDLE if "SESSION_IDLE" in given else preset.idle,
        config.SESSION_ABSOLUTE if "SESSION_ABSOLUTE" in given else preset.absolute,
    )


def login_limits() -> Limits | None:
    """Of a log-in by Django's ``login()``: None without a preset, for then ``SESSION_COOKIE_AGE`` holds, as ever."""
    return limits() if config.SESSION_PRESET else None
