"""A password that is looked at, and a reason against it. Neither is ever logged; no reason holds the password."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LEET = str.maketrans("01345789@$!+|€i", "oleastbgasltlel")  # i too: 1 and ! are read as either


def folded(text: str) -> str:
    """As people see it: compatibility forms, case and white space at the ends away. At most 4,096 characters given."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def plain(text: str) -> str:
    """Folded text without leet: ``p4$$w0rd`` and ``password`` are one. i and l are, too."""
    return text.translate(LEET)


@dataclass(frozen=True, slots=True)
class Candidate:
    """``text`` is normalised (NFC), and "" for what is longer than allowed; ``length`` in code points."""

    text: str = field(repr=False)
    length: int
    user: object = field(default=None, repr=False)
    seen: str = field(init=False, repr=False)  # folded

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", folded(self.text))

    @property
    def is_whole(self) -> bool:
        """Whether ``text`` is the password, and not left out for its length."""
        return bool(self.text) or not self.length

    @classmethod
    def of(cls, password: str, user: object, longest: int) -> "Candidate":
        """What is longer is not looked at: the work is bounded, whatever is sent."""
        if len(password) > longest:
            return cls("", len(password), user)
        text = unicodedata.normalize("NFC", password)
        return cls(text, len(text), user)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a password is refused: a stable ``code``, and ``message`` in the language in force, with ``params`` in it."""

    code: str
    message: str
    params: Mapping[str, Any] = field(default_factory=dict)
    template: str = field(default="", repr=False)

    @classmethod
    def said(cls, code: str, template: str, **params: Any) -> "Problem":
        """``template``: translated, with ``%(name)s`` of the params."""
        return cls(code, template % params, params, template)
