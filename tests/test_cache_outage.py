"""Redis down: reads are misses within the budget, what could not be voided is owed, and nothing has to be restarted.

Guards taken away once to see these tests go red: owing at all, settling before a read and before a write, marks of
their own for debts (the deletion that fails while an older one is settled), UNLINK where a full server refuses a bump,
the bounds of what is owed, and the throttle of the log.
"""

import asyncio
import copy
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from redis.exceptions import ConnectionError, ResponseError

from bergizi_redis import connections
from bergizi_redis.budget import within
from bergizi_redis.cache import process, unsent
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.unsent import Unsent
from bergizi_redis.exceptions import RedisUnavailable
from tests.deadlines import ends_within
from tests.servers import PrivateServer, private_server, server_directory
from tests.spoken import WAYS, Spoken

Act = Callable[[Spoken], Any]


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What one test owes to its server is not owed to another's that gets the same port."""
    monkeypatch.setattr(process, "_states", {})
    yield
    connections.disconnect_all()


@pytest.fixture
def cache(server: PrivateServer) -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@pytest.fixture(params=WAYS)
def spoken(cache: TaggedRedisCache, request: pytest.FixtureRequest) -> Spoken:
    return Spoken(cache, request.param)


Budget = Callable[[float], TaggedRedisCache]


@pytest.fixture
def budget(settings: Any) -> Budget:
    """Give commands so many seconds from now on: a healthy server the suite's 20, a silent one the 0.8 of users."""

    def give(seconds: float) -> TaggedRedisCache:
        settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": seconds}
        cache: Any = caches["default"]
        cache.client.do_close_clients()
        return cache  # type: ignore[no-any-return]

    return give


@pytest.fixture(params=["killed", "paused"])
def down(request: pytest.FixtureRequest, server: PrivateServer, budget: Budget) -> Iterator[Callable[[], None]]:
    def pause() -> None:
        budget(0.8).get("x")  # so that there is a connection; no matter whether it was answered in time
        server.pause()

    yield server.kill if request.param == "killed" else pause
    server.kill()


@pytest.fixture
def lasting(settings: Any) -> Iterator[PrivateServer]:
    """A server that writes everything to its disk at once, so that it comes back with what it had."""
    with server_directory() as directory:
        running = PrivateServer("--appendonly", "yes", "--appendfsync", "always", directory=directory).start()
        caches_setting = copy.deepcopy(settings.CACHES)
        caches_setting["default"]["LOCATION"] = running.url
        settings.CACHES = caches_setting
        try:
            yield running
        finally:
            running.kill()


def with_options(settings: Any, url: str, **options: Any) -> TaggedRedisCache:
    alias = {**settings.CACHES["default"], "LOCATION": url, "OPTIONS": options}
    settings.CACHES = {"default": alias}
    return caches["default"]  # type: ignore[return-value]


READS: dict[str, tuple[Act, Any]] = {
    "get": (lambda cache: cache.get("k", "default"), "default"),
    "get tagged": (lambda cache: cache.get("t", "default"), "default"),
    "get_many": (lambda cache: cache.get_many(["k", "t"]), {}),
    "has_key": (lambda cache: cache.has_key("k"), False),
    "set": (lambda cache: cache.set("k", "new"), False),
    "set tagged": (lambda cache: cache.set("k", "new", tags=["menus"]), False),
    "add": (lambda cache: cache.add("a", "new"), False),
    "set_many": (lambda cache: cache.set_many({"a": 1, "b": 2}), ["a", "b"]),
    "delete": (lambda cache: cache.delete("k"), False),
    "delete_many": (lambda cache: cache.delete_many(["k"]), 0),
    "touch": (lambda cache: cache.touch("k", 5), False),
    "get_or_set": (lambda cache: cache.get_or_set("k", lambda: "computed"), "computed"),
    "get_or_set tagged": (lambda cache: cache.get_or_set("k", lambda: "computed", tags=["menus"]), "computed"),
    "invalidate_tags": (lambda cache: cache.invalidate_tags(["menus"]), None),
    "invalidate_all": (lambda cache: cache.invalidate_all(), None),
}


@pytest.mark.parametrize("act", READS)
def test_each_method_answers_within_the_budget(
    spoken: Spoken, cache: TaggedRedisCache, down: Callable[[], None], act: str
) -> None:
    cache.set("k", "old")
    cache.set("t", "old", tags=["menus"])
    call, answer = READS[act]
    down()
    # django-redis's get_or_set is a get, an add and a get again: three waits where the server hangs
    with ends_within(1.2 * (3 if act == "get_or_set" else 1)):
        assert call(spoken) == answer


@pytest.mark.parametrize("act", [lambda cache: cache.incr("k"), lambda cache: cache.incr_version("k"),
                                 lambda cache: cache.clear()])  # fmt: skip
def test_what_has_no_honest_answer_raises_within_the_budget(spoken: Spoken, down: Callable[[], None], act: Act) -> None:
    down()
    with ends_within(), pytest.raises(RedisUnavailable):
        act(spoken)


def test_domains_and_functions_compute_and_go_on(spoken: Spoken, server: PrivateServer) -> None:
    calls = []

    @cached(timeout=60)
    def answer() -> int:
        calls.append(1)
        return len(calls)

    domain = Spoken(menu, spoken._way)
    server.kill()
    assert [answer(), answer()] == [1, 2]
    assert domain.get("sppg-a", 1, "none") == "none"
    assert domain.set("sppg-a", 1, "x") is False
    assert domain.get_or_compute("sppg-a", 1, lambda: "computed") == "computed"
    domain.invalidate("sppg-a")
    server.start()
    assert [answer(), answer()] == [3, 3]
    assert domain.get("sppg-a", 1) is None
    assert domain.set("sppg-a", 1, "x")
    assert domain.get("sppg-a", 1) == "x"


OWED: dict[str, tuple[Callable[[TaggedRedisCache], Any], Act]] = {
    "a deletion": (lambda cache: cache.set("k", "old", 600), lambda cache: cache.delete("k")),
    "many deletions": (lambda cache: cache.set("k", "old", 600), lambda cache: cache.delete_many(["k", "x"])),
    "a store": (lambda cache: cache.set("k", "old", 600), lambda cache: cache.set("k", "new", 600)),
    "many stores": (lambda cache: cache.set("k", "old", 600), lambda cache: cache.set_many({"k": "new", "x": 1})),
    "a touch that ends it": (lambda cache: cache.set("k", "old", 600), lambda cache: cache.touch("k", 0)),
    "an invalidation": (
        lambda cache: cache.set("k", "old", 600, tags=["menus"]), lambda cache: cache.invalidate_tags(["menus"])
    ),
    "an invalidation of everything": (
        lambda cache: cache.set("k", "old", 600, tags=["menus"]), lambda cache: cache.invalidate_all()
    ),
}  # fmt: skip


@pytest.mark.parametrize("owed", OWED)
@pytest.mark.parametrize("outage", ["kill", "pause"])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_voided_in_an_outage_is_never_served_after_it(
    lasting: PrivateServer, owed: str, outage: str, way: str, budget: Budget
) -> None:
    """The server comes back with the old value on its disk: by no way of reading may it be seen."""
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    prepare, void = OWED[owed]
    prepare(cache)
    assert cache.get("k") == "old"
    if outage == "pause":
        budget(0.8).get("x")
    getattr(lasting, outage)()
    void(Spoken(cache, way))
    assert cache.get("k") is None
    lasting.start() if outage == "kill" else lasting.resume()
    if outage == "pause":
        budget(20.0)
    for other in WAYS:
        assert Spoken(cache, other).get("k") is None
        assert Spoken(cache, other).get_many(["k"]) == {}
    with lasting.client() as raw:
        untagged = "store" in owed or "deletion" in owed or "touch" in owed
        assert raw.exists(cache.made("k")) == (0 if untagged else 1)  # gone for other processes too
    assert not cache.state.unsent


@pytest.mark.parametrize("first", [lambda cache: cache.set("other", 1), lambda cache: cache.add("other", 1),
                                   lambda cache: cache.set_many({"other": 1}), lambda cache: cache.delete("other"),
                                   lambda cache: cache.get_many(["other"]), lambda cache: cache.invalidate_tags(["x"]),
                                   lambda cache: cache.touch("other", 5)])  # fmt: skip
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_asked_first_settles_what_is_owed(lasting: PrivateServer, way: str, first: Act) -> None:
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set("k", "old", tags=["menus"])
    lasting.kill()
    cache.invalidate_tags(["menus"])
    lasting.start()
    first(Spoken(cache, way))
    assert not cache.state.unsent
    cache.state.hints.clear()
    assert cache.get("k") is None


def test_what_was_computed_before_an_outage_is_not_stored_over_an_invalidation_in_it(lasting: PrivateServer) -> None:
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    with cache.lookup("k", tags=["menus"]) as entry:
        lasting.kill()
        cache.invalidate_tags(["menus"])
        lasting.start()
        entry.store("old")
    assert cache.get("k") is None


def test_a_lookup_in_an_outage_stores_nothing_even_if_the_server_is_back_by_then(lasting: PrivateServer) -> None:
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    lasting.kill()
    with cache.lookup("k", tags=["menus"]) as entry:
        lasting.start()
        assert entry.store("value") is False
    assert entry.value == "value"
    assert cache.get("k") is None


def test_a_server_that_is_full_and_may_not_evict_still_forgets(cache: TaggedRedisCache, server: PrivateServer) -> None:
    """It refuses to write new versions; other processes must not be served the old entry all the same."""
    cache.set("k", "old", 600, tags=["menus"])
    with server.client() as raw:
        raw.config_set("maxmemory", 1)
        assert cache.set("other", "x") is False
        cache.invalidate_tags(["menus"])
        assert not cache.state.unsent._versions
        assert cache.get("k") is None
        raw.config_set("maxmemory", 0)
    cache.state.hints.clear()
    assert cache.get("k") is None
    assert cache.set("k", "new", tags=["menus"])
    assert cache.get("k") == "new"


def test_a_strict_alias_raises_and_owes_nonetheless(lasting: PrivateServer, settings: Any) -> None:
    cache = with_options(settings, lasting.url, IGNORE_EXCEPTIONS=False)
    cache.set("k", "old")
    lasting.kill()
    acts: tuple[Callable[[], Any], ...] = (
        lambda: cache.get("k"),
        lambda: cache.delete("k"),
        lambda: cache.invalidate_tags(["menus"]),
        lambda: asyncio.run(cache.aget("k")),
        lambda: cache.clear(),
    )
    for act in acts:
        with pytest.raises(ConnectionError):
            act()
    lasting.start()
    assert cache.get("k") is None


def test_the_log_tells_once_what_is_wrong_and_no_secret(
    settings: Any, server: PrivateServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOG_EVERY", 3600.0)
    server.kill()
    url = f"redis://chef:s3cret@127.0.0.1:{server.port}/0"
    cache = with_options(settings, url)
    cache.state.logged = float("-inf")
    with caplog.at_level(logging.WARNING, "bergizi_redis.cache"):
        for _ in range(20):
            cache.get("k")
            cache.set("k", "value")
        asyncio.run(cache.aget("k"))
    (record,) = [record for record in caplog.records if record.name == "bergizi_redis.cache"]
    assert record.__dict__["action"] == "cache_unavailable"
    assert "s3cret" not in caplog.text
    assert cache.stats()["errors"] == 41


def test_a_full_pool_is_a_miss_and_no_error(settings: Any, server: PrivateServer) -> None:
    cache = with_options(settings, server.url, CONNECTION_POOL_KWARGS={"max_connections": 1})
    cache.set("k", "value")
    held = cache.client.get_client().connection_pool.get_connection()
    try:
        with within(0.1):
            assert cache.get("k", "default") == "default"
        with within(0.1):
            assert cache.set("k", "other") is False
    finally:
        cache.client.get_client().connection_pool.release(held)
    assert cache.get("k") is None  # the store that failed is owed as a deletion


def test_a_wrong_type_under_the_key_is_no_outage(cache: TaggedRedisCache) -> None:
    cache.sadd("k", 1)
    with pytest.raises(Exception, match="WRONGTYPE"):
        cache.get("k")
    with pytest.raises(Exception, match="WRONGTYPE"):
        cache.incr("k")
    assert cache.stats()["errors"] == 0


def test_the_command_says_that_nothing_was_invalidated(server: PrivateServer, settings: Any) -> None:
    server.kill()
    with pytest.raises(CommandError, match="nothing was invalidated"):
        call_command("redis_invalidate", "menus")
    with_options(settings, server.url, IGNORE_EXCEPTIONS=False)
    with pytest.raises(CommandError, match="redis_health"):
        call_command("redis_invalidate", "menus")


# What is owed


def test_what_is_owed_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(unsent, "MOST_VERSIONS", 10)
    monkeypatch.setattr(unsent, "MOST_KEYS", 10)
    debts = Unsent()
    for number in range(100):
        debts.add([f"k{number}"], [f"v{number}"], "epoch")
    assert len(debts) <= 21
    deleted, bumped = debts.owed()
    assert "epoch" in bumped
    with caplog.at_level(logging.ERROR, "bergizi_redis.cache"):
        debts.settled(deleted, bumped)
    assert not debts
    assert "90 deletions" in caplog.text


def test_a_long_outage_of_deletions_stays_small_and_the_epoch_stands_for_all_bumps(
    lasting: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsent, "MOST_VERSIONS", 10)
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set("k", "old", tags=["menu:3"])
    menu.set("sppg-a", 1, "old")
    lasting.kill()
    for number in range(40):
        cache.invalidate_tags([f"menu:{number}"])
    menu.invalidate("sppg-a")
    assert len(cache.state.unsent) <= 11
    lasting.start()
    assert cache.get("k") is None
    assert menu.get("sppg-a", 1) is None


def test_a_debt_that_is_made_while_an_older_one_is_settled_stays_owed() -> None:
    debts = Unsent()
    debts.add(["k"], ["v"], "epoch")
    sent = debts.owed()
    debts.add(["k"], ["v"], "epoch")  # another thread's deletion has failed meanwhile
    debts.settled(*sent)
    assert debts
    debts.settled(*debts.owed())
    assert not debts


def test_threads_that_come_back_together_settle_and_serve(lasting: PrivateServer) -> None:
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    cache.set_many({f"k{number}": "old" for number in range(200)}, 600, tags=["menus"])
    lasting.kill()
    cache.invalidate_tags(["menus"])
    cache.delete_many([f"k{number}" for number in range(100)])
    lasting.start()
    seen: list[Any] = []
    together = threading.Barrier(8)

    def read() -> None:
        together.wait(60)
        seen.extend(caches["default"].get_many([f"k{number}" for number in range(200)]).values())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == []
    assert not cache.state.unsent


def test_a_server_that_dies_while_debts_are_settled_leaves_them_owed() -> None:
    with private_server() as server:
        cache = TaggedRedisCache(server.url, {"KEY_PREFIX": "p"})
        cache.set("k", "old")
        server.kill()
        cache.delete("k")
        cache.get("x")
        assert len(cache.state.unsent) == 1
        server.start()
        cache.get("x")
        assert not cache.state.unsent


def test_a_server_that_wants_replicas_and_has_none_is_down_for_the_cache(settings: Any) -> None:
    """NOREPLICAS, and MISCONF after a failed save, are replies of a server that is up and serves nobody."""
    with private_server("--min-replicas-to-write", "1") as lonely:
        settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": lonely.url}}
        cache: Any = caches["default"]
        assert cache.set("k", "value") is False
        assert cache.get("k", "default") == "default"
        with pytest.raises(ResponseError, match="NOREPLICAS") as told:
            connections.client().set("k", "value")
    assert connections.is_outage(told.value)
    assert "refuses writes" in connections.explain(told.value)
