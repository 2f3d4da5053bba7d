"""Whose trail an event belongs to, where only a name was typed: the user of that name, or nobody known.

One query by the indexed ``USERNAME_FIELD``, the same for names that exist and for others; the answer is kept for
``MEMORY`` seconds, so that a flood of attempts is no flood of queries.
"""

import threading
import time
from collections import OrderedDict
from typing import Any

from django.contrib.auth import get_user_model

from bergizi_redis.conf import config
from bergizi_redis.security.account import Account
from bergizi_redis.security.identifiers import canonical_identifier
from bergizi_redis.security.resolvers import resolved
from bergizi_redis.security.steps import run

MEMORY = 60.0  # seconds
MOST = 2048  # names

_known: OrderedDict[tuple[str, str], tuple[float, str | None]] = OrderedDict()
_lock = threading.Lock()


def user_id_of(identifier: object, tenant: str | None = None) -> str | None:
    """The id of the user whom the name means, also by ``IDENTIFIER_RESOLVER``; None of nobody."""
    typed = str(identifier or "")[:254]
    place, now = (tenant or "", typed), time.monotonic()
    with _lock:
        kept = _known.get(place)
    if kept is not None and kept[0] > now:
        return kept[1]
    found = _asked(typed, tenant) if typed and "\0" not in typed else None
    with _lock:
        _known[place] = now + MEMORY, found
        _known.move_to_end(place)
        while len(_known) > MOST:
            _known.popitem(last=False)
    return found


def forget() -> None:
    """Ask anew: a user has been made, renamed or deleted."""
    with _lock:
        _known.clear()


def _asked(typed: str, tenant: str | None) -> str | None:
    model: Any = get_user_model()
    names = [typed, canonical_identifier(typed)]
    if config.IDENTIFIER_RESOLVER:
        names.append(run(resolved(Account.of(typed, tenant, "password"))).identifier)
    matches = {f"{model.USERNAME_FIELD}__in": {name for name in names if name}}
    found = list(model._default_manager.filter(**matches).order_by().values_list("pk", flat=True)[:2])
    return str(found[0]) if len(found) == 1 else None


def tenant_of(user: Any) -> str | None:
    """The user's tenant, as ``TENANT_USER_ATTRIBUTE`` has it; None for what is no tenant id."""
    value = getattr(user, config.TENANT_USER_ATTRIBUTE, None)
    value = value() if callable(value) else value
    return None if value in (None, "") else str(value)
