"""What an alert is: its kinds, their words, and the value that is raised and delivered. Needs no Redis."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOCKED, SPRAY, DISTRIBUTED, FAILURES = "locked", "spray", "distributed", "failures"
SUCCESS, BROKEN = "success_after_failures", "chain_broken"
TEXTS = {
    LOCKED: ("An account was locked", "The account is unlocked"),
    SPRAY: ("One network is trying many accounts", "The network is quiet again"),
    DISTRIBUTED: ("Many networks are trying one account", "The account is quiet again"),
    FAILURES: ("Most log-ins of a tenant fail", "The log-ins of the tenant are well again"),
    SUCCESS: ("The right password, after many wrong ones", ""),
    BROKEN: ("An audit trail was tampered with", "The audit trail verifies again"),
}


@dataclass(frozen=True, slots=True)
class Alert:
    """``subject``: what it is about, "" for all of the tenant; ``facts``: plain values; ``at``: unix seconds."""

    kind: str
    subject: str
    tenant: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)
    is_over: bool = False

    @property
    def ident(self) -> str:
        text = json.dumps([self.kind, self.tenant, self.subject]).encode()
        return hashlib.sha256(text).hexdigest()[:32]

    @property
    def title(self) -> str:
        return TEXTS[self.kind][self.is_over]

    @property
    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "kind": self.kind, "title": self.title, "subject": self.subject, "tenant": self.tenant,
            "over": self.is_over, "at": round(self.at, 3), "facts": dict(self.facts),
        }  # fmt: skip

    @classmethod
    def of(cls, text: str) -> "Alert":
        """Raises ``ValueError``, ``KeyError``, ``TypeError`` for what is none."""
        told = json.loads(text)
        return cls(told["kind"], told["subject"], told["tenant"], told["facts"], told["at"])
