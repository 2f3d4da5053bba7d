"""Long enough, and not endless.

NIST SP 800-63B-4, 3.1.1.2: 15 characters at least, 8 beside a second factor; 64 must be allowed.
"""

from collections.abc import Iterator

from django.utils.translation import ngettext

from bergizi_redis.security.passwordrules.candidate import Candidate, Problem


def too_short(candidate: Candidate, least: int) -> Iterator[Problem]:
    """Fewer code points than ``least``."""
    if candidate.length < least:
        yield Problem.said(
            "password_too_short",
            ngettext(
                "This password is too short. It must contain at least %(min_length)d character.",
                "This password is too short. It must contain at least %(min_length)d characters.",
                least,
            ),
            min_length=least,
        )


def too_long(candidate: Candidate, most: int) -> Iterator[Problem]:
    """More code points than ``most``."""
    if candidate.length > most:
        yield Problem.said(
            "password_too_long",
            ngettext(
                "This password is too long. It must contain at most %(max_length)d character.",
                "This password is too long. It must contain at most %(max_length)d characters.",
                most,
            ),
            max_length=most,
        )
