"""The policy of ``passwords`` as ``AUTH_PASSWORD_VALIDATORS``: one class for all of it, or one for each idea.

``PolicyValidator`` alone does what ``validate_password`` does. Options go before the settings. Each raises every reason
of its own at once, with the codes of ``PasswordReport.errors``. Only ``PolicyValidator`` and ``BreachValidator`` ask
Redis: once, and not while it is down.
"""

from collections.abc import Iterable, Iterator, Sequence

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils.translation import gettext, ngettext

from bergizi_redis.passwordconf import KINDS_OF_CHARACTER
from bergizi_redis.security.breaches.lookup import breached, in_a_breach
from bergizi_redis.security.passwordrules.blocklist import common
from bergizi_redis.security.passwordrules.candidate import Candidate, Problem
from bergizi_redis.security.passwordrules.composition import missing, wanted
from bergizi_redis.security.passwordrules.context import expected, given_words
from bergizi_redis.security.passwordrules.length import too_long, too_short
from bergizi_redis.security.passwordrules.policy import PasswordPolicy
from bergizi_redis.security.passwordrules.similarity import similar
from bergizi_redis.security.passwords import validate_password
from bergizi_redis.security.steps import run


class _Validator:
    """Django's protocol around a rule."""

    def problems(self, candidate: Candidate) -> Iterable[Problem]:
        raise NotImplementedError

    def validate(self, password: str, user: object = None) -> None:
        """Raise ``ValidationError`` with every reason against the password."""
        candidate = PasswordPolicy.in_force().candidate(password, user)
        _refuse(self.problems(candidate))


def _refuse(problems: Iterable[Problem]) -> None:
    errors = [ValidationError(each.template, each.code, dict(each.params)) for each in problems]
    if errors:
        raise ValidationError(errors)


class PolicyValidator(_Validator):
    """All of it, the breach list included where ``PASSWORD_BREACH_LIST`` is on."""

    def validate(self, password: str, user: object = None) -> None:
        """Raise ``ValidationError`` with every reason against the password."""
        _refuse(validate_password(password, user).errors)

    def get_help_text(self) -> str:
        """What a form says before anything is typed."""
        policy = PasswordPolicy.in_force()
        parts = (LengthValidator(), BlocklistValidator(), ContextValidator())
        return " ".join([*(part.get_help_text() for part in parts), *map(wanted, policy.kinds)])


class LengthValidator(_Validator):
    """``least`` for everybody, second factor or not; ``most``. Without options as the settings say."""

    def __init__(self, least: int | None = None, most: int | None = None) -> None:
        self.least = least
        self.most = most

    def problems(self, candidate: Candidate) -> Iterator[Problem]:
        """Too short, or too long."""
        policy = PasswordPolicy.in_force()
        yield from too_short(candidate, self.least or policy.least_for(candidate.user))
        yield from too_long(candidate, min(self.most or policy.most, policy.most))

    def get_help_text(self) -> str:
        """What a form says before anything is typed."""
        least = self.least or PasswordPolicy.in_force().least
        return ngettext(
            "Your password must have at least %(min_length)d character; a sentence is a good one.",
            "Your password must have at least %(min_length)d characters; a sentence is a good one.",
            least,
        ) % {"min_length": least}


class BlocklistValidator(_Validator):
    """No password that everybody tries first."""

    def problems(self, candidate: Candidate) -> Iterator[Problem]:
        """The whole of it is common."""
        return common(candidate)

    def get_help_text(self) -> str:
        """What a form says before anything is typed."""
        return gettext("It must not be one that others would try first.")


class ContextValidator(_Validator):
    """Nothing made of site, tenant and names alone. ``words`` go before ``PASSWORD_CONTEXT_WORDS``."""

    def __init__(self, words: Sequence[str] | None = None) -> None:
        self.words = words

    def problems(self, candidate: Candidate) -> Iterator[Problem]:
        """Too little of it is the person's own."""
        return expected(candidate, given_words(candidate.user) if self.words is None else self.words)

    def get_help_text(self) -> str:
        """What a form says before anything is typed."""
        return gettext("It must not be made of your name, your e-mail address or this site's name.")


class SimilarityValidator(_Validator):
    """Nothing that is much like what is known of the user."""

    def problems(self, candidate: Candidate) -> Iterator[Problem]:
        """One reason, for the first attribute that it is like."""
        return similar(candidate)

    def get_help_text(self) -> str:
        """What a form says before anything is typed."""
        return gettext("It must not be much like your name or your e-mail address.")


class CompositionValidator(_Validator):
    """For contracts that ask for it. ``kinds``: of lower, upper, digit, symbol; without, as the settings say."""

    def __init__(self, kinds: Sequence[str] | None = None) -> None:
        if unknown := set(kinds or ()) - set(KINDS_OF_CHARACTER):
            raise ImproperlyConfigured(
                f"{sorted(unknown)} are no kinds of characters: {', '.join(KINDS_OF_CHARACTER)}."
            )
        self.kinds = kinds

    def _wanted(self) -> Sequence[str]:
        return PasswordPolicy.in_force().kinds if self.kinds is None else self.kinds

    def problems(self, candidate: Candidate) -> Iterator[Problem]:
        """One reason for each kind that is not there."""
        return missing(candidate, self._wanted())

    def get_help_text(self) -> str:
        """What a form says before anything is typed."""
        return " ".join(map(wanted, self._wanted()))


class BreachValidator(_Validator):
    """Nothing from the list of ``build_breach_list``: one round trip; an outage refuses nothing, and is logged."""

    def problems(self, candidate: Candidate) -> Iterator[Problem]:
        """It is on the list."""
        if candidate.text and run(breached(candidate.text)):
            yield in_a_breach()

    def get_help_text(self) -> str:
        """What a form says before anything is typed."""
        return gettext("It must not be one that was in a breach anywhere.")
