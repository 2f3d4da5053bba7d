"""Sessions against a model of them: whatever is done in whatever order, the same sessions live, and lists, counts and
signals say the same.

Seen red: lists and pages that take what has run out from the sweeper, or barred sessions from the clean-up; a doctor
that lists revoked sessions.
"""

import copy
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.test import override_settings
from hypothesis import HealthCheck, Phase
from hypothesis import settings as given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bergizi_redis import keys, signals
from bergizi_redis.sessions import barriers, sweeping
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.asking import ask
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.doctor import examine
from tests.sessionsite import PATIENCE

USERS, TENANTS = ["ani", "budi"], ["sppg-1", "sppg-2"]
users, tenants = st.sampled_from(USERS), st.sampled_from(TENANTS)
names, values = st.sampled_from("abc"), st.integers(0, 9)
PROFILE: dict[str, Any] = {"role": "", "user_type": "", "email": "", "name": "", "permissions": ["A"]}
HOUR = 3_600_000  # ms
TOUCH_EVERY = 600  # seconds; an example takes less on any machine, so that none is touched but by its own rule


@dataclass(eq=False)
class Modelled:
    """``state``: live; barred, by a revocation whose clean-up has not found it; run out, and not swept; ended."""

    key: str
    sid: str
    user: str
    tenant: str
    state: str = "live"
    data: dict[str, int] = field(default_factory=dict)
    listed: set[str] = field(default_factory=lambda: {"user", "tenant"})


class Sessions(RuleBasedStateMachine):
    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Modelled] = []
        self.told: list[tuple[str, str]] = []
        self.expected: list[tuple[str, str]] = []
        self.revocations: list[tuple[str | None, str | None]] = []
        self.stack = ExitStack()
        self.prefix = f"t{uuid.uuid4().hex[:12]}"

    @initialize(limit=st.sampled_from([(0, "deny"), (2, "deny"), (2, "evict")]))
    def begin(self, limit: tuple[int, str]) -> None:
        self.most, self.policy = limit
        caches = copy.deepcopy(settings.CACHES)
        caches["default"]["KEY_PREFIX"] = self.prefix
        config = {"KEY_PREFIX": self.prefix, **PATIENCE, "TOUCH_EVERY": TOUCH_EVERY, "SESSION_LIMIT": self.most}
        config["SESSION_LIMIT_POLICY"] = self.policy
        self.stack.enter_context(override_settings(CACHES=caches, BERGIZI_REDIS=config))
        self.raw: Any = self.stack.enter_context(redis.Redis.from_url(settings.REDIS_URL))
        signals.session_ended.connect(self.hear)
        signals.session_expired.connect(self.hear)

    def hear(self, sid: str, reason: str = "expired", **_: Any) -> None:
        self.told.append((sid, reason))

    def teardown(self) -> None:
        signals.session_ended.disconnect(self.hear)
        signals.session_expired.disconnect(self.hear)
        if found := list(self.raw.scan_iter(f"{self.prefix}*", count=10_000)):
            self.raw.unlink(*found)
        self.stack.close()

    def those(self, state: str, user: str | None = None, tenant: str | None = None) -> list[Modelled]:
        return [
            one for one in self.all if one.state == state and user in (None, one.user) and tenant in (None, one.tenant)
        ]

    def end(self, one: Modelled, reason: str) -> None:
        one.state = "ended"
        one.listed = set()
        self.expected.append((one.sid, reason))

    # What users do

    @rule(target=made, user=users, tenant=tenants)
    def log_in(self, user: str, tenant: str) -> Modelled:
        counted, barred = (
            [one for one in self.those(state, user) if "user" in one.listed] for state in ("live", "barred")
        )
        over = len(counted) + 1 - self.most if self.most else 0
        wanted = max(0, over + len(barred)) if self.most else 0
        try:
            session = sessions.create_session(user, tenant, **PROFILE)
        except sessions.SessionLimitReached:
            assert over > 0
            assert self.policy == "deny"
            return Modelled("x" * 32, "0" * 32, user, tenant, "ended")
        one = Modelled(session.key, session.sid, user, tenant)
        gone = [other for other in self.those("live") if (other.sid, "evicted") in self.told]
        over_already = [other for other in self.those("barred") if (other.sid, "revoked") in self.told]
        if self.policy == "evict":  # the least recently used, whether or not it is over already
            assert len(gone) + len(over_already) == wanted
        else:
            assert gone == []
            assert over <= 0
            assert not wanted or len(over_already) == len(barred)
        for other in gone + over_already:
            assert other in counted + barred
            self.end(other, "evicted" if other in gone else "revoked")
        self.all.append(one)
        return one

    @rule(one=made)
    def log_out(self, one: Modelled) -> None:
        SessionStore(one.key).flush()
        if one.state in ("live", "barred"):
            self.end(one, "logout" if one.state == "live" else "revoked")

    @rule(one=made, name=names, value=values)
    def save(self, one: Modelled, name: str, value: int) -> None:
        store = SessionStore(one.key)
        assert dict(store.items()) == (one.data if one.state == "live" else {})
        if one.state == "live":
            store[name] = one.data[name] = value
            store.save()

    @rule(one=made)
    def change_key(self, one: Modelled) -> None:
        if one.state == "live":
            store = SessionStore(one.key)
            store["z"] = one.data["z"] = 1
            store.cycle_key()
            self.cycled(one, store)

    def cycled(self, one: Modelled, store: SessionStore) -> None:
        self.expected.append((one.sid, "cycled"))
        one.key, one.sid, one.listed = store.session_key or "", store.sid or "", {"user", "tenant"}

    @rule(
        one=made,
        name=names,
        value=values,
        meanwhile=st.sampled_from(["log_out", "revoke", "bar", "change_key", "save"]),
    )
    def slow_request(self, one: Modelled, name: str, value: int, meanwhile: str) -> None:
        if one.state != "live":
            return
        slow, key = SessionStore(one.key), one.key
        slow[name] = value
        if meanwhile == "save":
            self.save(one, "w", value)
        elif meanwhile == "bar":
            self.revoke_and_die((one.user, None))
        else:
            getattr(self, meanwhile)(one)
        try:
            slow.save()
        except UpdateError:
            assert one.state != "live" or one.key != key
        else:
            assert (one.state, one.key) == ("live", key)
            one.data[name] = value

    # What ends them

    @rule(one=made)
    def revoke(self, one: Modelled) -> None:
        assert sessions.revoke(one.sid) == (one.state == "live")
        if one.state in ("live", "barred"):
            self.end(one, "revoked")

    def cleaned(self, found: list[Modelled], number: int) -> None:
        assert number == len(found)
        for one in found:
            self.end(one, "revoked")

    def bar(self, user: str | None, tenant: str | None, keep: Modelled | None = None) -> list[Modelled]:
        for one in self.those("live", user, tenant):
            one.state = "live" if one is keep else "barred"
        return self.found_by(user, tenant)

    def found_by(self, user: str | None, tenant: str | None) -> list[Modelled]:
        """Barred ones that the clean-up of this revocation ends."""
        index = "user" if user else "tenant"
        return [one for one in self.those("barred", user, None if user else tenant)
                if index in one.listed or (user, tenant) == (None, None)]  # fmt: skip

    @rule(user=users, tenant=st.none() | tenants)
    def revoke_user(self, user: str, tenant: str | None) -> None:
        self.cleaned(self.bar(user, tenant), sessions.revoke_user(user, tenant=tenant))

    @rule(one=made)
    def revoke_others(self, one: Modelled) -> None:
        self.cleaned(self.bar(one.user, None, keep=one), sessions.revoke_user(one.user, keep=one.key))

    @rule(tenant=tenants)
    def revoke_tenant(self, tenant: str) -> None:
        self.cleaned(self.bar(None, tenant), sessions.revoke_tenant(tenant))

    @rule()
    def revoke_everybody(self) -> None:
        self.cleaned(self.bar(None, None), sessions.revoke_everybody())

    @rule(scope=st.tuples(st.none() | users, st.none() | tenants))
    def revoke_and_die(self, scope: tuple[str | None, str | None]) -> None:
        ask(barriers.put_up(barriers.Revocation(uuid.uuid4().hex, *scope)))
        self.revocations.append(scope)
        self.bar(*scope)

    @rule()
    def resume(self) -> None:
        self.cleaned(self.left(), sessions.resume_revocations())

    def left(self) -> list[Modelled]:
        found = {one for scope in self.revocations for one in self.found_by(*scope)}
        self.revocations.clear()
        return [*found]

    @rule(one=made)
    def run_out(self, one: Modelled) -> None:
        if one.state in ("live", "barred"):
            one.state = "run out"
            self.raw.delete(keys.session(one.sid))
            for listing in (keys.user_sessions(one.user), keys.tenant_sessions(one.tenant)):
                self.raw.zadd(listing, {one.sid: self.now() - HOUR}, xx=True)

    @rule()
    def sweep(self) -> None:
        due = [one for one in self.those("run out") if "tenant" in one.listed]
        left = self.left()
        assert sweeping.sweep() == len(due)
        for one in due:
            self.end(one, "expired")
        self.cleaned(left, len(left))

    # What the server loses, and what comes back

    @rule(index=st.sampled_from([*USERS, *TENANTS]))
    def flush_list(self, index: str) -> None:
        kind = "user" if index in USERS else "tenant"
        self.raw.delete(keys.user_sessions(index) if kind == "user" else keys.tenant_sessions(index))
        for one in self.all:
            if index == getattr(one, kind):
                one.listed.discard(kind)

    @rule(one=made)
    def use_when_a_touch_is_due(self, one: Modelled) -> None:
        if one.state == "live":
            name = keys.session(one.sid)
            self.raw.hset(name, "@seen", int(self.raw.hget(name, "@seen")) - 1000 * (TOUCH_EVERY + 1))
            assert sessions.validate_session(one.key) is not None
            one.listed = {"user", "tenant"}

    @rule(repair=st.booleans())
    def doctor(self, repair: bool) -> None:
        found = [finding for batch in examine(repair=repair) for finding in batch.findings]
        lost = {state: [one for one in self.those(state) if len(one.listed) < 2] for state in ("live", "barred")}
        for kind, state in (("unlisted", "live"), ("revoked", "barred")):
            assert {finding.where for finding in found if finding.kind == kind} == {one.sid for one in lost[state]}
        assert len(found) == len(lost["live"]) + len(lost["barred"])
        if repair:
            for one in lost["live"]:
                one.listed = {"user", "tenant"}
            self.cleaned(lost["barred"], len(lost["barred"]))

    # What is always so

    def now(self) -> int:
        return int(self.raw.time()[0]) * 1000

    def listed(self, listing: str) -> set[str]:
        return {sid.decode() for sid in self.raw.zrangebyscore(listing, self.now(), "+inf")}

    @invariant()
    def the_same_live(self) -> None:
        for one in self.all:
            assert (sessions.validate_session(one.key) is not None) == (one.state == "live")

    @invariant()
    def lists_and_counts_are_exact(self) -> None:
        """Those of before a clean-up are counted, and not shown."""
        for tenant in TENANTS if self.all else []:
            here = [one for one in self.those("live", None, tenant) if "tenant" in one.listed]
            barred = [one for one in self.those("barred", None, tenant) if "tenant" in one.listed]
            assert self.listed(keys.tenant_sessions(tenant)) == {one.sid for one in (*here, *barred)}
            assert sessions.stats(tenant).live == len(here) + len(barred)
            shown = {one.sid for one in here}
            assert {info.public_id for info in sessions.sessions_for_tenant(tenant)} == shown
            page = sessions.page_for_tenant(tenant)
            assert ({info.public_id for info in page.sessions}, page.total) == (shown, len(shown))
        for user in USERS if self.all else []:
            states = [*self.those("live", user), *self.those("barred", user)]
            assert self.listed(keys.user_sessions(user)) == {one.sid for one in states if "user" in one.listed}

    @invariant()
    def each_end_is_told_once(self) -> None:
        assert sorted(self.told) == sorted(self.expected)


def test_sessions_do_what_their_model_does() -> None:
    run_state_machine_as_test(
        Sessions,
        settings=given(
            max_examples=12, stateful_step_count=30, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        ),
    )  # fmt: skip
