"""Many visitors of many sessions at once, and whether everything is as it must be when they have gone.

All workers read and write all sessions, each counting in a field of its own; each logs in users of its own and revokes
their sessions. So what must be there in the end is known, whatever the interleaving. ``sessionvisitors.py`` runs them.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

TENANTS = 5
USERS_EACH = 3  # sessions, about, before anybody is revoked
LOG_INS, REVOKES, WRITES = 0.08, 0.04, 0.4  # of the operations; the rest reads
HOT = 5  # sessions that half of the writes go to, so that they meet


@dataclass(slots=True)
class Done:
    """What a worker did. ``mine``: its live sessions by user, key by sid."""

    number: int
    mine: dict[str, dict[str, str]] = field(default_factory=dict)
    revoked: dict[str, str] = field(default_factory=dict)  # key by sid
    writes: dict[str, int] = field(default_factory=Counter)  # by key
    missed: list[str] = field(default_factory=list)  # keys that it found ended
    counts: dict[str, int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def field(self) -> str:
        """Its own in every session."""
        return f"worker{self.number}"


def tenant_of(user: str) -> str:
    return f"sppg-{int(user.rpartition('.')[2]) % TENANTS}"


def log_in(done: Done, number: int) -> str:
    """A session of one of the worker's own users; its key."""
    from bergizi_redis.sessions import service

    user = f"user{done.number}.{number}"
    made = service.create_session(user, tenant_of(user), "COOK", "SPPG_USER", "a@sppg.id", "Cook", ["MENU_MANAGE"])
    done.mine.setdefault(user, {})[made.sid] = made.key
    done.counts["log-ins"] += 1
    return made.key


class Worker:
    def __init__(self, done: Done, keys: list[str], seed: int) -> None:
        self.done, self.keys = done, keys
        self.random = random.Random(seed)

    def run(self, operations: int) -> None:
        for _ in range(operations):
            share = self.random.random()
            if share < LOG_INS:
                log_in(self.done, self.random.randrange(max(1, len(self.done.mine))))
            elif share < LOG_INS + REVOKES:
                self.revoke()
            elif share < LOG_INS + REVOKES + WRITES:
                hot = self.keys[:: len(self.keys) // HOT]
                self.write(self.random.choice(hot if self.random.random() < 0.5 else self.keys))
            else:
                self.read(self.random.choice(self.keys))

    def read(self, key: str) -> None:
        from bergizi_redis.sessions.service import validate_session

        if validate_session(key, "MENU_MANAGE") is None:
            self.done.missed.append(key)
        self.done.counts["reads"] += 1

    def write(self, key: str, meanwhile: Callable[[], None] | None = None) -> None:
        """Count on, with whatever is to happen between loading and saving."""
        from django.contrib.sessions.backends.base import UpdateError

        from bergizi_redis.sessions.backend import SessionStore

        session, name = SessionStore(key), self.done.field
        count = session.get(name, 0)
        if session.session_key is None:
            self.done.missed.append(key)
            return
        if count != self.done.writes.get(key, 0):
            self.done.problems.append(f"{name} read {count} in a session where it had counted {self.done.writes[key]}")
        session[name] = count + 1
        if meanwhile is not None:
            meanwhile()
        try:
            session.save()
        except UpdateError:
            self.done.missed.append(key)
        else:
            self.done.writes[key] = count + 1
            self.done.counts["writes"] += 1
            if key in self.done.revoked.values():
                self.done.problems.append(f"{name} saved a session that it had revoked meanwhile")

    def revoke(self) -> None:
        """One session, or all of a user but one; while a request of the first is about to save."""
        user = self.random.choice(list(self.done.mine))
        live = self.done.mine[user]
        if live:
            sid = self.random.choice(list(live))
            self.write(live[sid], meanwhile=lambda: self._end(user, sid))

    def _end(self, user: str, sid: str) -> None:
        from bergizi_redis.sessions import service

        live = self.done.mine[user]
        if self.random.random() < 0.5:
            told, ended = int(service.revoke(sid)), [sid]
        else:
            kept = self.random.choice([other for other in live if other != sid] or [""])
            told, ended = service.revoke_user(user, keep=live.get(kept)), [other for other in live if other != kept]
        if told != len(ended):
            self.done.problems.append(f"revoking said {told}, of {len(ended)}")
        for each in ended:
            self.done.revoked[each] = live.pop(each)
        self.done.counts["revoked"] += len(ended)


def problems(done: list[Done]) -> list[str]:
    """What is not as it must be: a lost write, one that came back, a list or a count that is wrong."""
    from bergizi_redis.sessions import service
    from bergizi_redis.sessions.backend import SessionStore

    found = [problem for one in done for problem in one.problems]
    gone = {key for one in done for key in one.revoked.values()}
    found += [
        f"{one.field} found a session ended that nobody revoked" for one in done if not gone.issuperset(one.missed)
    ]
    if any(service.validate_session(key) for key in gone):
        found.append("a revoked session lives")
    tenants: dict[str, set[str]] = {f"sppg-{number}": set() for number in range(TENANTS)}
    for user, live in (item for one in done for item in one.mine.items()):
        tenants[tenant_of(user)] |= live.keys()
        if {info.public_id for info in service.sessions_for_user(user)} != live.keys():
            found.append(f"{user} has other sessions than are listed")
        for key in live.values():
            data = SessionStore(key).load()
            counted = {one.field: one.writes[key] for one in done if one.writes.get(key)}
            if data != counted:
                found.append(f"a session of {user} holds {data}, not {counted}")
    for tenant, sids in tenants.items():
        listed, stats = service.sessions_for_tenant(tenant), service.stats(tenant, days=2)
        if {info.public_id for info in listed} != sids or stats.live != len(sids):
            found.append(f"{tenant} has {len(sids)} sessions, {len(listed)} are listed and {stats.live} counted")
    for name, kind in (("logins", "log-ins"), ("revoked", "revoked")):
        told = sum(getattr(day, name) for tenant in tenants for day in service.stats(tenant, days=2).days)
        if told != sum(one.counts[kind] for one in done):
            found.append(f"the days count {told} {name}, of {sum(one.counts[kind] for one in done)}")
    return found
