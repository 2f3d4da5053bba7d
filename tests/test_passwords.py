"""Which passwords are refused, and why: every reason at once, for any text, in bounded work.

Red, each, where in a copy the normalisation is left out, the length is taken as given, long texts are normalised, or
the work of comparing is not cut.
"""

import json
import unicodedata
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import (
    get_password_validators,
    password_validators_help_texts,
)
from django.contrib.auth.password_validation import validate_password as django_validate
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.utils import translation
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.passwordconf import LONGEST_NORMALISED
from bergizi_redis.security import passwords
from bergizi_redis.security.passwordrules import similarity
from bergizi_redis.security.passwords import PasswordPolicy
from bergizi_redis.tenancy import use_tenant

GOOD = "nasi uduk di pagi hari"
BUDI = SimpleNamespace(
    username="budi.santoso", email="b.santoso77@gizi-nasional.id", first_name="Budi", last_name="Santoso", is_staff=True
)
VALIDATORS = "bergizi_redis.security.validators"


def codes(password: str, user: object = None, policy: PasswordPolicy | None = None) -> list[str]:
    return [
        error.code.removeprefix("password_") for error in passwords.validate_password(password, user, policy).errors
    ]


def configure(settings: Any, **given: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, **given}


def has_second_factor(user: Any) -> bool:
    return bool(getattr(user, "is_staff", False))


def words_of(user: Any) -> list[str]:
    return ["dapur sehat", getattr(user, "kitchen", "")]


# The report


@pytest.mark.parametrize(
    "password",
    [
        GOOD,
        "newPassword123!",
        "Saya makan nasi uduk bersama Budi",
        "x9!Lk2#vQ8$mZ4w",
        "昨日の夜はお楽しみでしたね、勇者さま",
    ],
)
def test_what_nobody_would_try_is_a_password(password: str) -> None:
    report = passwords.validate_password(password, BUDI)
    assert report.valid, report.messages
    assert not report.errors
    assert not report.unchecked


def test_the_report_has_every_reason_at_once(settings: Any) -> None:
    configure(settings, PASSWORD_COMPOSITION=["lower", "upper", "digit", "symbol"])
    report = passwords.validate_password("Santoso", BUDI)
    assert not report.valid
    assert [error.code for error in report.errors] == [
        "password_too_short", "password_no_digit", "password_no_symbol", "password_expected", "password_too_similar",
    ]  # fmt: skip
    assert report.errors[0].params == {"min_length": 15}
    assert report.messages[0] == "This password is too short. It must contain at least 15 characters."
    assert "santoso" in report.messages[3]
    assert json.loads(json.dumps(asdict(report)))["errors"][0]["params"] == {"min_length": 15}


def test_reasons_are_in_the_language_in_force() -> None:
    with translation.override("id"):
        messages = passwords.validate_password("gizi", BUDI).messages
    assert messages[0] == "Kata sandi ini terlalu pendek. Kata sandi harus terdiri dari paling sedikit 15 karakter."


def test_no_report_shows_a_password() -> None:
    secret = "rahasia%(x)s{y}"
    assert secret not in repr(passwords.validate_password(secret, BUDI))
    assert "rahasia" not in str(asdict(passwords.validate_password(secret, BUDI)))


def test_the_async_twin_says_the_same() -> None:
    assert async_to_sync(passwords.avalidate_password)("gizi", BUDI) == passwords.validate_password("gizi", BUDI)


@pytest.mark.parametrize("given", [None, b"bytes", 12345678901234567])
def test_what_is_no_text_is_an_error_that_says_so(given: Any) -> None:
    with pytest.raises(TypeError, match="A password is a str, not"):
        passwords.validate_password(given)


# Lengths


def test_a_character_is_a_code_point_of_the_normalised_text() -> None:
    assert codes("é" * 7 + "ü" * 7) == ["too_short", "too_common"]
    assert codes(unicodedata.normalize("NFD", "dé-jà-vu-à-l-é")) == ["too_short"]  # 14, and 18 code points as given
    assert codes("🍚" + "nasi uduk enak") == []


def test_who_has_a_second_factor_may_have_a_shorter_one(settings: Any) -> None:
    configure(settings, PASSWORD_SECOND_FACTOR=f"{__name__}.has_second_factor")
    assert codes("k9#fQz2L", BUDI) == []
    assert codes("k9#fQz2", BUDI) == ["too_short"]
    assert codes("k9#fQz2L", SimpleNamespace(username="eko")) == ["too_short"]
    assert codes("k9#fQz2L") == ["too_short"]


def test_lengths_are_those_of_the_settings(settings: Any) -> None:
    configure(settings, PASSWORD_MIN_LENGTH=20, PASSWORD_MAX_LENGTH=64)
    text = "kuda terbang makan nasi uduk di atas awan biru sambil bernyanyi!!"
    assert (codes(text[:19]), codes(text[:20]), codes(text[:64]), codes(text[:65])) == (
        ["too_short"], [], [], ["too_long"],
    )  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("PASSWORD_MIN_LENGTH", 7), ("PASSWORD_MAX_LENGTH", 63)])
def test_settings_weaker_than_the_standard_are_refused(settings: Any, name: str, value: int) -> None:
    configure(settings, **{name: value})
    with pytest.raises(ConfigurationError, match=name):
        passwords.validate_password(GOOD)


def test_a_policy_may_be_handed_in() -> None:
    assert codes("k9#fQz2L", policy=PasswordPolicy(8, 8, 64)) == []
    assert codes("k9#fqz2l", policy=PasswordPolicy(8, 8, 64, kinds=["upper"])) == ["no_upper"]


# What others would try


TRIED_FIRST = (
    "passwordpassword", "PasswordPassword", "p4$$w0rdp4$$w0rd", "ＰＡＳＳＷＯＲＤpassword", "superadministrator",
    "correct horse battery staple", "drowssapdrowssap", "aaaaaaaaaaaaaaaa", "1234567890123456", "abcdefghijklmnop",
    "qwertyuiopasdfgh", "1qaz2wsx3edc4rfv", "ponmlkjihgfedcba", "aaaaaaaabbbbbbbb", "\ufdfa" * 15,
    "rahasiarahasiarahasia", "bismillahirrahmanirrahim", "qwerty qwerty qwerty", "sayang  sayang sayang", " " * 16,
    "\N{IDEOGRAPHIC SPACE}\t" * 8, "- - - - - - - - -",
)  # fmt: skip


@pytest.mark.parametrize("password", TRIED_FIRST)
def test_what_is_tried_first_is_refused_however_long(password: str) -> None:
    assert codes(password) == ["too_common"]


def test_a_common_word_in_a_sentence_is_no_reason() -> None:
    assert codes("password of the kitchen") == codes("the dragon eats sunshine") == []


OF_BUDI = (
    "budi.santoso.2026", "Budi_Santoso#1990", "budi-santoso-2026!!", "5anto5o-5anto5o-1", "gizi-nasional-123",
    "b.santoso77!!!!!!", "SANTOSOsantosoBUDI",
)  # fmt: skip


@pytest.mark.parametrize("password", OF_BUDI)
def test_what_is_little_more_than_the_user_is_refused(password: str) -> None:
    assert "expected" in codes(password, BUDI)
    assert "expected" not in codes(password)


def test_so_is_what_is_little_more_than_the_tenant_or_the_project(settings: Any) -> None:
    with use_tenant("sppg-jakarta-001"):
        assert codes("jakarta-sppg-12345") == ["expected"]
        assert codes("di jakarta hujan lagi") == []
    configure(settings, PASSWORD_CONTEXT_WORDS=["bergizi"])
    assert codes("Bergizi-B3rg1zi-1") == ["expected"]
    configure(settings, PASSWORD_CONTEXT_WORDS=f"{__name__}.words_of")
    assert codes("dapur sehat 12345") == ["expected"]
    assert codes("melati melati 12345", SimpleNamespace(kitchen="Melati")) == ["expected"]


def test_what_is_like_a_name_is_refused_once() -> None:
    user = SimpleNamespace(username="kartikawulandari", email="kartikawulandari@x.id")
    report = passwords.validate_password("kartikewulendari", user)
    assert [error.code for error in report.errors] == ["password_too_similar"]
    assert report.errors[0].params == {"verbose_name": "username"}
    assert "email address" in passwords.validate_password(
        "kartikewulendari", User(username="x", email="kartikawulandari@x.id")
    ).messages[-1]  # fmt: skip


def test_composition_is_asked_for_only_where_a_project_asks(settings: Any) -> None:
    assert codes("nasi uduk enak sekali") == []
    configure(settings, PASSWORD_COMPOSITION=["lower", "upper", "digit", "symbol"])
    assert codes("nasi uduk enak sekali") == ["no_upper", "no_digit", "no_symbol"]
    assert codes("NASI uduk enak 7 kali!") == []


# Any text, bounded work


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.text(st.characters(exclude_categories=()), max_size=80),
    st.dictionaries(
        st.sampled_from(["username", "email", "first_name", "name", "USERNAME_FIELD"]),
        st.none() | st.integers() | st.text(st.characters(exclude_categories=()), max_size=80),
    ),
)
@example("\x00" * 20, {"username": "\x00"})
@example("\ud800" * 20, {"email": "\ud800@\ud800"})
@example("%s%(word)s{0}" * 3, {"username": "%s%(word)s{0}"})
def test_no_text_and_no_user_raises(text: str, attributes: dict[str, Any]) -> None:
    report = passwords.validate_password(text, SimpleNamespace(**attributes))
    assert report.valid is not bool(report.errors)
    assert all(error.message and error.code.startswith("password_") for error in report.errors)
    composed = passwords.validate_password(unicodedata.normalize("NFC", text), SimpleNamespace(**attributes))
    assert composed == report


@pytest.mark.parametrize(
    "text", ["a" * 2**20, "\u0301" * 2**20, "\ud800" * 2**20], ids=["letters", "marks", "surrogates"]
)
def test_a_megabyte_is_not_looked_into(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    real = unicodedata.normalize

    def normalize(form: Any, value: str) -> str:
        looked_at.append(len(value))
        return real(form, value)

    monkeypatch.setattr(unicodedata, "normalize", normalize)
    assert codes(text, BUDI) == ["too_long"]
    assert max(looked_at, default=0) <= LONGEST_NORMALISED


def test_comparing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    real = similarity.is_alike

    def is_alike(password: str, value: str) -> bool:
        compared.append(len(value))
        return real(password, value)

    monkeypatch.setattr(similarity, "is_alike", is_alike)
    codes("ab" * 512, SimpleNamespace(username="ab" * 2**19, email="a." * 2**19))
    assert max(compared) <= similarity.LONGEST
    assert len(compared) <= 2 * (similarity.MOST_PARTS + 1)


# As Django's validators


def validators(*names: str, **options: Any) -> Any:
    return get_password_validators([{"NAME": f"{VALIDATORS}.{name}", "OPTIONS": options} for name in names])


EACH = (
    "LengthValidator", "BlocklistValidator", "ContextValidator", "SimilarityValidator", "CompositionValidator",
    "BreachValidator",
)  # fmt: skip


@pytest.mark.parametrize("names", [["PolicyValidator"], EACH], ids=["all in one", "one by one"])
def test_django_s_validation_gives_the_same_reasons(settings: Any, names: list[str]) -> None:
    configure(settings, PASSWORD_COMPOSITION=["digit"])
    for password in ("Santoso", "budi.santoso%(x)s", "password", "a" * 2000, GOOD + "7"):
        expected = passwords.validate_password(password, BUDI)
        assert refusal(password, validators(*names)) == {(error.code, error.message) for error in expected.errors}


def refusal(password: str, by: Any) -> set[tuple[str, str]]:
    try:
        django_validate(password, cast(Any, BUDI), by)
    except ValidationError as error:
        return {(str(each.code), each.messages[0]) for each in error.error_list}
    return set()


def test_options_go_before_the_settings() -> None:
    with pytest.raises(ValidationError) as caught:
        django_validate("k9#fqz2l", None, validators("LengthValidator", least=10))
    assert caught.value.error_list[0].params == {"min_length": 10}
    django_validate("k9#fqz2l", None, validators("LengthValidator", least=8))
    with pytest.raises(ValidationError, match="capital letter"):
        django_validate(GOOD, None, validators("CompositionValidator", kinds=["upper"]))
    with pytest.raises(ValidationError, match="bogor"):
        django_validate("bogor-bogor-12", None, validators("ContextValidator", words=["Bogor"]))
    with pytest.raises(ImproperlyConfigured, match="no kinds of characters"):
        validators("CompositionValidator", kinds=["emoji"])


def test_help_texts_are_translated() -> None:
    english = password_validators_help_texts(validators("PolicyValidator", *EACH))
    assert english[0].startswith(
        "Your password must have at least 15 characters; a sentence is a good one. It must not"
    )
    with translation.override("id"):
        indonesian = password_validators_help_texts(validators("PolicyValidator", *EACH))
    assert all(ours != theirs for ours, theirs in zip(english, indonesian, strict=True) if ours)
