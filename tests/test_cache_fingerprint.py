"""Names of calls: distinct values have distinct ones, equal values of one type the same, in every process."""

import datetime
import decimal
import enum
import subprocess
import sys
import uuid
from collections import OrderedDict, namedtuple
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from django.http import QueryDict
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis.cache.fingerprint import fingerprint
from bergizi_redis.exceptions import CacheKeyError
from tests.models import Dish, Special


class Colour(enum.Enum):
    RED = 1
    GREEN = "1"


class Shade(enum.Enum):
    RED = 1


class Status(enum.StrEnum):
    ACTIVE = "active"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


Pair = namedtuple("Pair", "x y")
JAKARTA = ZoneInfo("Asia/Jakarta")
NOON = datetime.datetime(2025, 1, 31, 12, tzinfo=JAKARTA)

DISTINCT: list[Any] = [
    1, "1", 1.0, True, None, b"1", 1j, 0, "", 0.0, -0.0, False, b"", [], (), {}, set(), "None", "True", -1, 2**70,
    10**5000,
    [1], [[1]], [1, [2]], [[1], 2], [1, 2], [2, 1], (1, 2), ["1", 2], [1, "2"], {1, 2}, {1: 2}, {2: 1}, {"1": 2},
    {1: "2"},
    {(1, 2)}, {frozenset({1, 2})}, [{1: 2}], [(1, 2)], [None, []], [[], None],
    Colour.RED, Colour.GREEN, Shade.RED, Status.ACTIVE, "active", Right.READ, Right.READ | Right.WRITE, Right(0),
    decimal.Decimal("1.0"), decimal.Decimal(1), decimal.Decimal("NaN"), float("nan"), float("inf"),
    datetime.date(2025, 1, 31), NOON, NOON.replace(tzinfo=None),
    NOON.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=7))), NOON.replace(fold=1),
    NOON.timetz(), NOON.time(),
    datetime.timedelta(1), datetime.timedelta(0, 1), JAKARTA, uuid.UUID(int=1), str(uuid.UUID(int=1)),
    Point(1, 2), Pair(1, 2), int, str, Colour, Dish, "a\x00b", "\ud800", "int 1", "str '1'",
]  # fmt: skip


def test_values_that_differ_have_names_that_differ() -> None:
    names = [fingerprint(value) for value in DISTINCT]
    twins = [(left, right) for number, left in enumerate(DISTINCT) for right in DISTINCT[:number]
             if fingerprint(left) == fingerprint(right)]  # fmt: skip
    assert not twins
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2, 3}, {3, 2, 1}),
        ({1, 2}, frozenset({1, 2})),
        ([{"a": {"x", "y"}}], [{"a": {"y", "x"}}]),
        (decimal.Decimal("1.0"), decimal.Decimal("1.0")),
        (NOON, datetime.datetime(2025, 1, 31, 12, tzinfo=ZoneInfo("Asia/Jakarta"))),
        (uuid.UUID(int=1), uuid.UUID("00000000-0000-0000-0000-000000000001")),
    ],
)
def test_equal_values_share_a_name(left: Any, right: Any) -> None:
    assert fingerprint(left) == fingerprint(right)


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
keyable = st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
values = st.recursive(
    plain | st.dates() | st.decimals(allow_nan=False) | st.uuids(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keyable, inner, max_size=4)
        | st.sets(keyable, max_size=4)
    ),
    max_leaves=12,
)


def exact(value: Any) -> Any:
    """The value with its types, so that Python's ``==`` tells 1 from 1.0 and from True."""
    if isinstance(value, dict):
        return (dict, frozenset((exact(key), exact(item)) for key, item in value.items()))
    if isinstance(value, set | frozenset):
        return (set, frozenset(map(exact, value)))
    if isinstance(value, list | tuple):
        return (type(value), tuple(map(exact, value)))
    return (type(value), repr(value))


@given(values, values)
def test_names_are_equal_exactly_where_values_are(left: Any, right: Any) -> None:
    assert (fingerprint(left) == fingerprint(right)) is (exact(left) == exact(right))


@given(st.dictionaries(keyable, values, max_size=5), st.randoms())
def test_the_order_of_a_dict_says_nothing(value: dict[Any, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert fingerprint(dict(items)) == fingerprint(value)


@pytest.mark.django_db
def test_a_saved_model_is_its_class_its_key_and_its_database() -> None:
    soto, rawon = Dish.objects.create(name="soto"), Dish.objects.create(name="rawon")
    assert fingerprint(soto) == fingerprint(Dish.objects.only("pk").get(pk=soto.pk))
    others: list[Any] = [rawon, Special.objects.get(pk=soto.pk), Dish.objects.get(pk=soto.pk), soto.pk]
    others[2]._state.db = "other"
    assert len({fingerprint(value) for value in [soto, *others]}) == 5


def test_an_unsaved_model_has_no_name() -> None:
    with pytest.raises(CacheKeyError, match="unsaved Dish"):
        fingerprint([Dish(name="soto")])


class Nameless(datetime.tzinfo):
    """Prints as an address in memory."""

    def utcoffset(self, when: Any) -> datetime.timedelta:
        return datetime.timedelta(0)

    def dst(self, when: Any) -> None: ...

    def tzname(self, when: Any) -> str:
        return "nameless"


@pytest.mark.parametrize(
    "value",
    [
        object(), lambda: 1, QueryDict("a=1&a=2"), OrderedDict(a=1), mark_safe("x"), gettext_lazy("x"), iter([]),
        range(3), NotImplemented, NOON.replace(tzinfo=Nameless()), Nameless(), type("Text", (str,), {})("x"),
    ],
)  # fmt: skip
def test_what_has_no_stable_name_is_refused_with_the_remedy(value: Any) -> None:
    """A ``QueryDict`` looks like a dict and shows the last of several values only: a=1&a=2 would be a=2."""
    for wrapped in (value, [value], {"k": value}, (1, (value,))):
        with pytest.raises(CacheKeyError, match="key="):
            fingerprint(wrapped)


def test_a_name_is_the_same_in_another_process() -> None:
    """``hash()`` would not be: it is seeded anew for each."""
    code = (
        "import django; from django.conf import settings; settings.configure(); django.setup();"
        "from bergizi_redis.cache.fingerprint import fingerprint; print(fingerprint({'a': {'x', 'y'}, 'b': [1, None]}))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    ).stdout
    assert printed.strip() == fingerprint({"b": [1, None], "a": {"y", "x"}})
