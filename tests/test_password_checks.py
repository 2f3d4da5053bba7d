"""What is weak about passwords: found in the settings, counted in the database, told by check and by command."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.checks import CheckMessage
from django.core.management import call_command

from bergizi_redis import checklist
from bergizi_redis.passwordchecks import check_breach_list, check_passwords
from bergizi_redis.security.breaches import building
from bergizi_redis.security.breaches.sources import Source
from bergizi_redis.security.hashcounts import HashCount, hash_counts
from tests.servers import PrivateServer
from tests.test_hashers import NEW, NEW_FIRST, OLD, OLD_ALONE, RIGHT

PEPPERED = "bergizi_redis.security.hashers.PepperedBCryptPasswordHasher"
PBKDF2 = "django.contrib.auth.hashers.PBKDF2PasswordHasher"
MD5 = "django.contrib.auth.hashers.MD5PasswordHasher"
BCRYPT = "django.contrib.auth.hashers.BCryptPasswordHasher"
QUICK = "tests.test_hashers.Quick"
POLICY = [{"NAME": "bergizi_redis.security.validators.PolicyValidator"}]
DJANGO_S: list[dict[str, Any]] = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 15}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]


@pytest.fixture(autouse=True)
def well(settings: Any) -> None:
    """Settings that are well."""
    settings.PASSWORD_HASHERS = [PEPPERED, PBKDF2]
    settings.AUTH_PASSWORD_VALIDATORS = POLICY
    given(settings, PASSWORD_PEPPERS=NEW_FIRST)


def given(settings: Any, **values: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **values}


def only(rule: checklist.Rule, found: list[CheckMessage] | None = None) -> CheckMessage:
    found = check_passwords() if found is None else found
    assert [message.id for message in found] == [rule.id]
    assert found[0].hint
    return found[0]


@pytest.mark.parametrize("validators", [POLICY, DJANGO_S])
def test_what_is_well_is_silent(settings: Any, validators: Any) -> None:
    settings.AUTH_PASSWORD_VALIDATORS = validators
    assert check_passwords() == []
    assert check_breach_list() == []


def test_a_project_that_uses_none_of_ours_is_not_judged(settings: Any) -> None:
    settings.PASSWORD_HASHERS, settings.AUTH_PASSWORD_VALIDATORS, settings.BERGIZI_REDIS = [MD5], [], {}
    assert check_passwords() == []


@pytest.mark.parametrize("peppers", [{}, {"2026": "short"}, {"2026": 7}, "text"])
def test_a_hasher_without_a_pepper_is_an_error_that_shows_none(settings: Any, peppers: Any) -> None:
    given(settings, PASSWORD_PEPPERS=peppers)
    assert "short" not in str(only(checklist.NO_PEPPER))


def test_a_pepper_that_is_no_secret_of_its_own(settings: Any) -> None:
    settings.SECRET_KEY = OLD
    assert "SECRET_KEY" in only(checklist.POOR_PEPPER).msg
    given(settings, PASSWORD_PEPPERS={"a": NEW, "b": NEW})
    assert "one secret" in only(checklist.POOR_PEPPER).msg


def test_the_peppered_hasher_behind_another(settings: Any) -> None:
    settings.PASSWORD_HASHERS = [PBKDF2, PEPPERED]
    assert PBKDF2 in only(checklist.HASHER_NOT_FIRST).msg


@pytest.mark.parametrize(("first", "why"), [(MD5, "fast"), (BCRYPT, "72 bytes"), (QUICK, "cost of 4")])
def test_a_first_hasher_that_is_weak(settings: Any, first: str, why: str) -> None:
    settings.PASSWORD_HASHERS = [first, PBKDF2]
    assert why in only(checklist.WEAK_HASHER).msg


def test_an_old_hasher_that_still_verifies_is_worth_knowing(settings: Any) -> None:
    settings.PASSWORD_HASHERS = [PEPPERED, BCRYPT]
    only(checklist.OLD_HASHER)


def test_validators_that_let_through_what_is_tried_first(settings: Any) -> None:
    settings.AUTH_PASSWORD_VALIDATORS = []
    assert [message.id for message in check_passwords()] == [checklist.NO_VALIDATOR.id] * 2
    settings.AUTH_PASSWORD_VALIDATORS = [{"NAME": DJANGO_S[0]["NAME"]}, DJANGO_S[1]]
    assert "fewer than 15" in only(checklist.NO_VALIDATOR).msg


@pytest.mark.parametrize("name", ["PASSWORD_SECOND_FACTOR", "PASSWORD_CONTEXT_WORDS"])
def test_a_path_that_leads_nowhere(settings: Any, name: str) -> None:
    given(settings, **{name: "tests.test_password_checks.nothing"})
    assert name in only(checklist.NOT_IMPORTABLE).msg


def test_a_breach_list_that_is_asked_and_not_there(settings: Any, tmp_path: Path, server: PrivateServer) -> None:
    given(settings, PASSWORD_BREACH_LIST=True)
    only(checklist.NO_BREACH_LIST, check_breach_list())
    path = tmp_path / "leaked"
    path.write_text("rahasia\n")
    building.finish(building.build_on(building.begin(Source.of(path), 1, 0.1)))
    assert check_breach_list() == []
    server.kill()
    assert check_breach_list() == []


# Users


@pytest.fixture
def users(db: None, settings: Any) -> None:
    settings.PASSWORD_HASHERS = [QUICK, "tests.test_hashers.QuickDjangoBCrypt", "tests.test_hashers.QuickPBKDF2", MD5]
    given(settings, PASSWORD_PEPPERS=OLD_ALONE)
    old = make_password(RIGHT)
    given(settings, PASSWORD_PEPPERS=NEW_FIRST)
    hashes = {
        "a": make_password(RIGHT), "b": make_password(RIGHT), "c": old, "d": make_password(None), "e": "",
        "f": make_password(RIGHT, hasher="bcrypt_sha256"), "g": make_password(RIGHT, hasher="pbkdf2_sha256"),
        "h": make_password(RIGHT, hasher="md5"), "i": "0cc175b9c0f1b6a831c399e269772661", "j": "crypt$ab$cdef",
    }  # fmt: skip
    User.objects.bulk_create(User(username=name, password=password) for name, password in hashes.items())


def test_users_are_counted_by_hasher_cost_and_pepper_in_the_database(
    users: None, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(3):
        counts = hash_counts()
    assert set(counts) == {
        HashCount("peppered_bcrypt", 2, 4, "2026"),
        HashCount("peppered_bcrypt", 1, 4, "2025"),
        HashCount("bcrypt_sha256", 1, 4),
        HashCount("pbkdf2_sha256", 1),
        HashCount("md5", 1),
        HashCount("crypt", 1),
        HashCount("unknown", 1),
        HashCount("unusable", 2),
    }
    assert counts[0].users == 2


def told(**options: Any) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("check_passwords", stdout=out, **options)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_command_tells_what_becomes_of_whom_and_exits_1_where_something_is_weak(users: None, settings: Any) -> None:
    code, text = told()
    assert code == 1
    notes = {tuple(line.split()[:3]): line.split(None, 4)[4:] for line in text.splitlines() if line[:1].islower()}
    assert notes["peppered_bcrypt", "4", "2026"] == []
    assert notes["peppered_bcrypt", "4", "2025"] == ["old pepper; moves at log-in"]
    assert notes["md5", "–", "–"] == ["fast to try; moves at log-in"]
    assert notes["pbkdf2_sha256", "–", "–"] == ["moves at log-in"]
    assert notes["crypt", "–", "–"] == ["nothing verifies it"]
    assert "bergizi_redis.W042: 'tests.test_hashers.Quick' has a cost of 4; 12 is the least." in text
    assert NEW not in text
    assert not any(user.password in text for user in User.objects.exclude(password=""))


def test_the_same_in_json(users: None, settings: Any) -> None:
    given(settings, PASSWORD_PEPPERS={"2026": NEW})
    code, text = told(json=True)
    facts = json.loads(text)
    assert code == 1
    assert {"kind": "peppered_bcrypt", "users": 1, "cost": 4, "pepper": "2025", "note": "its pepper is gone"} in facts[
        "users"
    ]
    assert facts["hashers"][0] == QUICK
    assert facts["findings"][0]["id"] == "bergizi_redis.W042"


@pytest.mark.django_db
def test_where_nothing_is_weak_it_says_so_and_exits_0() -> None:
    assert told()[0] == 0
    assert told()[1].endswith("There are no users.\n\nNothing is weak.\n")
