"""Too near to what is known of the user, with operands that are bounded: a megabyte costs no more than a line."""

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from django.core.exceptions import FieldDoesNotExist
from django.utils.translation import gettext

from bergizi_redis.security.passwordrules.candidate import Candidate, Problem, folded
from bergizi_redis.security.passwordrules.context import attributes

MOST_ALIKE = 0.7  # of 1: what Django's validator allows
LONGEST = 64  # characters of a value that are compared; comparing costs the product of both lengths
MOST_PARTS = 8


def similar(candidate: Candidate) -> Iterator[Problem]:
    """One reason, for the first attribute that it is like."""
    for attribute, value in attributes(candidate.user):
        if any(is_alike(candidate.seen, part) for part in _parts(folded(value[:LONGEST]))):
            label = _label(candidate.user, attribute)
            yield Problem.said(
                "password_too_similar",
                gettext("This password is too much like the %(verbose_name)s."),
                verbose_name=label,
            )
            return


def _parts(value: str) -> list[str]:
    return [value, *re.split(r"\W+", value)[:MOST_PARTS]]


def is_alike(password: str, value: str) -> bool:
    """Lengths first: two texts are never more alike than twice the shorter, divided by both."""
    short, long = sorted((len(password), len(value)))
    if not short or 2 * short / (short + long) < MOST_ALIKE:
        return False
    matcher = SequenceMatcher(None, password, value, autojunk=False)
    return matcher.quick_ratio() >= MOST_ALIKE and matcher.ratio() >= MOST_ALIKE


def _label(user: object, attribute: str) -> str:
    meta = getattr(user, "_meta", None)
    try:
        return str(meta.get_field(attribute).verbose_name) if meta is not None else attribute
    except FieldDoesNotExist:
        return attribute
