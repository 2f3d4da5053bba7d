"""Fields of a session: what goes in comes out, names never collide, and a damaged value harms only itself."""

import importlib.util
import json
import logging
import math
from typing import Any

import pytest
from django.core.signing import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis.sessions.encoding import Codec, OrjsonSerializer, SessionTooLarge, field_of, is_meta, key_of

PLAIN = Codec(JSONSerializer)
# Listpack entries hold up to 64 bytes (hash-max-listpack-value); beyond, the whole hash becomes a table.
LISTPACK_VALUE = 64

texts = st.text(st.characters(), max_size=40)
utf8_texts = st.text(max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


class XorSerializer:
    """Stands for an encrypting serializer: other bytes each time, for one value."""

    calls = 0

    def dumps(self, obj: Any) -> bytes:
        type(self).calls = self.calls % 250 + 1  # never 0, which would change no byte
        return bytes([self.calls]) + bytes(byte ^ self.calls for byte in json.dumps(obj).encode())

    def loads(self, data: bytes) -> Any:
        return json.loads(bytes(byte ^ data[0] for byte in data[1:]))


@given(st.dictionaries(texts, json_values, max_size=6))
def test_what_goes_in_comes_out_as_djangos_json_would_give_it(data: dict[str, Any]) -> None:
    expected = JSONSerializer().loads(JSONSerializer().dumps(data))
    assert PLAIN.decode(PLAIN.encode(data, {}), "sid") == expected


@given(st.dictionaries(texts, json_values, max_size=6))
def test_encoding_what_was_decoded_gives_the_same_bytes(data: dict[str, Any]) -> None:
    fields = PLAIN.encode(data, {})
    assert PLAIN.encode(PLAIN.decode(fields, "sid"), fields) == fields


@given(st.text(st.characters(codec=None)))
def test_a_session_key_never_takes_the_name_of_a_meta_field(key: str) -> None:
    assert not is_meta(field_of(key))
    assert key_of(field_of(key)) == key


@pytest.mark.parametrize("key", ["{a}", "nul\0", "@uid", "@@v", "", "k" * 4096, "é\ud800"])
def test_odd_keys_are_kept(key: str) -> None:
    assert PLAIN.decode(PLAIN.encode({key: [1]}, {}), "sid") == {key: [1]}


@pytest.mark.parametrize(("key", "name"), [(1, b"1"), (None, b"null"), (True, b"true"), (1.5, b"1.5")])
def test_a_key_that_is_no_string_becomes_one_as_json_makes_it(key: Any, name: bytes) -> None:
    assert field_of(key) == name


def test_a_key_that_json_cannot_write_is_named_in_the_error() -> None:
    with pytest.raises(TypeError, match=r"\(1, 2\) cannot be a key"):
        PLAIN.encode({(1, 2): "x"}, {})


def test_a_value_that_json_cannot_write_is_an_error_as_in_django() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        PLAIN.encode({"x": object()}, {})


def test_strings_cost_no_byte_so_that_the_log_in_stays_a_listpack() -> None:
    digest = "0" * 64  # _auth_user_hash
    assert len(PLAIN.encode_value(digest)) == LISTPACK_VALUE


@pytest.mark.parametrize("value", ["\ud800", ":", "!", ":1", "!x", "", "\0", "{", "\U0001f35a"])
def test_odd_strings_are_kept(value: str) -> None:
    assert PLAIN.decode_value(PLAIN.encode_value(value)) == value


def test_nan_survives_as_in_djangos_json() -> None:
    assert math.isnan(PLAIN.decode_value(PLAIN.encode_value(math.nan)))


@pytest.mark.parametrize("bad", [b":{", b":", b"\xff\xfe", b"!x", b":" + b"[" * 100_000])
def test_a_damaged_field_is_dropped_and_logged_and_the_others_stay(
    bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "bergizi_redis.sessions"):
        assert PLAIN.decode({b"good": b":1", b"bad": bad}, "the-sid") == {"good": 1}
    assert "Dropped field b'bad' of session the-sid" in caplog.text


def test_a_serializer_of_the_project_writes_every_value_strings_too() -> None:
    codec = Codec(XorSerializer)
    fields = codec.encode({"secret": "plain text"}, {})
    assert b"plain" not in fields[b"secret"]
    assert codec.decode(fields, "sid") == {"secret": "plain text"}


def test_a_value_that_did_not_change_keeps_its_bytes_under_a_serializer_that_salts() -> None:
    codec = Codec(XorSerializer)
    before = codec.encode({"a": [1], "b": [2]}, {})
    after = codec.encode({"a": [1], "b": [3]}, before)
    assert after[b"a"] == before[b"a"]
    assert codec.decode(after, "sid") == {"a": [1], "b": [3]}


def test_bytes_of_another_serializer_count_as_changed() -> None:
    codec = Codec(XorSerializer)
    assert codec.decode(codec.encode({"a": 1}, {b"a": b":1"}), "sid") == {"a": 1}
    assert codec.decode(codec.encode({"a": 1}, {b"a": b"!"}), "sid") == {"a": 1}
    assert {raw[:1] for raw in codec.encode({"a": 1, "b": "x"}, {b"a": b":1", b"b": b"x"}).values()} == {b"!"}


@pytest.mark.skipif(importlib.util.find_spec("orjson") is None, reason="the extra [orjson] is not installed")
@given(st.dictionaries(utf8_texts, st.booleans() | st.integers(-(2**63), 2**63 - 1) | utf8_texts, max_size=6))
def test_the_orjson_serializer_gives_back_what_it_was_given(data: dict[str, Any]) -> None:
    codec = Codec(OrjsonSerializer)
    assert codec.decode(codec.encode(data, {}), "sid") == data


def test_a_session_above_the_cap_says_what_is_large_and_what_to_do(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_MAX_BYTES": 1000}
    with pytest.raises(SessionTooLarge, match=r"1\d{3} bytes, 1001 of them in 'rows'.*SESSION_MAX_BYTES.*1000"):
        PLAIN.encode({"rows": "x" * 1001, "small": 1}, {})
