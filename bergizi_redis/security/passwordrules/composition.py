"""Kinds of characters that must be there: off by default, for NIST SP 800-63B-4 forbids asking; some contracts ask."""

from collections.abc import Callable, Iterator, Sequence

from django.utils.translation import gettext

from bergizi_redis.security.passwordrules.candidate import Candidate, Problem

Test = Callable[[str], bool]
TESTS: dict[str, Test] = {
    "lower": str.islower,
    "upper": str.isupper,
    "digit": str.isdecimal,
    "symbol": lambda char: not char.isalnum() and not char.isspace(),
}


def missing(candidate: Candidate, kinds: Sequence[str]) -> Iterator[Problem]:
    """One reason for each kind that is not there; none for what is too long to be looked at."""
    for kind in kinds if candidate.is_whole else ():
        if not any(map(TESTS[kind], candidate.text)):
            yield Problem.said(f"password_no_{kind}", wanted(kind))


def wanted(kind: str) -> str:
    """What the person shall do."""
    return {
        "lower": gettext("The password must contain a small letter."),
        "upper": gettext("The password must contain a capital letter."),
        "digit": gettext("The password must contain a digit."),
        "symbol": gettext("The password must contain a character that is neither a letter nor a digit."),
    }[kind]
