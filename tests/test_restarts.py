"""A server that comes back with an older copy of its data serves nothing from before an invalidation.

The guard, taken away (``restarts.steps`` yields nothing), turns red: all but the refused and the same process.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.cache import caches

from bergizi_redis import greetings
from bergizi_redis.cache.restarts import steps
from bergizi_redis.connections import disconnect_all
from tests.commandlog import GREETING
from tests.servers import PrivateServer
from tests.spoken import WAYS, Spoken

pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture
def kept(settings: Any, tmp_path: Path) -> Iterator[PrivateServer]:
    """A server that comes back with the copy that SAVE has left."""
    server = PrivateServer("--dbfilename", "copy.rdb", directory=str(tmp_path)).start()
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": server.url}}
    yield server
    server.kill()


def restore(server: PrivateServer, cache: Any) -> None:
    """An invalidation that the copy does not know."""
    cache.set("menu", "old", tags=["menus"])
    assert cache.get("menu") == "old"
    with server.client() as client:
        client.save()
    cache.invalidate_tags(["menus"])
    assert cache.get("menu") is None
    server.kill()
    server.start()
    with server.client() as client:
        assert client.exists(cache.made("menu"))


@pytest.mark.parametrize("way", WAYS)
def test_the_process_that_was_connected_serves_nothing_old(kept: PrivateServer, way: str) -> None:
    cache: Any = caches["default"]
    restore(kept, cache)
    assert Spoken(cache, way).get("menu") is None
    with cache.lookup("menu", tags=["menus"]) as entry:
        assert entry.missed
        assert entry.store("new")
    assert cache.get("menu") == "new"


@pytest.mark.parametrize("way", WAYS)
def test_neither_does_one_that_comes_later(kept: PrivateServer, way: str) -> None:
    cache: Any = caches["default"]
    restore(kept, cache)
    disconnect_all()
    assert Spoken(cache, way).get("menu") is None


def test_a_replica_that_was_behind_serves_nothing_old_as_primary(
    kept: PrivateServer, tmp_path: Path, settings: Any
) -> None:
    cache: Any = caches["default"]
    cache.set("menu", "old", tags=["menus"])
    with following(kept, tmp_path) as replica:
        cache.invalidate_tags(["menus"])
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": replica.url}}
        promoted: Any = caches["default"]
        with replica.client() as client:
            assert client.exists(promoted.made("menu"))
        assert promoted.get("menu") is None


@contextmanager
def following(primary: PrivateServer, place: Path) -> Iterator[PrivateServer]:
    """A replica with all that the primary had, cut off from it and promoted."""
    (place / "replica").mkdir()
    replica = PrivateServer(directory=str(place / "replica")).start()
    try:
        with replica.client() as client, primary.client() as source:
            client.replicaof("127.0.0.1", str(primary.port))
            source.set("mark", 1)
            while source.wait(1, 1000) < 1:
                pass
            client.replicaof("NO", "ONE")
        yield replica
    finally:
        replica.kill()


def test_another_connection_to_the_same_process_keeps_what_is_there(kept: PrivateServer) -> None:
    cache: Any = caches["default"]
    cache.set("menu", "kept", tags=["menus"])
    disconnect_all()
    assert cache.get("menu") == "kept"


def test_one_round_trip_for_a_connection_and_none_later(kept: PrivateServer) -> None:
    cache: Any = caches["default"]
    disconnect_all()
    with kept.client() as watcher, kept.client() as teller, watcher.monitor() as monitor:
        cache.get("menu")
        cache.get("menu")
        teller.echo("no more")
        asked = []
        for entry in iter(monitor.next_command, None):
            if "no more" in entry["command"]:
                break
            asked.append(entry["command"])
    assert sum(GREETING in command for command in asked) == 1


def test_a_user_who_may_not_ask_is_connected_all_the_same(
    kept: PrivateServer, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greetings, "_told", set())
    with kept.client() as client:
        client.acl_setuser("cook", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"])
    url = kept.url.replace("redis://", "redis://cook:secret@")
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": url}}
    cache: Any = caches["default"]
    with caplog.at_level(logging.WARNING, "bergizi_redis"):
        cache.set("menu", 1, tags=["menus"])
        disconnect_all()
        assert cache.get("menu") == 1
    assert caplog.text.count("cannot be asked") == 1


def test_each_namespace_at_the_server_is_asked_for(settings: Any) -> None:
    tagged = settings.CACHES["default"]["BACKEND"]
    here = {"BACKEND": tagged, "LOCATION": "redis://here/0"}
    settings.CACHES = {
        "default": here,
        "site": {**here, "KEY_PREFIX": "site"},
        "again": {**here, "KEY_PREFIX": "site"},
        "elsewhere": {**here, "LOCATION": "redis://there/0", "KEY_PREFIX": "there"},
        "untagged": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://here/0", "KEY_PREFIX": "x"},
        "wrong": {"BACKEND": "no.such.Backend"},
    }
    asked = [key for _, names, _ in steps("redis://here/0") for key in names]
    assert [key.rpartition(":cache")[0].rpartition(":")[2] for key in asked] == [asked[0].split(":")[0], "site"]


def test_a_teller_is_heard_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greetings, "_tellers", [])
    teller: Callable[[str], Any] = lambda url: []  # noqa: E731
    greetings.on_connect(teller)
    greetings.on_connect(teller)
    assert greetings._tellers == [teller]


def test_the_script_leaves_a_fence_and_gives_way_on_a_full_server(kept: PrivateServer) -> None:
    from bergizi_redis.scripts.script import script

    text = script("epoch_guard").text
    with kept.client() as client:
        client.set("e", b"F" + b"x" * 16)
        assert client.eval(text, 1, "e", 1000, b"12345678") == 0
        client.set("e", b"oldepoch")
        client.config_set("maxmemory", 1)
        try:
            assert client.eval(text, 1, "e", 1000, b"12345678") == 1
        except redis.exceptions.OutOfMemoryError:
            pytest.fail("a server that is full must still forget")
        assert client.get("e") is None
