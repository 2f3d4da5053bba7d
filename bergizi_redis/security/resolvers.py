"""One name for an account that has several: ``IDENTIFIER_RESOLVER``.

Without one, the user name and the e-mail address of a person are two accounts, with two counts. A resolver is given
the canonical identifier that somebody typed and answers the account's one name, or None where it knows of none; then
what was typed is the name. It is asked at each attempt, for names that exist and for those that do not, so it should
take as long for both. Names of one account share its count: who locks it by one can see that the other is locked too.
"""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Q

from bergizi_redis.conf import config, import_setting
from bergizi_redis.security.account import Account
from bergizi_redis.security.identifiers import canonical_identifier
from bergizi_redis.security.steps import Call, Steps


def username_or_email(identifier: str) -> str | None:
    """For a user model with both: the user name of whom the identifier means. One query, for whatever is asked.

    A user name goes before an equal address of somebody else; an address of several users names none of them.
    """
    user = matching_user(identifier)
    return None if user is None else str(user.get_username())


def matching_user(identifier: str) -> Any:
    """The user of that name or address, both as ``canonical_identifier`` has them; None for nobody, or several."""
    model = get_user_model()
    fields = {field.name for field in model._meta.get_fields()} & {model.USERNAME_FIELD, model.get_email_field_name()}
    either = Q()
    for field in fields:
        either |= Q(**{f"{field}__iexact": identifier.replace("\0", "")})
    found = list(model._default_manager.filter(either).order_by("pk")[:3])
    named = [user for user in found if canonical_identifier(user.get_username()) == identifier]
    return next((matches[0] for matches in (named, found) if len(matches) == 1), None)


def user_of_key(key: str) -> Any:
    """The user of a primary key as text, or None: for what was signed when keys were of another kind, too."""
    try:
        return get_user_model()._default_manager.filter(pk=key).first()
    except (ValueError, TypeError, ValidationError):
        return None


def names_of(user: Any) -> list[str]:
    """What the user may sign in with: user name and e-mail address."""
    email = getattr(user, type(user).get_email_field_name(), None)
    return [str(name) for name in dict.fromkeys([user.get_username(), email]) if name]


def resolved(account: Account) -> Steps[Account]:
    """The account under its one name. No step without a resolver."""
    if not (path := config.IDENTIFIER_RESOLVER):
        return account
    name = yield Call(import_setting("IDENTIFIER_RESOLVER", path), (account.identifier,))
    return account if name is None else Account.of(name, account.tenant, account.scope)
