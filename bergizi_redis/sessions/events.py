"""Sessions that started or ended for a user, as the signals ``session_started`` and ``session_ended`` tell it.

Sent after Redis has it. A receiver that fails is logged by Django and harms neither the request nor the others.
"""

from dataclasses import dataclass
from typing import Any

from bergizi_redis import signals


@dataclass(frozen=True, slots=True)
class Event:
    """``reason``: login, cycled (another key, the same log-in), logout, expired (saved with no life left), revoked,
    client_changed."""

    started: bool
    sid: str
    user_id: str
    tenant: str | None
    reason: str
    ip: str | None = None  # of the request, as far as SESSION_CLIENT_PRIVACY lets it be kept
    client: str | None = None

    @property
    def signal(self) -> Any:
        return signals.session_started if self.started else signals.session_ended

    @property
    def told(self) -> dict[str, Any]:
        """What the signal carries."""
        return {"sid": self.sid, "user_id": self.user_id, "tenant": self.tenant, "reason": self.reason}


def tell(sender: Any, events: list[Event]) -> None:
    for event in events:
        event.signal.send_robust(sender, **event.told)


async def atell(sender: Any, events: list[Event]) -> None:
    for event in events:
        await event.signal.asend_robust(sender, **event.told)
