"""Alerts: what somebody should look at now, told once, and told again when it is over.

| kind | subject | over |
| --- | --- | --- |
| ``locked`` | a user; all who are unknown at a tenant | when it is unlocked, or quiet |
| ``spray`` | a network that tries many accounts | when it is quiet |
| ``distributed`` | a user, tried from many networks | when it is quiet |
| ``failures`` | a tenant, most of whose log-ins fail | when it is quiet |
| ``success_after_failures`` | a user | – |
| ``chain_broken`` | an audit trail | when it verifies again |

Promise: one alert for each subject, by whichever process comes first, until it is over; quiet is ``ALERT_WINDOW``
without another. At most ``ALERT_LIMIT`` of a kind and tenant in a window, the rest are logged alone. Where they go: see
``delivery``. One round trip each; when Redis is down, the log alone. Nothing here raises for that.
"""

import json
import logging
import time
from dataclasses import replace

from redis.exceptions import RedisError

from bergizi_redis import auditkeys
from bergizi_redis.conf import config
from bergizi_redis.connections import explain
from bergizi_redis.security.alertkinds import BROKEN as BROKEN
from bergizi_redis.security.alertkinds import DISTRIBUTED as DISTRIBUTED
from bergizi_redis.security.alertkinds import FAILURES as FAILURES
from bergizi_redis.security.alertkinds import LOCKED as LOCKED
from bergizi_redis.security.alertkinds import SPRAY as SPRAY
from bergizi_redis.security.alertkinds import SUCCESS as SUCCESS
from bergizi_redis.security.alertkinds import Alert as Alert
from bergizi_redis.security.delivery import deliver
from bergizi_redis.security.steps import RunScript, Steps, run

logger = logging.getLogger("bergizi_redis.security")

MOST_OPEN = 10_000
AT_ONCE = 20


def raise_alert(alert: Alert, quiet: float = 0) -> bool:
    """Tell of it, unless it is open already; whether it was told. ``quiet``: seconds, if above ``ALERT_WINDOW``."""
    return _opened(alert, quiet) if config.ALERTS else False


def _opened(alert: Alert, quiet: float) -> bool:
    try:
        found = run(_raised(alert, quiet))
    except RedisError as error:
        logger.error("An alert was not told (%s): %s", explain(error), alert.told, extra={"action": "alert_untold"})
        return False
    if found == 1:
        deliver(alert)
    elif found == -1:
        logger.warning("One alert too many: %s", alert.told, extra={"action": "alert_limited"})
    return found == 1


def _raised(alert: Alert, quiet: float) -> Steps[int]:
    window = round(config.ALERT_WINDOW * 1000)
    keys = [auditkeys.alerts(part) for part in ("open", "texts", "counts")]
    limited = f"{alert.kind}:{alert.tenant or ''}"
    arguments: list[str | int] = [
        alert.ident, json.dumps(alert.told), max(window, round(quiet * 1000)), limited, window, config.ALERT_LIMIT,
        MOST_OPEN,
    ]  # fmt: skip
    return int((yield RunScript("alert_raise", keys, arguments)))


def end_alert(kind: str, subject: str, tenant: str | None) -> bool:
    """It is over: tell of that, if it was open."""
    return bool(config.ALERTS) and bool(_closed(Alert(kind, subject, tenant).ident))


def end_due_alerts() -> int:
    """Tell of those that are over because it was quiet; how many. Any process may ask; each is told by one."""
    return _closed("") if config.ALERTS else 0


def _closed(ident: str) -> int:
    keys = [auditkeys.alerts(part) for part in ("open", "texts")]
    try:
        texts = run(_asked(keys, ident))
    except RedisError as error:
        logger.error("Alerts were not ended (%s)", explain(error), extra={"action": "alert_untold"})
        return 0
    for text in texts:
        try:
            alert = replace(Alert.of(text), is_over=True, at=time.time())
        except (ValueError, KeyError, TypeError):
            logger.error("What stood among the alerts is none", extra={"action": "alert_unreadable"})
        else:
            if alert.title:
                deliver(alert)
    return len(texts)


def _asked(keys: list[str], ident: str) -> Steps[list[str]]:
    texts = yield RunScript("alert_close", keys, [ident, AT_ONCE])
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
