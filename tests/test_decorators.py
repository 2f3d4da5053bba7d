"""``@cached``: functions, coroutine functions and methods; what names a call, and how it is forgotten.

Guards taken away once to see these tests go red: types in the remembered names of calls, marking bound coroutine
methods, and the tenant in ``invalidate_all``.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.cache import caches
from redis import Redis

from bergizi_redis.cache import decorators
from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.decorators import cached
from bergizi_redis.exceptions import CacheKeyError, ConfigurationError, TenantRequired
from bergizi_redis.tenancy import current_tenant, use_tenant
from tests.models import Dish
from tests.moments import left_of

calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


@cached(timeout=300, tags=["menus"])
def plus(left: Any, right: Any = 1, *more: Any, scale: int = 1, **named: Any) -> Any:
    """Adds."""
    calls.append((left, right, more, scale, named))
    return [left, right, more, scale, named]


@cached(timeout=300, tags=["menus"])
async def aplus(left: Any, right: Any = 1) -> Any:
    calls.append((left, right))
    return [left, right]


@cached(timeout=300, tags=["menus"], per_tenant=True)
def of_tenant(status: str = "active") -> str:
    calls.append(status)
    return f"{current_tenant()} {status}"


@cached(timeout=300, per_tenant=True)
async def aof_tenant(status: str = "active") -> str:
    calls.append(status)
    return f"{current_tenant()} {status}"


@cached(timeout=300)
def nothing() -> None:
    calls.append(1)


@cached(timeout=300, key=lambda request, number: (request["path"], number))
def of_request(request: dict[str, Any], number: int) -> int:
    calls.append(request)
    return number


class Kitchen:
    @cached(timeout=300, key=lambda self, number: (self.name, number))
    def portions(self, number: int) -> str:
        calls.append((self.name, number))
        return f"{self.name} {number}"

    @cached(timeout=300, key=lambda self, number: (self.name, number))
    async def aportions(self, number: int) -> str:
        calls.append((self.name, number))
        return f"{self.name} {number}"

    @cached(timeout=300)
    def nameless(self) -> None: ...

    @classmethod
    @cached(timeout=300)
    def of_class(cls, number: int) -> str:
        calls.append(number)
        return f"{cls.__name__} {number}"

    @staticmethod
    @cached(timeout=300)
    def of_none(number: int) -> int:
        calls.append(number)
        return number

    def __init__(self, name: str) -> None:
        self.name = name


class OtherKitchen(Kitchen):
    pass


def test_a_function_runs_once_for_equal_arguments() -> None:
    assert plus(1) == plus(1) == [1, 1, (), 1, {}]
    assert len(calls) == 1
    assert plus(2) == [2, 1, (), 1, {}]
    assert len(calls) == 2


def test_names_positions_and_defaults_of_arguments_make_no_difference() -> None:
    acts: tuple[Callable[[], Any], ...] = (
        lambda: plus(1, 1),
        lambda: plus(1),
        lambda: plus(left=1),
        lambda: plus(right=1, left=1),
        lambda: plus(1, right=1, scale=1),
    )
    for call in acts:
        call()
    assert len(calls) == 1
    plus(1, scale=2)
    plus(1, 1, 1)
    plus(1, 1, a=1, b=2)
    plus(1, 1, b=2, a=1)
    assert len(calls) == 4


def test_types_are_told_apart() -> None:
    values = [1, "1", 1.0, True, None, b"1", [1], (1,), {1}, {"a": 1}, 0, False, "", 0.0, -0.0]
    for _ in range(2):
        for value in values:
            assert repr(plus(value)[0]) == repr(value)
            assert repr(plus(1, value)[1]) == repr(value)
            assert repr(plus(1, key=value)[4]["key"]) == repr(value)
    assert len(calls) == 3 * len(values) - 1  # plus(1) is plus(1, 1)


def test_a_coroutine_function_stays_one() -> None:
    assert iscoroutinefunction(aplus)
    assert iscoroutinefunction(Kitchen("a").aportions)
    assert not iscoroutinefunction(plus)
    assert not iscoroutinefunction(Kitchen("a").portions)

    async def run() -> None:
        assert await aplus(1) == await aplus(1, right=1) == [1, 1]
        await aplus.ainvalidate(1)
        assert await aplus(1) == [1, 1]
        await aplus.ainvalidate_all()
        assert await aplus(1) == [1, 1]

    asyncio.run(run())
    assert len(calls) == 3


def test_the_function_is_described_as_it_was() -> None:
    assert vars(plus)["__name__"] == "plus"
    assert plus.__doc__ == "Adds."
    assert inspect.signature(plus).parameters.keys() == {"left", "right", "more", "scale", "named"}
    assert plus.__wrapped__ is plus.function  # type: ignore[attr-defined]


def test_none_is_a_result() -> None:
    nothing()
    nothing()
    assert len(calls) == 1


def test_an_exception_is_not_cached() -> None:
    @cached(timeout=300)
    def fail() -> None:
        calls.append(1)
        raise ZeroDivisionError

    @cached(timeout=300)
    async def afail() -> None:
        calls.append(1)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
        with pytest.raises(ZeroDivisionError):
            asyncio.run(afail())
    assert len(calls) == 4


def test_wrong_arguments_are_the_functions_own_error() -> None:
    for act in (lambda: nothing(1), lambda: nothing.invalidate(1), lambda: plus()):  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="argument"):
            act()


def test_a_key_names_what_has_no_name() -> None:
    for _ in range(2):
        assert of_request({"path": "/a", "noise": object()}, 1) == 1
        assert of_request({"path": "/b"}, 2) == 2
    assert len(calls) == 2
    of_request.invalidate({"path": "/a"}, 1)
    of_request({"path": "/a"}, 1)
    assert len(calls) == 3


def test_methods_are_cached_for_what_their_instance_is_called() -> None:
    for _ in range(2):
        assert Kitchen("a").portions(1) == "a 1"
        assert Kitchen("b").portions(1) == "b 1"
        assert Kitchen.portions(Kitchen("a"), 1) == "a 1"
        assert asyncio.run(Kitchen("a").aportions(1)) == "a 1"
        assert Kitchen.of_class(1) == Kitchen("a").of_class(1) == "Kitchen 1"
        assert OtherKitchen.of_class(1) == "OtherKitchen 1"
        assert Kitchen.of_none(1) == Kitchen("a").of_none(1) == 1
    assert len(calls) == 6
    Kitchen("a").portions.invalidate(1)
    assert Kitchen("a").portions(1) == "a 1"
    assert len(calls) == 7


def test_an_instance_without_a_name_is_refused_with_the_remedy() -> None:
    with pytest.raises(CacheKeyError, match="key="):
        Kitchen("a").nameless()


@pytest.mark.django_db
def test_a_saved_model_has_a_name() -> None:
    soto, rawon = Dish.objects.create(name="soto"), Dish.objects.create(name="rawon")
    for _ in range(2):
        assert plus(soto)[0] == soto
        assert plus(Dish.objects.get(pk=rawon.pk))[0] == rawon
    assert len(calls) == 2
    with pytest.raises(CacheKeyError, match="save it first"):
        plus(Dish(name="gado"))


def test_per_tenant_each_tenant_has_results_of_its_own() -> None:
    for _ in range(2):
        for tenant in ("sppg-a", "sppg-b"):
            with use_tenant(tenant):
                assert of_tenant() == f"{tenant} active"
                assert asyncio.run(aof_tenant()) == f"{tenant} active"
    assert len(calls) == 4


def test_per_tenant_without_a_tenant_is_an_error() -> None:
    acts: tuple[Callable[[], Any], ...] = (
        lambda: of_tenant(),
        lambda: of_tenant.invalidate(),
        lambda: asyncio.run(aof_tenant()),
        lambda: asyncio.run(aof_tenant.ainvalidate()),
    )
    for act in acts:
        with pytest.raises(TenantRequired):
            act()
    assert not calls


def test_one_call_is_forgotten_and_few_others() -> None:
    for number in range(100):
        plus(number)
    plus.invalidate(left=42)
    calls.clear()
    for number in range(100):
        plus(number)
    assert 1 <= len(calls) <= 10
    assert (42, 1, (), 1, {}) in calls


def test_a_call_is_forgotten_in_the_tenant_in_force() -> None:
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            of_tenant()
    with use_tenant("sppg-a"):
        of_tenant.invalidate(status="active")
    calls.clear()
    for tenant in ("sppg-a", "sppg-b"):
        with use_tenant(tenant):
            of_tenant()
    assert len(calls) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_all_calls_are_forgotten_in_the_tenant_in_force_or_in_all(asynchronous: bool) -> None:
    def forget() -> None:
        asyncio.run(of_tenant.ainvalidate_all()) if asynchronous else of_tenant.invalidate_all()

    def runs() -> list[str]:
        ran = []
        for tenant in ("sppg-a", "sppg-b"):
            with use_tenant(tenant):
                before = len(calls)
                of_tenant()
                ran += [tenant] * (len(calls) - before)
        return ran

    assert runs() == ["sppg-a", "sppg-b"]
    with use_tenant("sppg-a"):
        forget()
    assert runs() == ["sppg-a"]
    forget()
    assert runs() == ["sppg-a", "sppg-b"]


def test_a_shared_function_is_forgotten_for_all_wherever_that_is_said() -> None:
    plus(1)
    with use_tenant("sppg-a"):
        plus.invalidate_all()
    plus(1)
    assert len(calls) == 2


def test_a_result_lives_as_long_as_it_was_given(raw: "Redis") -> None:
    plus(1)
    key = plus.address(1).key
    assert raw.ttl(key) == left_of(300)
    raw.pexpire(key, 0)
    plus(1)
    assert len(calls) == 2


def test_functions_of_one_name_in_several_places_are_apart() -> None:
    assert decorators.name_of(Kitchen.portions.function) != decorators.name_of(plus.function)
    one = cached(timeout=60)(lambda: 1)
    two = cached(timeout=60)(lambda: 2)
    assert (one(), two(), one(), two()) == (1, 2, 1, 2)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": -1}, {"timeout": None}, {"timeout": "5"},
                                   {"timeout": 5, "tags": "menus"}, {"timeout": 5, "tags": [1]}])  # fmt: skip
def test_what_cannot_work_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="@cached"):
        cached(**wrong)


def test_what_cannot_be_cached_is_refused_at_once() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def agenerator() -> Any:
        yield 1

    wrong: list[Any] = [generator, agenerator, classmethod(lambda cls: 1), object(), 5]
    for function in wrong:
        with pytest.raises(ConfigurationError, match="@cached"):
            cached(timeout=5)(function)


def test_what_is_remembered_of_calls_is_bounded() -> None:
    for number in range(1_100):
        plus._ident(number)
    assert len(plus._idents) <= 1_024
    plus._ident("x" * 10_000)
    assert not any("x" * 10_000 in call for call in plus._idents)


def test_results_are_counted_under_the_functions_name(cache: TaggedRedisCache) -> None:
    @cached(timeout=300)
    def counted() -> int:
        return 1

    counted()
    counted()
    row = cache.stats()["by_domain"][counted.name]
    assert (row["hits"], row["misses"], row["stores"]) == (1, 1, 1)
