"""What a password must be, as one value: from the settings, or a project's own."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bergizi_redis.conf import config, import_setting
from bergizi_redis.security.passwordrules.blocklist import common
from bergizi_redis.security.passwordrules.candidate import Candidate, Problem
from bergizi_redis.security.passwordrules.composition import missing
from bergizi_redis.security.passwordrules.context import expected, given_words
from bergizi_redis.security.passwordrules.length import too_long, too_short
from bergizi_redis.security.passwordrules.similarity import similar


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """Lengths in code points. ``asks_breach_list``: one round trip more, and one reason more."""

    least: int
    least_with_second_factor: int
    most: int
    kinds: Sequence[str] = ()
    asks_breach_list: bool = False
    has_second_factor: Callable[[Any], bool] | None = None
    context_words: Callable[[Any], Sequence[str]] = given_words

    @classmethod
    def in_force(cls) -> "PasswordPolicy":
        """That of the settings. Raises ``ConfigurationError`` for one that cannot be used."""
        path = config.PASSWORD_SECOND_FACTOR
        return cls(
            config.PASSWORD_MIN_LENGTH,
            config.PASSWORD_MIN_LENGTH_SECOND_FACTOR,
            config.PASSWORD_MAX_LENGTH,
            config.PASSWORD_COMPOSITION,
            config.PASSWORD_BREACH_LIST,
            import_setting("PASSWORD_SECOND_FACTOR", path) if path else None,
        )

    def least_for(self, user: object) -> int:
        """The shorter length is for whoever always has to show a second factor."""
        if user is not None and self.has_second_factor is not None and self.has_second_factor(user):
            return self.least_with_second_factor
        return self.least

    def candidate(self, password: str, user: object) -> Candidate:
        """The password, normalised where it is not too long for that. ``TypeError`` for what is no text."""
        if not isinstance(password, str):
            raise TypeError(f"A password is a str, not {type(password).__name__}.")
        return Candidate.of(password, user, self.most)

    def problems(self, candidate: Candidate) -> Iterator[Problem]:
        """Every reason against it that needs no server. Of what is too long, only that."""
        yield from too_long(candidate, self.most)
        if candidate.length > self.most:
            return
        yield from too_short(candidate, self.least_for(candidate.user))
        yield from missing(candidate, self.kinds)
        yield from common(candidate)
        yield from expected(candidate, self.context_words(candidate.user))
        yield from similar(candidate)
