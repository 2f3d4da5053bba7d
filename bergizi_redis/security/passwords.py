"""May this be a password? A report with every reason against it at once, by NIST SP 800-63B-4, section 3.1.1.2.

Length, and a password that others would try: a common one, one made of what is known of the user and the place, one
that was in a breach. No rules of composition unless ``PASSWORD_COMPOSITION`` asks for them. Never an exception for
what a text may hold; the work is bounded, whatever its length. 0 round trips; 1 with ``PASSWORD_BREACH_LIST``, and
while Redis is down that one reason is not looked for, which the report says: no outage keeps anybody from a password.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from asgiref.sync import sync_to_async
from django.views.decorators.debug import sensitive_variables

from bergizi_redis.security.breaches.lookup import BREACHED, breached, in_a_breach
from bergizi_redis.security.passwordrules.candidate import Candidate
from bergizi_redis.security.passwordrules.candidate import Problem as Problem
from bergizi_redis.security.passwordrules.policy import PasswordPolicy as PasswordPolicy
from bergizi_redis.security.steps import arun, run


@dataclass(frozen=True, slots=True)
class PasswordReport:
    """``errors``: every reason, each with ``code``, ``message`` (in the language in force) and ``params``.

    ``unchecked``: codes of the reasons that could not be looked for, such as ``password_breached`` in an outage.
    """

    valid: bool
    errors: tuple[Problem, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def messages(self) -> list[str]:
        """The reasons as sentences."""
        return [problem.message for problem in self.errors]


@sensitive_variables()
def validate_password(password: str, user: object = None, policy: PasswordPolicy | None = None) -> PasswordReport:
    """Judge a new password of ``user``; ``policy`` None: that of the settings.

    ``TypeError`` for what is no str, ``ConfigurationError`` for settings that cannot be used; nothing else.
    """
    candidate, found, asks = _looked_at(password, user, policy)
    return _report(found, run(breached(candidate.text)) if asks else False)


@sensitive_variables()
async def avalidate_password(
    password: str, user: object = None, policy: PasswordPolicy | None = None
) -> PasswordReport:
    """The same. Redis is asked natively; a user's fields may be loaded, so the rules run in a thread."""
    candidate, found, asks = await sync_to_async(_looked_at)(password, user, policy)
    return _report(found, await arun(breached(candidate.text)) if asks else False)


def _looked_at(password: str, user: object, policy: PasswordPolicy | None) -> tuple[Candidate, Sequence[Problem], bool]:
    policy = policy or PasswordPolicy.in_force()
    candidate = policy.candidate(password, user)
    return candidate, list(policy.problems(candidate)), policy.asks_breach_list and bool(candidate.text)


def _report(found: Sequence[Problem], in_breach: bool | None) -> PasswordReport:
    errors = (*found, in_a_breach()) if in_breach else (*found,)
    return PasswordReport(not errors, errors, (BREACHED,) if in_breach is None else ())
