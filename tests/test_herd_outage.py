"""A herd while Redis is down, hung or full of fences, and on a cluster: one at a time in each process, and no lies.

Without the versions nobody can tell what was written since a computing began, so who comes then waits and computes (or
shares) the next one. Which guards were taken away once to see these tests go red is told in ``test_herd_processes.py``.
"""

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from redis import Redis
from redis.exceptions import RedisError

from bergizi_redis import connections, keys
from bergizi_redis.budget import within
from bergizi_redis.cache import fences, leases, process, refresh
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.reading import MISSING, Found
from bergizi_redis.circuit import Circuit
from tests.herds import DEADLINE, Threads, Waiters
from tests.nearness import until
from tests.servers import Cluster, PrivateServer, server_directory
from tests.spoken import WAYS, Spoken

TENANT = "sppg-a"
BUDGET = 0.5  # seconds that a command to a silent server takes here; any other has as long as a busy machine needs


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And patience: no test waits until it ends, whatever stands still for how long."""
    monkeypatch.setattr(process, "_states", {})
    monkeypatch.setattr(refresh, "LEASE_UNKNOWN", DEADLINE)
    yield
    connections.disconnect_all()


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> Waiters:
    return Waiters(monkeypatch)


@pytest.fixture(params=WAYS)
def menus(request: pytest.FixtureRequest) -> Spoken:
    return Spoken(menu, request.param)


@pytest.fixture(params=["killed", "paused"])
def down(
    request: pytest.FixtureRequest, server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], None]]:
    menu.set(TENANT, "warm", 1)
    allowance = Circuit.allowance

    def pause() -> None:
        monkeypatch.setattr(Circuit, "allowance", lambda circuit, budget: allowance(circuit, BUDGET))
        server.pause()

    yield server.kill if request.param == "killed" else pause
    server.kill()


class Numbers:
    """The n-th call returns n; the first one when all others wait."""

    def __init__(self, waiters: Waiters, others: int) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self._lock = threading.Lock()
        self._waiters, self._others = waiters, others

    def __call__(self) -> int:
        with self._lock:
            self.calls += 1
            number = self.calls
        if number == 1:
            self.begun.set()
            self._waiters.expect(self._others)
        return number

    def among(self, act: Callable[[], Any]) -> list[Any]:
        """What one thread gets, and then what the others get, who come when it has begun to compute."""
        first = Threads(1, act)
        assert self.begun.wait(DEADLINE)
        others = Threads(self._others, act)
        return first.join().results + others.join().results


def test_of_many_readers_without_redis_one_computes_at_a_time(
    menus: Spoken, down: Callable[[], None], waiters: Waiters
) -> None:
    down()
    compute = Numbers(waiters, 19)
    assert compute.among(lambda: menus.get_or_compute(TENANT, 1, compute)) == [1] + [2] * 19
    assert compute.calls == 2


def test_redis_going_down_while_one_computes_costs_the_others_nothing(
    menus: Spoken, server: PrivateServer, waiters: Waiters
) -> None:
    compute = Numbers(waiters, 9)

    def then_down() -> int:
        number = compute()
        server.kill()
        return number

    results = Threads(10, lambda: menus.get_or_compute(TENANT, 1, then_down)).join().results
    assert results == [1] * 10


def test_redis_going_down_while_a_lease_is_waited_for_lets_the_waiter_compute(
    menus: Spoken, down: Callable[[], None], waiters: Waiters, server: PrivateServer
) -> None:
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    address = menu.lookup(TENANT, 1).address
    token = cache.look(address).token
    with server.client() as raw:
        raw.set(keys.lease(address.key), token + b"another!")
    thread = Threads(1, lambda: menus.get_or_compute(TENANT, 1, lambda: "computed"))
    waiters.expect_poll()
    down()
    assert thread.join().results == ["computed"]


def test_a_lease_that_an_outage_kept_is_no_hindrance_after_it(
    menus: Spoken, server: PrivateServer, waiters: Waiters
) -> None:
    with menu.lookup(TENANT, 1) as entry, within(BUDGET):
        server.pause()
        assert not entry.store("lost")
    server.resume()
    with server.client() as raw:
        assert raw.exists(keys.lease(entry.address.key)) or raw.exists(entry.address.key)
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    found = until(lambda: (now := cache.look(entry.address)).token and now)  # the circuit asks again after a second
    assert found.value in (MISSING, "lost")
    assert menus.get_or_compute(TENANT, 1, lambda: "computed") in ("computed", "lost")
    waiters.expect_nobody()


def test_an_alias_that_raises_leaves_nobody_waiting(
    server: PrivateServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias = {**settings.CACHES["default"], "OPTIONS": {"IGNORE_EXCEPTIONS": False}}
    settings.CACHES = {"default": alias}
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]

    take = leases.take

    def killed(*arguments: Any) -> Any:
        server.kill()
        return take(*arguments)

    monkeypatch.setattr(leases, "take", killed)
    with pytest.raises(RedisError):
        cache.get_or_set("k", lambda: "computed", 60, tags=["menus"])
    assert not cache.state.flights._boarding
    assert not cache.state.flights._under_way


def test_under_a_fence_who_comes_later_is_not_given_what_was_computed_before(menus: Spoken, waiters: Waiters) -> None:
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    menus.get(TENANT, 1)
    version_keys = menu.lookup(TENANT, 1).address.version_keys
    cache.ask(fences.put_up(version_keys, fences.new_writer(), 600.0))
    compute = Numbers(waiters, 3)
    assert compute.among(lambda: menus.get_or_compute(TENANT, 1, compute)) == [1, 2, 2, 2]
    assert menu.get(TENANT, 1) is None


def test_who_could_not_ask_while_another_computes_gets_what_that_one_has_stored(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every connection was in use, say: Redis is well, and knows the value soon."""
    go = threading.Event()
    begun = threading.Event()

    def compute() -> str:
        begun.set()
        assert go.wait(DEADLINE)
        return "computed"

    one = Threads(1, lambda: menu.get_or_compute(TENANT, 1, compute))
    assert begun.wait(DEADLINE)
    monkeypatch.setattr(TaggedRedisCache, "look", lambda cache, address: Found(MISSING, b""))
    others = Threads(5, lambda: menu.get_or_compute(TENANT, 1, lambda: pytest.fail("computed too")))
    waiters.expect(5)
    go.set()
    assert [*one.join().results, *others.join().results] == ["computed"] * 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with server_directory() as directory:
        running = Cluster(directory)
        try:
            yield running.start()
        finally:
            connections.disconnect_all()
            running.kill()


@pytest.mark.parametrize("way", WAYS)
def test_on_a_cluster_a_lease_lies_in_the_slot_of_its_entry(
    way: str, cluster: Cluster, settings: Any, waiters: Waiters
) -> None:
    aliases = copy.deepcopy(settings.CACHES)
    aliases["default"]["LOCATION"] = cluster.url
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "REQUEST_BUDGET": 60.0, "COMMAND_TIMEOUT": 60.0}  # 20 a node
    settings.CACHES = aliases
    cache: TaggedRedisCache = caches["default"]  # type: ignore[assignment]
    raw: Redis = cache.client.get_client()
    spoken = Spoken(cache, way)
    for key in ("k", "{a}b", "a}b", "{}"):
        cache.invalidate_tags(["menus"])
        with cache.lookup(key, tags=["menus"]) as entry:
            lease = keys.lease(entry.address.key)
            has_lease = key in ("k", "{a}b")  # no name of a lease goes to the slot of the others
            assert bool(raw.exists(lease)) is has_lease
            assert entry.store("computed", 60)
        assert not raw.exists(lease)
        assert spoken.get_or_set(key, lambda: pytest.fail("computed"), 60, tags=["menus"]) == "computed"
    compute = Numbers(waiters, 2)
    assert Threads(3, lambda: Spoken(menu, way).get_or_compute(TENANT, 1, compute)).join().results == [1] * 3
