"""The near cache: 0 round trips on a hit, never older than the word of its link, and at once what this process changes.

``other`` is the same cache as another process sees it: it knows nothing of this one's near cache. Taken away once to
see these tests go red: forgetting what this process bumps and stores, voiding the fills under way, the digest of what a
fill brings, the death of marks by a push, by a flush and by a broken link, the proof of the link, the bound in bytes,
skipping while something is owed, and passing by for strict reads.
"""

import asyncio
import copy
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
import redis
from django.core.cache import caches

from bergizi_redis import connections
from bergizi_redis.budget import within
from bergizi_redis.cache import fences, process
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import Domain, menu
from bergizi_redis.cache.near import links
from bergizi_redis.cache.near.link import Broken, Refused
from bergizi_redis.cache.near.links import Links
from bergizi_redis.cache.near.mirror import Fill, Mirror
from bergizi_redis.cache.near.watch import Watch
from bergizi_redis.exchange import speak
from tests.nearness import at_rest, brought_near, gone, held, until
from tests.proxies import holding
from tests.servers import PrivateServer, free_port
from tests.spoken import WAYS, Spoken

Commands = Callable[[], AbstractContextManager[list[str]]]
TAGS = ["menus", "recipes"]


def near_settings(settings: Any, url: str = "", **near: Any) -> None:
    """``default`` with a near cache, and ``other``, which goes by another process's state.

    With a wide ``max_staleness``: on a busy machine the link's thread may come late with its proof.
    """
    aliases = copy.deepcopy(settings.CACHES)
    aliases["other"] = copy.deepcopy(aliases["default"])
    aliases["other"]["LOCATION"] = aliases["other"]["LOCATION"] + "?client_name=other"
    aliases["default"]["OPTIONS"] = {"NEAR_CACHE": {"max_staleness": 60.0} | near}
    if url:
        aliases["default"]["LOCATION"] = url
    settings.CACHES = aliases


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(process, "_states", {})
    yield
    connections.disconnect_all()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "near cache"])


@pytest.fixture
def cache(settings: Any) -> TaggedRedisCache:
    near_settings(settings)
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture
def other(cache: TaggedRedisCache) -> TaggedRedisCache:
    found: TaggedRedisCache = caches["other"]  # type: ignore[assignment]
    assert found.state is not cache.state
    assert found.near is None
    return found


@pytest.fixture(params=WAYS)
def spoken(cache: TaggedRedisCache, request: pytest.FixtureRequest) -> Spoken:
    return Spoken(cache, request.param)


@pytest.fixture
def near(cache: TaggedRedisCache) -> str:
    """The name in Redis of ``k``, which is near."""
    cache.set("k", "old", 60, tags=TAGS)
    name = cache.made("k")
    assert brought_near(cache, name, lambda: cache.get("k")) == "old"
    return name


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's pushes are not heeded, as if none had arrived yet."""
    monkeypatch.setattr(Mirror, "changed", lambda self, names: None)


def test_a_hit_asks_the_server_nothing(spoken: Spoken, near: str, cache: TaggedRedisCache, commands: Commands) -> None:
    before = cache.stats()["near_hits"]
    with commands() as log:
        assert spoken.get("k") == spoken.get("k") == "old"
        assert spoken.get_or_set("k", "new", tags=TAGS) == "old"
    assert log == []
    assert cache.stats()["near_hits"] == before + 3


def test_domains_and_functions_are_near_too(cache: TaggedRedisCache, commands: Commands) -> None:
    @cached(timeout=600, tags=["menus"])
    def answer(number: int) -> int:
        return number

    menu.set("sppg-a", 1, "soto")
    menu.set_list("sppg-a", ["soto"])
    entry = menu.lookup("sppg-a", 1).address.key
    brought_near(cache, entry, lambda: menu.get("sppg-a", 1))
    brought_near(cache, menu._list(cache, "sppg-a", "all").key, lambda: menu.get_list("sppg-a"))
    brought_near(cache, answer.address(1).key, lambda: answer(1))
    with commands() as log:
        assert menu.get("sppg-a", 1) == menu.get_or_compute("sppg-a", 1, lambda: "computed") == "soto"
        assert asyncio.run(menu.aget("sppg-a", 1)) == "soto"
        assert menu.get_list("sppg-a") == ["soto"]
        assert answer(1) == 1
    assert log == []
    assert cache.stats()["by_domain"]["menu"]["near_hits"] >= 4
    menu.invalidate("sppg-a")
    answer.invalidate(1)
    assert [menu.get("sppg-a", 1), menu.get_list("sppg-a")] == [None, None]
    assert not held(cache, answer.address(1).key)


def test_strict_reads_pass_it_by(spoken: Spoken, near: str, deaf: None, other: TaggedRedisCache) -> None:
    other.set("k", "new", 60, tags=TAGS)
    assert spoken.get("k") == "old"
    assert spoken.get("k", strict=True) == "new"


def test_a_strict_lookup_domain_and_function_ask_redis(cache: TaggedRedisCache, commands: Commands) -> None:
    bill = Domain("bill", 60, strict=True)

    @cached(timeout=60, strict=True)
    def answer() -> int:
        return 42

    bill.set("sppg-a", 1, "paid")
    answer()
    for _ in range(3):
        with commands() as log:
            assert bill.get("sppg-a", 1) == "paid"
            assert answer() == 42
            with cache.lookup("k", TAGS, strict=True) as entry:
                assert entry.missed
        assert len([line for line in log if line.startswith("MGET") and "PTTL" not in line]) >= 3


def test_what_this_process_invalidates_is_gone_when_the_call_returns(spoken: Spoken, near: str, deaf: None) -> None:
    spoken.invalidate_tags(["recipes"])
    assert spoken.get("k") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.set("k", "new", tags=TAGS),
        lambda cache: cache.set_many({"k": "new"}, tags=TAGS),
        lambda cache: cache.delete("k"),
        lambda cache: cache.delete_many(["k"]),
        lambda cache: cache.incr_version("k"),
        lambda cache: cache.touch("k", 0),
        lambda cache: cache.invalidate_all(),
        lambda cache: cache.clear(),
    ],
)
def test_what_this_process_changes_is_changed_when_the_call_returns(
    spoken: Spoken, near: str, deaf: None, change: Callable[[Any], Any]
) -> None:
    change(spoken)
    assert spoken.get("k") != "old"


def test_a_counter_counts(spoken: Spoken, cache: TaggedRedisCache, deaf: None) -> None:
    spoken.set("n", 1, tags=TAGS)
    brought_near(cache, cache.made("n"), lambda: cache.get("n"))
    assert spoken.incr("n") == spoken.get("n") == 2


def test_a_fill_under_way_when_this_process_invalidates_is_void(
    cache: TaggedRedisCache, near: str, deaf: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link's reply is older than the bump, and its push has not arrived. ``near``: the link is there already."""
    arrived, reply_is_here, go_on = Mirror.arrived, threading.Event(), threading.Event()

    def late(self: Mirror, fill: Fill, *args: Any) -> None:
        reply_is_here.set()
        go_on.wait(60)
        arrived(self, fill, *args)

    completed = threading.Event()
    complete = Mirror.completed

    def completing(self: Mirror, fill: Fill) -> None:
        complete(self, fill)
        completed.set()

    monkeypatch.setattr(Mirror, "arrived", late)
    monkeypatch.setattr(Mirror, "completed", completing)
    cache.set("l", "old", 60, tags=TAGS)
    assert cache.get("l") == "old"
    assert reply_is_here.wait(60)
    cache.invalidate_tags(["menus"])
    go_on.set()
    assert completed.wait(60)
    assert not held(cache, cache.made("l"))
    assert cache.get("l") is None


def test_a_push_between_reply_and_store_is_heeded(
    cache: TaggedRedisCache, other: TaggedRedisCache, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process bumps after the link has read, and before what it has read is kept."""
    arrived, changed, told = Mirror.arrived, Mirror.changed, threading.Event()
    bumped: list[bool] = []

    def late(self: Mirror, fill: Fill, *args: Any) -> None:
        if not bumped:
            bumped.append(True)
            other.invalidate_tags(["menus"])
        arrived(self, fill, *args)

    def heard(self: Mirror, names: Any) -> None:
        changed(self, names)
        if bumped:
            told.set()

    monkeypatch.setattr(Mirror, "arrived", late)
    monkeypatch.setattr(Mirror, "changed", heard)
    cache.set("l", "old", 60, tags=TAGS)
    assert cache.get("l") == "old"
    assert told.wait(60)
    assert cache.get("l") is None


def test_a_fill_that_comes_late_is_harmless(
    cache: TaggedRedisCache, other: TaggedRedisCache, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process bumps after the read, and before the link reads: entry and versions do not fit."""
    completed, complete, submit = threading.Event(), Mirror.completed, Watch.submit

    def late(self: Watch, fill: Fill) -> None:
        other.invalidate_tags(["menus"])
        with other.lookup("other", ["menus"]):  # the new version stands
            submit(self, fill)

    def completing(self: Mirror, fill: Fill) -> None:
        complete(self, fill)
        completed.set()

    monkeypatch.setattr(Watch, "submit", late)
    monkeypatch.setattr(Mirror, "completed", completing)
    cache.set("l", "old", 60, tags=TAGS)
    assert cache.get("l") == "old"
    assert completed.wait(60)
    assert not held(cache, cache.made("l"))
    assert cache.get("l") is None


def test_a_fill_that_is_void_before_it_is_sent_leaves_room_for_the_next(
    cache: TaggedRedisCache, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``near``: the link is there already, so that the thread goes on after it."""
    submit, voided = Watch.submit, threading.Event()

    def late(self: Watch, fill: Fill) -> None:
        if not voided.is_set():
            cache.set("l", "new", 60, tags=TAGS)
            voided.set()
        submit(self, fill)

    monkeypatch.setattr(Watch, "submit", late)
    cache.set("l", "old", 60, tags=TAGS)
    assert cache.get("l") == "old"
    assert brought_near(cache, cache.made("l"), lambda: cache.get("l")) == "new"


@pytest.mark.parametrize(
    "change",
    [
        lambda other, raw, versions: other.invalidate_tags(["recipes"]),
        lambda other, raw, versions: other.invalidate_all(),
        lambda other, raw, versions: other.set("k", "new", tags=TAGS),
        lambda other, raw, versions: other.delete("k"),
        lambda other, raw, versions: other.touch("k", 30),
        lambda other, raw, versions: raw.unlink(versions[0]),
        lambda other, raw, versions: raw.pexpire(versions[-1], 1) and until(lambda: not raw.exists(versions[-1])),
    ],
    ids=["tag", "everything", "set", "delete", "touch", "evicted", "expired"],
)
def test_what_another_process_changes_arrives(
    cache: TaggedRedisCache, other: TaggedRedisCache, near: str, raw: "redis.Redis", change: Callable[..., Any]
) -> None:
    change(other, raw, cache.state.hints[near])
    gone(cache, near)
    assert cache.get("k") == other.get("k")


def test_a_fence_of_another_process_is_never_valid(
    cache: TaggedRedisCache, other: TaggedRedisCache, near: str, raw: "redis.Redis"
) -> None:
    versions, writer = list(cache.state.hints[near]), fences.new_writer()
    speak(fences.put_up(versions[-1:], writer, 600), raw)
    gone(cache, near)
    for _ in range(3):
        assert cache.get_or_set("k", "new", 60, tags=TAGS) == "new"
        assert not held(cache, near)
    speak(fences.take_down(versions[-1:], writer), raw)
    assert brought_near(cache, near, lambda: cache.get_or_set("k", "new", 60, tags=TAGS)) == "new"


def test_a_fence_of_this_process_is_heeded_at_once(cache: TaggedRedisCache, near: str, deaf: None) -> None:
    versions, writer = list(cache.state.hints[near]), fences.new_writer()
    cache.ask(fences.put_up(versions, writer, 600), bumped=versions)
    assert cache.get("k") is None
    cache.ask(fences.take_down(versions, writer), bumped=versions)
    assert cache.get("k") is None


def test_each_reader_gets_a_value_of_their_own(spoken: Spoken, cache: TaggedRedisCache) -> None:
    cache.set("k", {"rows": [1]}, 60, tags=TAGS)
    brought_near(cache, cache.made("k"), lambda: cache.get("k"))
    spoken.get("k")["rows"].append(2)
    assert spoken.get("k") == {"rows": [1]}


def test_the_bound_in_bytes_holds_and_what_is_read_again_stays(settings: Any, commands: Commands) -> None:
    near_settings(settings, max_bytes=20_000)
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    assert cache.near is not None
    cache.set("favourite", "x" * 500, 600, tags=TAGS)
    brought_near(cache, cache.made("favourite"), lambda: cache.get("favourite"))
    for number in range(40):
        cache.set(f"k{number}", "x" * 500, 600, tags=TAGS)
        cache.get(f"k{number}")  # once, so that it is near without having been read there
        until(lambda number=number: held(cache, cache.made(f"k{number}")))  # type: ignore[misc]
        before = cache.stats()["near_hits"]
        cache.get("favourite")
        assert cache.stats()["near_hits"] == before + 1
        assert cache.near.bytes <= 20_000
    assert not held(cache, cache.made("k0"))
    cache.set("large", os.urandom(30_000), 600, tags=TAGS)
    large = cache.made("large")
    until(lambda: cache.get("large") and large in cache.near._records and at_rest(cache))  # type: ignore[union-attr]
    assert not held(cache, large)
    with commands() as log:
        assert cache.get("large") == cache.get("large")
    assert [line.split()[0] for line in log] == ["MGET", "MGET"]  # known to be too large, so it is not read twice
    assert cache.near.bytes == sum(record.size for record in cache.near._records.values()) <= 20_000


def test_an_entry_does_not_outlive_its_time(cache: TaggedRedisCache, near: str) -> None:
    assert cache.near is not None
    assert 0 < cache.near._records[near].until - time.monotonic() <= 60
    assert not held(cache, cache.made("missing"))


@pytest.mark.parametrize("threads", [1, 8, 64])
def test_threads_and_tasks_on_a_cold_key(cache: TaggedRedisCache, other: TaggedRedisCache, threads: int) -> None:
    truth = ["first"]
    barrier = threading.Barrier(threads)

    def read(_: int) -> Any:
        barrier.wait(60)
        return cache.get_or_set("k", lambda: truth[0], 600, tags=TAGS)

    async def reads() -> list[Any]:
        tasks = (cache.aget_or_set("k", lambda: truth[0], 600, tags=TAGS) for _ in range(threads))
        return await asyncio.gather(*tasks)

    with ThreadPoolExecutor(threads) as pool:
        for value in ("first", "second", "third"):
            truth[0] = value
            other.invalidate_tags(["menus"])
            gone(cache, cache.made("k"))
            assert set(pool.map(read, range(threads))) == {value}
            assert set(asyncio.run(reads())) == {value}
            assert brought_near(cache, cache.made("k"), lambda: cache.get("k")) == value


def test_a_link_that_has_not_proven_itself_lately_is_not_believed(settings: Any) -> None:
    near_settings(settings, max_staleness=3600.0)  # so that the next probe is far off
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    assert cache.near is not None
    cache.set("k", "old", 60, tags=TAGS)
    brought_near(cache, cache.made("k"), lambda: cache.get("k"))
    cache.near.mirror.proven -= 3000
    assert held(cache, cache.made("k"))
    cache.near.mirror.proven -= 601
    assert not held(cache, cache.made("k"))


def test_a_half_open_link_serves_no_longer_than_stated(settings: Any, server: PrivateServer) -> None:
    with holding(server.port) as (proxy, release):
        near_settings(settings, proxy.url, max_staleness=0.4)
        cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
        other: TaggedRedisCache = caches["other"]  # type: ignore[assignment]
        cache.set("k", "old", 60, tags=TAGS)
        name = cache.made("k")
        brought_near(cache, name, lambda: cache.get("k"))
        release.clear()
        other.invalidate_tags(["menus"])  # the push is swallowed
        gone(cache, name)
        release.set()
        assert cache.get("k") is None
        connections.disconnect_all()


def test_a_flush_forgets_everything(settings: Any, server: PrivateServer) -> None:
    near_settings(settings)
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set("k", "old", 60, tags=TAGS)
    brought_near(cache, cache.made("k"), lambda: cache.get("k"))
    with server.client() as client:
        client.flushdb()
    gone(cache, cache.made("k"))
    assert cache.get("k") is None


def test_a_server_that_restarts_is_heard_again(settings: Any, server: PrivateServer) -> None:
    near_settings(settings)
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set("k", "old", 60, tags=TAGS)
    name = cache.made("k")
    brought_near(cache, name, lambda: cache.get("k"))
    server.kill()
    gone(cache, name)
    assert cache.get("k") is None
    server.start()
    assert brought_near(cache, name, lambda: cache.get_or_set("k", "new", 60, tags=TAGS)) == "new"


def test_a_server_that_is_made_a_replica_is_not_believed_any_more(settings: Any, server: PrivateServer) -> None:
    """Its master cannot be reached, so nothing is changed or flushed: its own word for it is all there is."""
    near_settings(settings, max_staleness=0.4)
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set("k", "old", 60, tags=TAGS)
    brought_near(cache, cache.made("k"), lambda: cache.get("k"))
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", free_port())
    assert cache.near is not None
    marks = cache.near._records[cache.made("k")].marks
    until(lambda: not any(mark.alive for mark in marks))


def test_what_is_owed_to_a_dead_server_is_not_served(settings: Any, server: PrivateServer, deaf: None) -> None:
    near_settings(settings, max_staleness=60.0)
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set_many({"k": "old", "unrelated": "old"}, 60, tags=TAGS)
    for key in ("k", "unrelated"):
        brought_near(cache, cache.made(key), lambda key=key: cache.get(key))  # type: ignore[misc]
    server.pause()
    with within(0.1):  # what follows finds a server that was silent a moment ago
        cache.delete("k")
    assert cache.get("k") is None
    assert held(cache, cache.made("unrelated"))
    assert cache.get("unrelated") is None  # nothing is read before the debt is settled
    server.resume()
    until(lambda: cache.get("unrelated") == "old")
    assert cache.get("k") is None


def test_a_user_who_may_not_track_reads_from_redis_and_is_told_once(
    settings: Any, server: PrivateServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, tries = Links.lost, []

    def failed(self: Links, node: str, error: Broken) -> None:
        tries.append(isinstance(error, Refused))
        lost(self, node, error)

    monkeypatch.setattr(Links, "lost", failed)
    monkeypatch.setattr(links, "REFUSED_PAUSE", 0.01)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-client|tracking")
    near_settings(settings, server.url.replace("://", "://app:pw@"))
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set("k", "old", 60, tags=TAGS)
    with caplog.at_level(logging.WARNING, "bergizi_redis.cache"):
        until(lambda: cache.get("k") == "old" and sum(tries) >= 3)
    assert [record.action for record in caplog.records] == ["near_cache_refused"]  # type: ignore[attr-defined]
    assert "+client|tracking" in caplog.text
    cache.invalidate_tags(["menus"])
    assert cache.get("k") is None


FORKING = """
import os, sys, threading, time
import django
from django.conf import settings
settings.configure(CACHES={"default": {
    "BACKEND": "bergizi_redis.cache.backend.TaggedRedisCache", "LOCATION": sys.argv[1], "KEY_PREFIX": sys.argv[2],
    "OPTIONS": {"NEAR_CACHE": {"max_staleness": 60.0}}}},
    BERGIZI_REDIS={"KEY_PREFIX": sys.argv[2], "REQUEST_BUDGET": 20.0, "COMMAND_TIMEOUT": 20.0}, INSTALLED_APPS=[])
django.setup()
from django.core.cache import cache

def near(value):
    deadline = time.monotonic() + 60
    # At rest, too: a fill under way may bring what was changed meanwhile, and then nothing is ever gone.
    while not cache.near.find(cache.made("k")) or cache.near.mirror._fills:
        assert cache.get_or_set("k", value, 600, tags=["menus"]) == value
        assert time.monotonic() < deadline
    assert cache.get("k") == value

def gone():
    deadline = time.monotonic() + 60
    while cache.near.find(cache.made("k")):
        assert time.monotonic() < deadline

near("preloaded")                      # gunicorn --preload: the application has read before it forks
workers = []
for number in range(2):
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            assert not cache.near.find(cache.made("k"))
            assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
            near("preloaded")
            os.write(ready[1], b"!")
            os.read(go[0], 1)
            gone()
            near("changed")
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    workers.append((child, ready, go))
assert cache.near.find(cache.made("k"))  # the parent's link is its own
for _, ready, _ in workers:
    os.read(ready[0], 1)
cache.invalidate_tags(["menus"])
near("changed")
for child, _, go in workers:
    os.write(go[1], b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""


def test_workers_forked_after_the_application_has_read_have_links_of_their_own(redis_url: str, prefix: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning:__main__", "-c", FORKING,
         redis_url, prefix],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", ""), ran.stderr
