"""What stands in Redis: untagged entries byte for byte as django-redis writes them, tagged ones behind an envelope.

Guards taken away once to see these tests go red: the magic in front of an untagged payload that begins with it, the
length check of the names, and the format's number.
"""

import datetime
import decimal
import uuid
from typing import Any

import pytest
from django.core.cache import caches
from django_redis.cache import RedisCache
from django_redis.serializers.pickle import PickleSerializer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis import Redis

from bergizi_redis.cache.backend import TaggedRedisCache
from bergizi_redis.cache.domains import menu
from bergizi_redis.cache.envelope import FORMAT, MAGIC, SEPARATOR, Envelope, digest_of, is_enveloped, unpack
from tests.moments import left_of

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**63 - 1, 2**63, -(2**200), 0.0, -0.0, 1.5, float("inf"), "", "text", "12", "ß🍛",
    b"", b"\xc1", b"12", b"\xc1\x01", [], [1, "1", None], (1, 2), {"a": {"b": [1]}}, {1, 2}, decimal.Decimal("1.0"),
    datetime.datetime(2025, 1, 31, 8, tzinfo=datetime.UTC), datetime.date(2025, 1, 31), uuid.UUID(int=7), "x" * 10_000,
    list(range(5_000)),
]  # fmt: skip
JSON_VALUES: list[Any] = [None, True, 0, 7, 1.5, "", "12", "ß🍛", [], [1, "1", None], {"a": {"b": [1]}}, "x" * 10_000]
SERIALIZERS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "pickle": ({}, VALUES),
    "pickle, zlib": ({"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}, VALUES),
    "pickle, lzma": ({"COMPRESSOR": "django_redis.compressors.lzma.LzmaCompressor"}, VALUES),
    "pickle 2": ({"PICKLE_VERSION": 2}, VALUES),
    "json": ({"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}, JSON_VALUES),
    "json, gzip": (
        {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "COMPRESSOR": "django_redis.compressors.gzip.GzipCompressor",
        },
        JSON_VALUES,
    ),
}


class MagicalSerializer(PickleSerializer):  # type: ignore[misc]
    """Its payloads begin with the byte that marks an envelope, and one looks like an envelope of ours altogether."""

    def dumps(self, value: Any) -> bytes:
        return Envelope(super().dumps(value), names=("menus",)).pack()

    def loads(self, value: bytes) -> Any:
        envelope = unpack(value)
        assert envelope is not None
        return super().loads(envelope.payload)


@pytest.fixture
def cache() -> TaggedRedisCache:
    return caches["default"]  # type: ignore[return-value]


def pair(redis_url: str, prefix: str, options: dict[str, Any]) -> tuple[TaggedRedisCache, Any]:
    params = {"KEY_PREFIX": prefix, "OPTIONS": options}
    return TaggedRedisCache(redis_url, params), RedisCache(redis_url, params)


def same(left: Any, right: Any) -> bool:
    return repr(left) == repr(right)


@pytest.mark.parametrize("name", SERIALIZERS)
def test_untagged_entries_are_the_bytes_of_django_redis(name: str, redis_url: str, prefix: str, raw: "Redis") -> None:
    options, values = SERIALIZERS[name]
    ours, theirs = pair(redis_url, prefix, options)
    for value in values:
        if isinstance(value, float) and "gzip" in name:
            continue
        ours.set("ours", value)
        theirs.set("theirs", value)
        mine, other = raw.get(f"{prefix}:1:ours"), raw.get(f"{prefix}:1:theirs")
        assert mine is not None
        if "gzip" not in name:  # gzip writes the time of day into its header
            assert mine == other
        assert same(theirs.get("ours"), value)
        assert same(ours.get("theirs"), value)
        assert same(ours.get_many(["theirs"]), {"theirs": value})


@pytest.mark.parametrize("name", SERIALIZERS)
def test_tagged_values_come_back_as_they_were(name: str, redis_url: str, prefix: str) -> None:
    options, values = SERIALIZERS[name]
    ours, _ = pair(redis_url, prefix, options)
    for value in values:
        ours.set("k", value, tags=["menus"])
        assert same(ours.get("k"), value)
        ours.state.hints.clear()
        assert same(ours.get_many(["k"])["k"], value)


def test_other_methods_write_the_bytes_of_django_redis_too(redis_url: str, prefix: str, raw: "Redis") -> None:
    ours, theirs = pair(redis_url, prefix, {})
    for backend, name in ((ours, "ours"), (theirs, "theirs")):
        backend.add(f"{name}-add", [1])
        backend.set_many({f"{name}-many": [1]})
        backend.set(f"{name}-nx", [1], nx=True)
        backend.get_or_set(f"{name}-or", lambda: [1])
        backend.set(f"{name}-n", 1)
        backend.incr(f"{name}-n")
    for suffix in ("add", "many", "nx", "or", "n"):
        assert raw.get(f"{prefix}:1:ours-{suffix}") == raw.get(f"{prefix}:1:theirs-{suffix}")
    assert [raw.ttl(f"{prefix}:1:{name}-many") for name in ("ours", "theirs")] == [left_of(300), left_of(300)]


def test_an_untagged_payload_that_begins_with_the_magic_byte_is_marked(
    redis_url: str, prefix: str, raw: "Redis"
) -> None:
    ours, _ = pair(redis_url, prefix, {"SERIALIZER": "tests.test_cache_bytes.MagicalSerializer"})
    ours.set("k", "value", 60)
    data = raw.get(f"{prefix}:1:k")
    assert isinstance(data, bytes)
    assert is_enveloped(data)
    opened = unpack(data)
    assert opened is not None
    assert opened.untagged
    assert ours.get("k") == "value"
    ours.invalidate_tags(["menus"])
    assert ours.get("k") == "value"
    assert ours.get_many(["k"]) == {"k": "value"}
    ours.set("k", "tagged", 60, tags=["menus"])
    assert ours.get("k") == "tagged"


@pytest.mark.parametrize(
    "data", [b"\xc1", b"\xc1\x01", b"\xc1\x02" + bytes(60), b"\xc1foreign", b"\xc1\x01\x01" + bytes(26) + b"\xff\xff"]
)
def test_bytes_that_are_no_envelope_of_ours_are_a_miss(
    cache: TaggedRedisCache, data: bytes, raw: "Redis", prefix: str
) -> None:
    raw.set(f"{prefix}:1:k", data)
    assert cache.get("k", "missing") == "missing"
    assert cache.get_many(["k"]) == {}
    assert cache.add("k", "new")
    assert cache.get("k") == "new"


def test_a_tagged_value_that_this_code_cannot_read_is_a_miss_and_is_computed_anew(
    cache: TaggedRedisCache, raw: "Redis", prefix: str
) -> None:
    """A class that was renamed between two deployments must not be an error 500 until its entries have run out."""
    cache.set("k", "value", tags=["menus"])
    data = raw.get(f"{prefix}:1:k")
    assert isinstance(data, bytes)
    raw.set(f"{prefix}:1:k", data.replace(cache.client.encode("value"), b"cgone.module\nName\n."))
    assert cache.get("k") is None
    assert cache.get_or_set("k", lambda: "anew", tags=["menus"]) == "anew"
    assert cache.get("k") == "anew"


def test_an_entry_with_three_tags_costs_at_most_thirty_bytes_more(
    cache: TaggedRedisCache, raw: "Redis", prefix: str
) -> None:
    value = {"dish": "soto", "kcal": 312}
    payload = len(cache.client.encode(value))
    menu.set("sppg-a", 1, value)  # tags: the domain, one for this entry, and those of tenant and epoch
    (key,) = (key for key in raw.scan_iter(match=f"{prefix}:cache:*:menu:1"))
    assert raw.strlen(key) - payload == 29
    cache.set("k", value, tags=["a", "b", "c"])
    assert raw.strlen(f"{prefix}:1:k") - payload == 29 + 2 + len("a b c")


def test_three_implied_tags_take_the_memory_of_their_29_bytes(raw: "Redis", prefix: str) -> None:
    """The allocator rounds up to its next size, an eighth more on average: one entry takes none or 16 to 128 more."""
    lengths = range(64, 1024, 3)
    with raw.pipeline(transaction=False) as pipeline:
        for data in (bytes(length) for length in lengths):
            for written in (data, Envelope(data).pack()):
                pipeline.set(f"{prefix}:k", written, px=60_000)
                pipeline.memory_usage(f"{prefix}:k")
        usages = pipeline.execute()[1::2]
    more = sum(usages[1::2]) - sum(usages[::2])
    assert more / len(lengths) <= 29 * 9 / 8 + 8  # and, from 256 bytes, longer string headers


names = st.text(min_size=1).filter(lambda name: SEPARATOR not in name)
envelopes = st.builds(
    Envelope,
    payload=st.binary(),
    digest=st.binary(min_size=16, max_size=16),
    names=st.none() | st.lists(names, max_size=8).map(tuple),
    created=st.integers(0, 2**32 - 1),
    cost=st.integers(0, 0xFFFF),
    soft=st.integers(0, 2**32 - 1),
    untagged=st.booleans(),
)


@given(envelopes)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_envelope_comes_back_whole(envelope: Envelope) -> None:
    assert unpack(envelope.pack()) == envelope


@given(envelopes, st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_head_cut_short_is_refused(envelope: Envelope, data: st.DataObject) -> None:
    whole = envelope.pack()
    head = len(whole) - len(envelope.payload)
    assert unpack(whole[: data.draw(st.integers(0, head - 1))]) is None


@given(st.binary())
@example(bytes([MAGIC, FORMAT, 1]) + bytes(26) + b"\x00\x01\xff")
@example(bytes([MAGIC, FORMAT, 1]) + bytes(26) + b"\xff\xff")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_foreign_bytes_never_raise(data: bytes) -> None:
    assert unpack(data) is None or data[0] == MAGIC
    unpack(bytes([MAGIC, FORMAT]) + data)
    assert unpack(bytes([MAGIC, FORMAT + 1]) + data) is None


def test_what_computing_cost_is_cut_to_what_its_field_holds() -> None:
    envelope = unpack(Envelope(b"", cost=10**9).pack())
    assert envelope is not None
    assert envelope.cost == 0xFFFF


@given(st.lists(st.text(), min_size=2, max_size=4, unique=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_digest_tells_names_and_versions_apart(keys: list[str]) -> None:
    versions = [bytes([number]) * 8 for number in range(len(keys))]
    digest = digest_of(tuple(keys), versions)
    assert digest is not None
    assert digest != digest_of(tuple(reversed(keys)), versions)
    assert digest != digest_of(tuple(keys), versions[::-1])
    assert digest_of(tuple(keys), [*versions[1:], None]) is None
