"""What an attempt has to pass – its networks, then its account or device – said to Redis. Procedures of steps.

On one server all are looked at, and paid or not, in one script. On a cluster each slot is asked by itself, in this
order; a refusal refunds what was paid before it. An error in between leaves that paid: stricter, never looser.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import RedisError

from bergizi_redis import lockoutkeys
from bergizi_redis.conf import config
from bergizi_redis.security.account import UNTIL_UNLOCKED, Account, Alert, Debit, Limits, in_ms, new_generation
from bergizi_redis.security.networks import Network
from bergizi_redis.security.status import LockStatus, whole_seconds
from bergizi_redis.security.steps import OnCluster, RunScript, Steps

ALERT_MS = in_ms(900)
LEAST = 50  # log-ins of a tenant in a window before their share of failures says anything
ANY_EPOCH = "*"


@dataclass(frozen=True, slots=True)
class Passage:
    """``epoch`` of a trusted device, as its cookie has it; ``insists``: the check was made already."""

    account: Account
    networks: tuple[Network, ...] = ()
    epoch: str = ANY_EPOCH
    insists: bool = False


class EpochPassed(Exception):
    """The cookie is from before its account's devices were forgotten: it counts as none."""


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def pay(passage: Passage, limits: Limits) -> Steps[Debit]:
    """Raises ``EpochPassed``, and Redis's errors."""
    asked = _Question(passage, limits, secrets.token_hex(8))
    networks, account = passage.networks, passage.account
    if not (yield OnCluster()):
        # What was checked elsewhere tells its failures only, and of these no share can be made.
        reply = yield asked.script(networks, account, None if passage.insists else account.tenant)
        return asked.answer(reply, networks)
    passed: list[Network] = []
    alerts: tuple[Alert, ...] = ()
    for network in networks:
        paid = asked.answer((yield asked.script([network], None, None)), [network])
        if not paid.allowed:
            yield from give_back(passed, asked.attempt)
            return paid
        passed.append(network)
        alerts += paid.alerts
    try:
        paid = asked.answer((yield asked.script([], account, None)), [])
    except EpochPassed:
        yield from give_back(passed, asked.attempt)
        raise
    if not paid.allowed:
        yield from give_back(passed, asked.attempt)
    return (yield from asked.of_tenant(paid, alerts))


def give_back(networks: Sequence[Network], attempt: str) -> Steps[None]:
    """Take the attempt off the logs of networks; where that fails it stays counted."""
    try:
        for network in networks:
            yield RunScript("lockout_settle", network.keys[:1], [0, 1, 0, "", attempt])
    except RedisError:
        return


def counters_of(account: Account) -> list[str]:
    """KEYS of an account in lockout_settle.lua."""
    return [*account.counters, account.record, lockoutkeys.origins(account.tag), lockoutkeys.devices(account.tag)]


def settle(passage: Passage, paid: Debit) -> Steps[tuple[bool, str]]:
    """Refund a success: whether that opened a lock, and the epoch of the account's devices."""
    account, networks = passage.account, passage.networks
    counters = counters_of(account)
    logs, outcomes = [network.keys[0] for network in networks], lockoutkeys.outcomes(account.tenant)
    if not (yield OnCluster()):
        keys = [*counters, *logs, outcomes]
        opened, epoch = yield RunScript("lockout_settle", keys, [1, len(logs), 1, paid.generation, paid.attempt])
        return bool(opened), text(epoch)
    opened, epoch = yield RunScript("lockout_settle", counters, [1, 0, 0, paid.generation, ""])
    yield from give_back(networks, paid.attempt)
    try:
        yield RunScript("lockout_settle", [outcomes], [0, 0, 1, "", ""])
    except RedisError:  # a number for alerts
        pass
    return bool(opened), text(epoch)


@dataclass(frozen=True, slots=True)
class _Question:
    passage: Passage
    limits: Limits
    attempt: str

    def script(self, networks: Sequence[Network], account: Account | None, tenant: str | None) -> RunScript:
        passage, alerts = self.passage, config.LOCKOUT_ALERTS
        keys = [key for network in networks for key in network.keys]
        arguments: list[str | int] = [len(networks), int(account is not None), int(tenant is not None), self.attempt]
        arguments += [passage.account.tag, int(passage.insists), ALERT_MS]
        for network in networks:
            arguments += [network.limit, network.window_ms, alerts.get("spray", 0)]
        if account is not None:
            of = (lockoutkeys.origins(account.tag), lockoutkeys.told(account.tag), lockoutkeys.devices(account.tag))
            keys += [*account.counters, account.record, *of]
            limits, origin = self.limits, passage.networks[0].tag if passage.networks else ""
            arguments += [limits.attempts, limits.window_ms, new_generation(), limits.cap, limits.memory_ms]
            arguments += [origin, alerts.get("distributed", 0), passage.epoch, *limits.schedule]
        if tenant is not None:
            keys += [lockoutkeys.outcomes(tenant), lockoutkeys.told(tenant)]
            arguments += [alerts.get("failures", 0), LEAST]
        return RunScript("lockout_debit", keys, arguments)

    def of_tenant(self, paid: Debit, alerts: tuple[Alert, ...]) -> Steps[Debit]:
        """Count it for the tenant, in a slot of its own; only alerts need that."""
        told = alerts + paid.alerts
        if paid.allowed and not self.passage.insists:
            try:
                reply = yield self.script([], None, self.passage.account.tenant)
                told += self.answer(reply, []).alerts
            except RedisError:
                pass
        return replace(paid, alerts=told)

    def answer(self, reply: list[Any], networks: Sequence[Network]) -> Debit:
        by, failures, pttl, closed, generation, now_ms, level, row, alerts = reply
        if by == -2:
            raise EpochPassed
        account = self.passage.account
        first = self.passage.networks[0].text if self.passage.networks else None
        told = tuple(
            Alert(text(kind), count, limit, first if text(kind) == "spray" else None) for kind, count, limit in alerts
        )
        if by > 0:
            status = LockStatus(True, whole_seconds(max(pttl, 1)), failures, 0)
            return Debit(False, status, False, "", now_ms, reason=networks[by - 1].reason, alerts=told)
        reason = "device" if account.device else "capped" if pttl == UNTIL_UNLOCKED else "account"
        return Debit(
            by == 0, self.limits.status(failures, pttl), bool(closed), text(generation), now_ms, False, reason,
            level, row, self.attempt, told,
        )  # fmt: skip
