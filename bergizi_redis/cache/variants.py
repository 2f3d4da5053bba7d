"""What makes one piece of output another: the values it is told to vary on, and the language and time zone in force.

Values are taken by ``fingerprint``, so 1 and ``"1"`` differ; text that templates have marked safe, and text that is
still to be translated, is text.
"""

from enum import Enum
from typing import Any

from django.conf import settings
from django.utils.functional import Promise
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import get_language


def plain(value: Any) -> Any:
    """The value as ``fingerprint`` takes it. Nobody who is signed in is None."""
    is_marked = isinstance(value, str) and type(value) is not str and not isinstance(value, Enum)
    if is_marked or isinstance(value, Promise):
        return str.__str__(str(value))  # str() of safe text is the safe text
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if getattr(value, "is_anonymous", None) is True:
        return None
    return value


def surroundings() -> tuple[Any, ...]:
    """What text depends on without saying so."""
    return (
        get_language() if settings.USE_I18N else None,
        get_current_timezone_name() if settings.USE_TZ else None,
    )
