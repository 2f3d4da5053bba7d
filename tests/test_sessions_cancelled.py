"""A request's task is cancelled while it waits for the answer to any of its commands, which then comes late.

The connection is not used again with that answer on its way: the next request would be given it for its own. What was
under way is done whole or not at all.
"""

import asyncio
import copy
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bergizi_redis import connections, keys, scripts
from bergizi_redis.scripts.script import script
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from tests.proxies import proxy
from tests.servers import PrivateServer
from tests.sessionacts import PROFILE, TENANT
from tests.sessionsite import SARI, Site

MOST = 40  # answers
OTHERS = 4


@dataclass
class Gate:
    """Lets ``left`` answers pass, then none until it is opened."""

    left: int = 10**9
    held: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)

    def close_after(self, answers: int) -> None:
        self.left = answers
        self.held.clear()
        self.opened.clear()

    def open(self) -> None:
        self.left = 10**9
        self.opened.set()

    def hold(self) -> None:
        if self.left <= 0:
            self.held.set()
            self.opened.wait(60)
        self.left -= 1


@pytest.fixture
def gate(server: PrivateServer, settings: Any) -> Iterator[Gate]:
    one = Gate()

    def serve(link: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as back:
            while asked := link.recv(65536):
                back.sendall(asked)
                answer = back.recv(65536)
                one.hold()
                link.sendall(answer)

    with proxy(serve) as running:
        caches = copy.deepcopy(settings.CACHES)
        caches["default"]["LOCATION"] = running.url
        settings.CACHES = caches
        try:
            yield one
        finally:
            one.open()
            connections.disconnect_all()


@pytest.fixture
def site(server: PrivateServer, settings: Any, gate: Gate) -> Iterator[Site]:
    with server.client() as raw:
        for path in Path(scripts.__file__).parent.glob("session_*.lua"):
            raw.script_load(script(path.stem).text)
        yield Site(raw, settings)


async def save(key: str) -> None:
    session = SessionStore(key)
    await session.aset("a", 1)
    await session.aset("b", 1)
    await session.asave()


async def change_key(key: str) -> None:
    session = SessionStore(key)
    await session.aset("a", 1)
    await session.acycle_key()


async def log_out(key: str) -> None:
    await SessionStore(key).aflush()


async def log_in(key: str) -> None:
    await sessions.acreate_session(SARI, TENANT, **PROFILE)


async def revoke(key: str) -> None:
    await sessions.arevoke_user(SARI)


async def cancelled(gate: Gate, answers: int, act: Any, key: str, others: list[str]) -> bool:
    """Whether it was still under way after so many answers; then everybody else is served what is theirs."""
    for other in others:  # connects
        await SessionStore(other).aload()
    gate.close_after(answers)
    task = asyncio.create_task(act(key))
    held = asyncio.create_task(asyncio.to_thread(gate.held.wait, 60))
    await asyncio.wait([task, held], return_when=asyncio.FIRST_COMPLETED)
    was_under_way = not task.done()
    task.cancel()
    gate.held.set()
    await asyncio.gather(task, held, return_exceptions=True)
    gate.open()
    for _ in range(2):
        found = await asyncio.gather(*(SessionStore(other).aget("who") for other in others))
        assert found == others
    return was_under_way


@pytest.mark.parametrize("act", [save, change_key, log_out, log_in, revoke], ids=lambda act: act.__name__)
def test_a_cancelled_request_leaves_no_answer_for_the_next(site: Site, gate: Gate, act: Any) -> None:
    for answers in range(MOST):
        site.open(f"n{answers}", SESSION_LIMIT=3)
        one, others = sessions.create_session(SARI, TENANT, **PROFILE), list[str]()
        for _ in range(OTHERS):
            other = SessionStore()
            other.create()
            other["who"] = other.session_key
            other.save()
            others.append(other.session_key or "")
        was_under_way = asyncio.run(cancelled(gate, answers, act, one.key, others))
        site.nothing_hides()
        if act is save:
            stored = site.raw.hmget(keys.session(one.sid), "a", "b")
            assert stored in ([None, None], [b":1", b":1"])
        site.later()
        asyncio.run(act(one.key)) if act is not change_key else None
        site.is_right()
        if not was_under_way:
            return
    raise AssertionError(f"{act.__name__} does not end within {MOST} answers")
