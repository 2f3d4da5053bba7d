"""A site with sessions of two users at one kitchen, and what must be true of its lists and counts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from bergizi_redis import keys, scripts
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import index
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.asking import ask
from bergizi_redis.sessions.record import Record
from bergizi_redis.sessions.statistics import NAMES, DayCounts
from tests.servers import PrivateServer
from tests.sessionacts import PROFILE, TENANT

SARI, OTHER = "sari", "budi"
PATIENCE = {"REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0}  # s: a busy machine's stall is no outage
PATIENCE_WITH_NODES = {"REQUEST_BUDGET": 60.0, "COMMAND_TIMEOUT": 60.0}  # a node has a third of it


def counted(tenant: str) -> DayCounts:
    """What happened at the tenant since yesterday: a test may go on past midnight (UTC)."""
    today, yesterday = sessions.stats(tenant, days=2).days
    return replace(today, **{name: getattr(today, name) + getattr(yesterday, name) for name in NAMES})


@dataclass
class Site:
    raw: Any  # a plain client
    settings: Any
    prefix: str = ""

    @classmethod
    @contextmanager
    def at(cls, server: PrivateServer, settings: Any, **more: Any) -> Iterator[Self]:
        """On a server of the test's own, which knows all scripts, so that a command is a step."""
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
        with server.client() as raw:
            raw.flushall()
            for path in Path(scripts.__file__).parent.glob("session_*.lua"):
                raw.script_load(script(path.stem).text)
            yield cls(raw, settings, **more)

    def open(self, prefix: str, **config: Any) -> None:
        self.raw.flushall()
        self.prefix = prefix
        wanted = {"KEY_PREFIX": prefix, **PATIENCE, **config}
        if wanted != self.settings.BERGIZI_REDIS:  # each setting lies upon the ones before
            self.settings.BERGIZI_REDIS = wanted
            self.settings.CACHES = {"default": {**self.settings.CACHES["default"], "KEY_PREFIX": prefix}}
        self.bystander = sessions.create_session(OTHER, TENANT, **PROFILE)

    def live(self) -> dict[str, Record]:
        """Logged-in sessions, whatever the lists say."""
        sids = [name.decode()[-34:].translate({123: None, 125: None})
                for name in self.raw.scan_iter(f"{self.prefix}:session:*", count=10_000)]  # fmt: skip
        found = ask(index.records(sids)) if sids else {}
        return {sid: record for sid, record in found.items() if record.user_id is not None}

    def listed(self, key: str) -> set[str]:
        now = self.raw.time()[0] * 1000
        return {sid.decode() for sid in self.raw.zrangebyscore(key, now, "+inf")}

    def lists(self) -> dict[str, set[str]]:
        named = (keys.user_sessions(SARI), keys.user_sessions(OTHER), keys.tenant_sessions(TENANT))
        return {key: self.listed(key) for key in named}

    def later(self) -> None:
        """A minute has gone by: what was on its way has come, or never will."""
        for key in self.lists():
            for sid, score in self.raw.zrange(key, 0, -1, withscores=True):
                self.raw.zadd(key, {sid: int(score) + ((score % 1) * 2048 - 60) % 2048 / 2048})

    def run_out(self, sid: str) -> None:
        """It has ended by its TTL, an hour ago."""
        self.raw.delete(keys.session(sid))
        for key in self.lists():
            self.raw.zadd(key, {sid: (self.raw.time()[0] - 3600) * 1000}, xx=True)

    def nothing_hides(self) -> None:
        for sid, record in self.live().items():
            for key in index.index_keys(record.user_id, record.tenant):
                assert sid in self.listed(key), f"{sid} of {record.user_id} lives, and {key} does not show it"

    def is_exact(self) -> None:
        """Every list and count, without anything that puts them right."""
        live = self.live()
        for user_id in (SARI, OTHER):
            of_user = {sid for sid, one in live.items() if one.user_id == user_id}
            assert self.listed(keys.user_sessions(user_id)) == of_user
        assert self.listed(keys.tenant_sessions(TENANT)) == set(live)
        assert sessions.stats(TENANT).live == len(live)

    def is_right(self) -> None:
        """What lists show, and after that the counts: reading a list drops ghosts."""
        live = self.live()
        for user_id in (SARI, OTHER):
            of_user = {sid for sid, one in live.items() if one.user_id == user_id}
            assert {info.public_id for info in sessions.sessions_for_user(user_id)} == of_user
        assert {info.public_id for info in sessions.sessions_for_tenant(TENANT)} == set(live)
        self.is_exact()
