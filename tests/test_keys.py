"""Keys: what must share a slot does, no two inputs share a key, none grows without bound."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from bergizi_redis import keys
from bergizi_redis.exceptions import TenantError
from bergizi_redis.keyparts import user_trail

ANY_TEXT = st.text(st.characters(), max_size=200)
TEXT = ANY_TEXT | st.sampled_from(
    ["", ":", "{", "}", "}{", "%3A", "a:b", "v", "e", "x" * 121, "x" * 40 + "~" + "0" * 32]
)
TENANT = st.from_regex(keys.TENANT_PATTERN, fullmatch=True)
SCOPE = st.none() | TENANT
DIGEST = st.from_regex(re.compile("[0-9a-f]{16,40}"), fullmatch=True)


def slot(key: str) -> int:
    return key_slot(key.encode())


@given(tenant=SCOPE, domain=TEXT, ident=TEXT, tag=TEXT, other=TEXT)
def test_a_tenants_entries_and_tags_share_a_slot(
    tenant: str | None, domain: str, ident: str, tag: str, other: str
) -> None:
    mine = {
        keys.cache_entry(tenant, domain, ident), keys.cache_entry(tenant, other, tag),
        keys.tag_version(tenant, tag), keys.tag_version(tenant, other, "site"),
        keys.tenant_version(tenant) if tenant else keys.epoch(),
    }  # fmt: skip
    assert len({slot(key) for key in mine}) == 1
    shared = {
        keys.tag_version(None, tag),
        keys.tag_everywhere(other),
        keys.epoch("site"),
        keys.cache_entry(None, "d", tag),
    }
    assert len({slot(key) for key in shared}) == 1


@given(tenant=SCOPE, domain=TEXT, ident=TEXT)
def test_a_lease_lies_beside_its_entry(tenant: str | None, domain: str, ident: str) -> None:
    entry = keys.cache_entry(tenant, domain, ident)
    assert slot(keys.lease(entry)) == slot(entry)
    assert keys.lease(entry) != keys.lease(keys.cache_entry(tenant, domain, f"{ident}:lease"))


@pytest.mark.parametrize("entry", ["site:1:k", "site:1:{sppg-1}:k", "{a}{b}", "a{b", "a:{\n}"])
def test_a_lease_of_a_key_that_django_makes_lies_beside_it(entry: str) -> None:
    assert slot(keys.lease(entry)) == slot(entry)


@given(tag=DIGEST)
def test_what_one_lock_script_touches_shares_a_slot(tag: str) -> None:
    assert slot(keys.attempts(tag)) == slot(keys.lockout(tag)) == slot(keys.ratelimit(tag))


@given(tenant=TENANT, first=TEXT, second=TEXT)
def test_a_projects_own_keys_of_a_tenant_share_a_slot(tenant: str, first: str, second: str) -> None:
    assert slot(keys.tenant_key(tenant, first)) == slot(keys.tenant_key(tenant, second, first))


@given(one=st.tuples(SCOPE, TEXT, TEXT), other=st.tuples(SCOPE, TEXT, TEXT))
@example(one=("t", "a:b", "c"), other=("t", "a", "b:c"))
@example(one=("t", "a%3Ab", "c"), other=("t", "a:b", "c"))
@example(one=(None, "v", "x"), other=(None, "%76", "x"))
def test_different_entries_have_different_keys(one: Any, other: Any) -> None:
    assume(one != other)
    assert keys.cache_entry(*one) != keys.cache_entry(*other)


@given(tenant=SCOPE, domain=TEXT, ident=TEXT, tag=TEXT)
@example(tenant="t", domain="v", ident="x", tag="x")
@example(tenant=None, domain="e", ident="x", tag="x")
@example(tenant=None, domain="epoch", ident="", tag="")
def test_an_entry_is_never_a_tag(tenant: str | None, domain: str, ident: str, tag: str) -> None:
    versions = {keys.tag_version(tenant, tag), keys.tag_everywhere(tag), keys.epoch()}
    if tenant:
        versions.add(keys.tenant_version(tenant))
    assert keys.cache_entry(tenant, domain, ident) not in versions


@given(tenant=TENANT, one=st.lists(TEXT, max_size=3), other=st.lists(TEXT, max_size=3))
@example(tenant="t", one=["a:b"], other=["a", "b"])
@example(tenant="t", one=[], other=[""])
def test_different_parts_have_different_keys(tenant: str, one: list[str], other: list[str]) -> None:
    assume(one != other)
    assert keys.tenant_key(tenant, *one) != keys.tenant_key(tenant, *other)


FREE: list[Callable[[str], str]] = [
    keys.user_sessions,
    keys.audit,
    keys.tag_everywhere,
    lambda text: keys.stream("t", text),
    lambda text: keys.track("t", text),
    lambda text: keys.tag_version("t", text),
]


@pytest.mark.parametrize("make", FREE)
@given(one=TEXT, other=TEXT)
def test_free_text_is_kept_apart_bounded_and_storable(make: Callable[[str], str], one: str, other: str) -> None:
    assume(one != other)
    assert make(one) != make(other)
    for text in (one, other * 10_000):
        assert len(make(text).encode()) < 700


def test_no_text_can_claim_the_key_of_a_long_one() -> None:
    """The long text's key holds a digest that anyone can compute: written out, it is not taken for that text."""
    key = keys.user_sessions("x" * 500)
    written = key.removeprefix(keys.prefixed("user:{")).removesuffix("}:sessions")
    assert keys.user_sessions(written) != key


@given(text=st.text(st.characters(), max_size=5))
def test_every_key_can_be_sent(text: str) -> None:
    keys.user_sessions(text + "\ud800").encode()


def test_numbers_and_uuids_stand_as_they_print() -> None:
    assert keys.user_sessions(7) == keys.user_sessions("7")


@pytest.mark.parametrize("tenant", ["a", "A-z_0.9", "sppg-jakarta-001", "x" * 64])
def test_a_tenant_id_stands_as_it_is(tenant: str) -> None:
    assert keys.validated_tenant(tenant) == tenant


@pytest.mark.parametrize(
    "tenant",
    ["", "x" * 65, "x" * 10_240, "a b", "a\n", "\na", "a\r\n", "{a}", "a}", "a:b", "@", "*", "säule", "ａ", "٣", "a\0",
     "a/../b", None, 7, True, b"a", ["a"]],
)  # fmt: skip
def test_anything_else_is_no_tenant_and_the_error_says_what_is(tenant: object) -> None:
    with pytest.raises(TenantError, match="is not a tenant id: use a str of 1 to 64 letters") as caught:
        keys.validated_tenant(tenant)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("make", [keys.tenant_key, keys.tenant_sessions, keys.tenant_version, keys.positions])
def test_every_key_of_a_tenant_refuses_what_is_none(make: Callable[[str], str]) -> None:
    with pytest.raises(TenantError):
        make("a}b")


def test_the_prefix_stands_before_every_key(settings: Any) -> None:
    for prefix, expected in (("", "user:{7}:sessions"), ("site", "site:user:{7}:sessions")):
        settings.BERGIZI_REDIS = {"KEY_PREFIX": prefix}
        assert keys.user_sessions(7) == expected
    assert keys.tag_version("t", "menus", "shop") == "site:shop:cache:{t}:v:menus"


def rows() -> list[str]:
    return re.findall(r"^\| ``([^`]+)`` \|", keys.__doc__ or "", re.MULTILINE)


SAMPLES = {
    "tenant": "T0", "sid": "s1s2", "user_id": "U0", "domain": "D0", "ident": "I0", "tag": "G0", "channel": "C0",
    "vehicle": "V0", "parts": "P0", "entry": "{E0}", "number": "N0", "shard": "H0", "part": "P0",
    "task": "K0", "day": "Y0",
}  # fmt: skip
SHOWN = {
    "s1}s2": "<sid[:2]>}<sid[2:]>", "T0": "<tenant>", "U0": "<user id>", "D0": "<domain>", "I0": "<ident>",
    "G0": "<tag>", "C0": "<channel>", "V0": "<vehicle>", "P0": "<part>", "N0": "<n>",
    "H0": "<shard>", "{E0}": "<entry>", "K0": "<task>", "Y0": "<day>", user_trail("U0"): "<trail>",
}  # fmt: skip


def test_the_table_has_one_row_for_each_key(settings: Any) -> None:
    settings.BERGIZI_REDIS = {}
    made = set()
    for name, make in inspect.getmembers(keys, inspect.isfunction):
        if make.__module__ != keys.__name__ or name.startswith("_") or name in ("prefixed", "validated_tenant"):
            continue
        given_names = [one for one in inspect.signature(make).parameters if one in SAMPLES]
        key = make(*(SAMPLES[one] for one in given_names))
        for sample, shown in SHOWN.items():
            key = key.replace(sample, shown)
        made.add(key)
    assert sorted(made) == sorted(rows())
