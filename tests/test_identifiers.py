"""Canonical identifiers and tags: one name is one account, two names are two, and no key tells which."""

import time

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis.security.identifiers import LONGEST, account_tag, canonical_identifier, masked_identifier

anything = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates and controls included


@pytest.mark.parametrize(
    "spelling",
    [
        "BUDI@GIZI.ID",
        "Ｂｕｄｉ＠ｇｉｚｉ．ｉｄ",
        "bu\u200bdi@gi\u200dzi.id",
        "\ufeffbudi@gizi.id",
        "budi\u00ad@gizi.id",
        "\u202ebudi@gizi.id\u202c",
        "bu\ufe0fdi@gizi.id",
        "  budi@gizi.id\t\r\n",
        "budi\x00@gizi.id",
        "\u2000budi@gizi.id\u3000",
        "ｂu\u034fdi@gizi.id",
    ],
)
def test_spellings_that_look_alike_are_one_account(spelling: str) -> None:
    assert canonical_identifier(spelling) == "budi@gizi.id"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ırmak", "irmak"),
        ("İrmak", "irmak"),
        ("budi santoso", "budisantoso"),
        ("budi@gizi.id", "budi@gizi.co.id"),
        ("josé", "jose"),
        ("bu\ud800di", "budi"),
        ("bu\ud800di", "bu\ud801di"),
        ("budi", ""),
    ],
)
def test_names_that_differ_are_two_accounts(one: str, other: str) -> None:
    assert canonical_identifier(one) != canonical_identifier(other)


def test_composed_and_decomposed_letters_are_one_account() -> None:
    assert canonical_identifier("jose\u0301") == canonical_identifier("JOSÉ")


def test_runs_of_space_are_one_space() -> None:
    assert canonical_identifier("budi \u2003\t \u200b santoso") == "budi santoso"


@pytest.mark.parametrize("nothing", [None, "", " ", "\u200b", "\x00\x1f", "\u3164"])
def test_nothing_is_the_empty_identifier(nothing: str | None) -> None:
    assert canonical_identifier(nothing) == ""


def test_numbers_are_identifiers_too() -> None:
    assert canonical_identifier(628123456789) == "628123456789"


@given(anything)
def test_a_canonical_identifier_is_canonical(text: str) -> None:
    once = canonical_identifier(text)
    assert canonical_identifier(once) == once
    assert len(once) <= LONGEST


@given(st.text(st.characters(categories=("Lu", "Ll", "Lo", "Nd", "Zs")), max_size=60))
def test_case_and_surrounding_space_never_matter(text: str) -> None:
    assert canonical_identifier(f" {text}\u200b ") == canonical_identifier(text)
    assert canonical_identifier(text.casefold()) == canonical_identifier(text)


@pytest.mark.parametrize("text", ["a" * 10_000, "\ufdfa" * 10_000, "a\u0315\u0300" * 5_000, "\u0315\u0300" * 1_000_000])
def test_long_identifiers_cost_little_and_stay_canonical(text: str) -> None:
    began = time.process_time()
    once = canonical_identifier(text)
    assert time.process_time() - began < 20  # sorting these marks at once would take minutes
    assert len(once) <= LONGEST
    assert canonical_identifier(once) == once


def test_long_identifiers_that_differ_at_their_end_are_two_accounts() -> None:
    name = "a" * 10_000
    assert canonical_identifier(name + "x") != canonical_identifier(name + "y")
    assert canonical_identifier(name + "X") == canonical_identifier(name + " x".strip())


@hypothesis_settings(deadline=None)
@given(st.integers(1, 3_000), anything)
def test_long_canonical_identifiers_are_canonical(times: int, text: str) -> None:
    once = canonical_identifier(text * times)
    assert canonical_identifier(once) == once


def test_padding_does_not_push_a_name_out_of_sight() -> None:
    assert canonical_identifier(" \u200b" * 5_000 + "budi") == "budi"


@given(st.tuples(anything, anything, anything), st.tuples(anything, anything, anything))
def test_no_two_triples_share_a_tag(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (account_tag(*one) == account_tag(*other)) is (one == other)


@given(anything, anything, anything)
def test_moving_text_across_a_border_makes_another_tag(tenant: str, scope: str, name: str) -> None:
    moved = {account_tag(tenant + "x", scope, name), account_tag(tenant, "x" + scope, name)}
    assert account_tag(tenant, scope + "x", name) != account_tag(tenant, scope, "x" + name)
    assert len(moved) == 2


def test_a_tag_is_128_bits_of_hex_and_holds_no_name() -> None:
    tag = account_tag("sppg-1", "password", "budi@gizi.id")
    assert len(bytes.fromhex(tag)) == 16
    assert "budi" not in tag


def test_a_tag_depends_on_the_secret_key() -> None:
    tags = set()
    for key in ("one key", "another"):
        with override_settings(SECRET_KEY=key):
            tags.add(account_tag("@", "password", "budi"))
    assert len(tags) == 2


@pytest.mark.parametrize(
    ("identifier", "masked"),
    [("budi@gizi.id", "b…@g…"), ("budi", "b…"), ("", "…"), ("@", "…@…"), ("a@b@c", "a…@b…"), ("\ud800", "?…")],
)
def test_a_mask_shows_first_letters_only(identifier: str, masked: str) -> None:
    assert masked_identifier(identifier) == masked


@given(anything)
def test_a_mask_can_always_be_written(text: str) -> None:
    masked = masked_identifier(canonical_identifier(text))
    assert len(masked.encode()) <= 20
