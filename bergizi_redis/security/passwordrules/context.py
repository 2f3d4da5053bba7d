"""Words that a stranger would try because of whose password it is, and where: site, tenant, names, e-mail address.

A password may hold such a word. What is left without them must not be shorter than the shortest password there is:
``gizi-jakarta-2026`` is refused, a sentence about Jakarta is not. NIST SP 800-63B-4, 3.1.1.2, names
the service, the user name, and what is derived from them.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any
from unicodedata import category

from django.apps import apps
from django.utils.translation import gettext

from bergizi_redis.conf import config, import_setting
from bergizi_redis.security.passwordrules.candidate import Candidate, Problem, folded, plain
from bergizi_redis.tenancy import find_tenant

LEAST_WORD = 4  # characters: shorter ones stand in too many others
LEAST_LEFT = 8  # characters that must be left; blanks and punctuation are none
OWN = "LMN"  # categories: letters, marks, numbers
LONGEST_VALUE = 128  # characters of a name that are looked at
MOST_WORDS = 64
NAMES = ("username", "first_name", "last_name", "name", "full_name", "email")
PARTS = re.compile(r"[^\W\d_]+")


def around(user: object, given: Iterable[str]) -> list[str]:
    """The words, folded, the longest first; each name as it is and in parts."""
    values = [*given, find_tenant() or "", *_site(), *(value for _, value in attributes(user))]
    words = set[str]()
    for value in values:
        text = folded(value[:LONGEST_VALUE])
        words |= {text, text.partition("@")[0], *PARTS.findall(text)}
    return sorted((word for word in words if len(word) >= LEAST_WORD), key=lambda word: (-len(word), word))[:MOST_WORDS]


def attributes(user: object) -> list[tuple[str, str]]:
    """Names of a user as (attribute, text); of anything that has such attributes."""
    if user is None:
        return []
    names = dict.fromkeys((getattr(user, "USERNAME_FIELD", ""), *NAMES))
    values = [(name, getattr(user, name, None)) for name in names if isinstance(name, str) and name]
    return [(name, value) for name, value in values if isinstance(value, str) and value]


def _site() -> list[str]:
    if not apps.is_installed("django.contrib.sites"):
        return []
    site: Any = apps.get_registered_model("sites", "Site")
    try:
        current = site.objects.get_current()  # kept by Django after the first time
    except Exception:  # no SITE_ID, no row, no database: a site without a name
        return []
    return [current.name, current.domain]


def given_words(user: object) -> list[str]:
    """Those of ``PASSWORD_CONTEXT_WORDS``. Raises ``ConfigurationError`` for a path that cannot be imported."""
    words = config.PASSWORD_CONTEXT_WORDS
    if isinstance(words, str):
        words = import_setting("PASSWORD_CONTEXT_WORDS", words)(user) if words else ()
    return [str(word) for word in words][:MOST_WORDS]


def expected(candidate: Candidate, given: Iterable[str]) -> Iterator[Problem]:
    """Too little of it is the person's own."""
    left, taken = plain(candidate.seen), ""
    for word in around(candidate.user, given):
        without = left.replace(plain(word), "")
        taken = taken or (word if without != left else "")
        left = without
    if taken and sum(category(char)[0] in OWN for char in left) < LEAST_LEFT:
        yield Problem.said(
            "password_expected",
            gettext("This password is little more than “%(word)s”, which others know to try."),
            word=taken,
        )
