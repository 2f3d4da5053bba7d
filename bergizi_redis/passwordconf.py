"""The settings of passwords; ``conf.config`` has them with all others.

Numbers from NIST SP 800-63B-4, section 3.1.1.2: at least 15 characters where the password is the only factor, 8 where
it never is; up to 64 at the least; no rules of composition.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bergizi_redis.setting import Setting, are_names

KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,16}")  # stands in each encoded password, of which Django keeps 128 characters
LEAST_SECRET = 32  # characters of a pepper
MADE_WITH = "secrets.token_urlsafe(48)"
LEAST_COST, MOST_COST = 12, 20  # 12 takes some 0.3 s, 20 a minute and a half
LONGEST_NORMALISED = 4096  # characters; what is longer is hashed as it is: normalising may cost its length squared
KINDS_OF_CHARACTER = ("lower", "upper", "digit", "symbol")


class Peppers(Setting[Mapping[str, str]]):
    """Secrets: no message shows one."""

    def problem(self, value: object) -> str | None:
        """What is wrong with the value, or None."""
        if not isinstance(value, Mapping):
            return f"is of another type, {type(value).__name__}; expected dict of key id and secret. Default: {{}}."
        for key_id, secret in value.items():
            if not isinstance(key_id, str) or not KEY_ID.fullmatch(key_id):
                return f"has the key id {key_id!r}; expected 1 to 16 letters, digits, '_' and '-', such as '2026'."
            if not isinstance(secret, str) or len(secret) < LEAST_SECRET:
                return f"[{key_id!r}] is no str of {LEAST_SECRET} characters or more; make one with {MADE_WITH}."
        return None


def are_words(value: Any) -> bool:
    """Words themselves, or the path of what yields them."""
    return isinstance(value, str) or are_names(value)


class PasswordConfig:
    """Read ``config.NAME``; never write."""

    PASSWORD_PEPPERS = Peppers(
        {}, "Key id to secret, the current one first: what the peppered hasher keys passwords with. Keep it out of the"
        " database's reach, keep old ones until nobody's password needs them, and never lose the current one.",
        types=(dict,),
    )  # fmt: skip
    PASSWORD_BCRYPT_COST = Setting(
        12, "Cost of the peppered hasher, 12 to 20; each step doubles the time. A change rehashes at log-in.",
        valid=lambda value: LEAST_COST <= value <= MOST_COST,
    )  # fmt: skip
    PASSWORD_MIN_LENGTH = Setting(
        15, "Characters (code points) that a password needs where it is the only factor.",
        valid=lambda value: 8 <= value <= 64,
    )  # fmt: skip
    PASSWORD_MIN_LENGTH_SECOND_FACTOR = Setting(
        8, "The same for a user of whom `PASSWORD_SECOND_FACTOR` says that there is always a second one.",
        valid=lambda value: 8 <= value <= 64,
    )  # fmt: skip
    PASSWORD_SECOND_FACTOR = Setting("", "Dotted path of `has_second_factor(user) -> bool`; `''`: nobody has one.")
    PASSWORD_MAX_LENGTH = Setting(
        1024, f"Characters that a password may have, 64 to {LONGEST_NORMALISED}.",
        valid=lambda value: 64 <= value <= LONGEST_NORMALISED,
    )  # fmt: skip
    PASSWORD_CONTEXT_WORDS = Setting[str | Sequence[str]](
        (), "Words that people here would try first, such as the site's name; or dotted path of `words(user) ->"
        " Iterable[str]`. Tenant, names and e-mail address are looked at in any case.",
        types=(str, tuple, list), valid=are_words,
    )  # fmt: skip
    PASSWORD_COMPOSITION = Setting[Sequence[str]](
        (), "Kinds of characters that must be there: of `lower`, `upper`, `digit`, `symbol`. NIST forbids asking; some"
        " contracts still do.", types=(tuple, list),
        valid=lambda value: all(kind in KINDS_OF_CHARACTER for kind in value),
    )  # fmt: skip
    PASSWORD_BREACH_LIST = Setting(
        False, "Ask the list that `build_breach_list` has put into Redis: one round trip for each new password."
    )
