"""One name for an account that has several: ``IDENTIFIER_RESOLVER``.

Without one, the user name and the e-mail address of a person are two accounts, with two counts. A resolver is given
the canonical identifier that somebody typed and answers the account's one name, or None where it knows of none; then
what was typed is the name. It is asked at each attempt, for names that exist and for those that do not, so it should
take as long for both. Names of one account share its count: who locks it by one can see that the other is locked too.
"""

from django.contrib.auth import get_user_model
from django.db.models import Q

from bergizi_redis.conf import config, import_setting
from bergizi_redis.security.account import Account
from bergizi_redis.security.steps import Call, Steps


def username_or_email(identifier: str) -> str | None:
    """For a user model with both: the user name of whom the identifier means. One query, for whatever is asked.

    A user name goes before an equal address of somebody else; an address of several users names none of them.
    """
    model = get_user_model()
    by_name, by_email = model.USERNAME_FIELD, model.get_email_field_name()
    if not identifier or "\0" in identifier or by_email not in {field.name for field in model._meta.get_fields()}:
        return None
    either = Q(**{f"{by_name}__iexact": identifier}) | Q(**{f"{by_email}__iexact": identifier})
    found = list(model._default_manager.filter(either).order_by().values_list(by_name, by_email)[:3])
    for matches in ([name for name, _ in found if name.casefold() == identifier], [name for name, _ in found]):
        if len(matches) == 1:
            return str(matches[0])
    return None


def resolved(account: Account) -> Steps[Account]:
    """The account under its one name. No step without a resolver."""
    if not (path := config.IDENTIFIER_RESOLVER):
        return account
    name = yield Call(import_setting("IDENTIFIER_RESOLVER", path), (account.identifier,))
    return account if name is None else Account.of(name, account.tenant, account.scope)
