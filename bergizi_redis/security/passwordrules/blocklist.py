"""Passwords that everybody tries first, compared whole: Django's list, a short one of our own, and what follows a line.

NIST SP 800-63B-4, 3.1.1.2: the whole password is compared, not words in it, so a passphrase of common words is fine.
"""

import gzip
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from django.contrib.auth import password_validation
from django.utils.translation import gettext

from bergizi_redis.security.passwordrules.candidate import Candidate, Problem, plain

# Ours: what people type where 15 characters are asked for, and what Indonesians type. Folded, without leet.
WORDS = """
password passwordpassword passwort passphrase changeme changemeplease letmein letmeinplease welcome
welcometothejungle administrator administratoradmin adminadminadmin superadministrator iloveyou iloveyouforever
iloveyousomuch correcthorsebatterystaple thisismypassword mypasswordispassword trustnoone qwertyuiop
katasandi katasandikatasandi katasandisaya katakunci rahasia rahasiabanget rahasianegara sandirahasia bismillah
bismillahirrahmanirrahim alhamdulillah alhamdulillahirobbilalamin assalamualaikum indonesia indonesiaraya
indonesiamerdeka merdeka garuda garudaindonesia pancasila bhinnekatunggalika jakarta bandung surabaya yogyakarta
sayang sayangku sayangkamu akucintakamu akusayangkamu akucintaindonesia selamatdatang selamatpagi
terimakasih cintaku doraemon juventus persija persibbandung arema makanbergizi makanbergizigratis
"""
OWN = frozenset(WORDS.split())
LINES = (
    "abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./",
    "qwertyuiopasdfghjklzxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/", "qazwsxedcrfvtgbyhnujmikolp", "!@#$%^&*()_+",
)  # fmt: skip
STEPS = frozenset(pair for line in LINES for one in (line, line[::-1]) for pair in map("".join, pairwise(one)))
PARTS = 3  # a password of at most so many runs is no more than the lines that it follows


@cache
def django_s() -> frozenset[str]:
    """The list that ``CommonPasswordValidator`` uses, read once a process: some 20,000, 2 MB, 10 ms."""
    path = Path(password_validation.__file__).parent / "common-passwords.txt.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return frozenset(line.strip() for line in file)
    except OSError:  # a Django that keeps it elsewhere
        return frozenset()


@cache
def known() -> frozenset[str]:
    """Both lists, without leet."""
    return frozenset(plain(word) for word in django_s() | OWN)


def common(candidate: Candidate) -> Iterator[Problem]:
    """The whole of it is blank, common, common again and again, or a run along the keyboard or the alphabet.

    Blanks between the words make nothing rarer.
    """
    text = candidate.seen
    joined = "".join(text.split())
    is_blank = bool(candidate.text) and not joined
    is_run = any(map(_is_a_run, (text, candidate.text, joined)))
    if is_blank or is_run or any(_is_known(form) for one in (text, joined) for form in (one, _period(one))):
        yield Problem.said("password_too_common", gettext("This password is one of those that are tried first."))


def _is_known(text: str) -> bool:
    return text in django_s() or any(plain(form) in known() for form in (text, "".join(text.split()), text[::-1]))


def _period(text: str) -> str:
    """The shortest text of which ``text`` is a repetition; itself where there is none."""
    return text[: (text + text).find(text, 1)]


def _is_a_run(text: str) -> bool:
    return bool(text) and _runs(text) <= min(PARTS, len(text) // 4)


def _runs(text: str) -> int:
    """How many stretches of equal or neighbouring keys it takes: 1 for ``aaaa`` and ``12345``, 2 for ``aaaa1234``."""
    return 1 + sum(one != two and one + two not in STEPS for one, two in pairwise(text))
