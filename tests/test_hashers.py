"""The peppered hasher: any password, one bcrypt; peppers and costs that change; old hashes that move in at log-in.

Guards taken out in a copy, each seen red here: ``surrogatepass``, the base64, the NFC, the burnt hash for a pepper that
is gone and for a damaged hash, the key id in ``must_update``, the loop of ``harden_runtime``.
"""

import logging
import unicodedata
from typing import Any

import bcrypt
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.hashers import (
    BCryptSHA256PasswordHasher,
    PBKDF2PasswordHasher,
    acheck_password,
    check_password,
    get_hasher,
    identify_hasher,
    make_password,
)
from django.contrib.auth.models import User
from django.utils.module_loading import import_string
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis.conf import config
from bergizi_redis.exceptions import ConfigurationError
from bergizi_redis.passwordconf import LONGEST_NORMALISED
from bergizi_redis.security import oldhashers
from bergizi_redis.security.hashers import PepperedBCryptPasswordHasher
from bergizi_redis.security.peppers import peppered

OLD, NEW = "the secret of last year, 32 chars.", "the secret of this year, 32 chars."
RIGHT = "nasi uduk di pagi hari"
AWKWARD = {
    "empty": "", "71 bytes": "a" * 71, "72 bytes": "a" * 72, "73 bytes": "a" * 73, "72 bytes of é": "é" * 36,
    "NUL": "nasi\0uduk", "NUL first": "\0", "lone surrogate": "nasi \ud800 uduk", "1 MB": "a" * 2**20,
    "1 MB of marks": "\u0301" * 2**19, "bytes": b"nasi uduk", "no UTF-8": b"\xff\xfe\x00nasi",
}  # fmt: skip


class Quick(PepperedBCryptPasswordHasher):
    """At bcrypt's lowest cost."""

    rounds = 4


class Slower(PepperedBCryptPasswordHasher):
    rounds = 6


class QuickPBKDF2(PBKDF2PasswordHasher):
    iterations = 10


class QuickDjangoBCrypt(BCryptSHA256PasswordHasher):
    rounds = 4


@pytest.fixture(autouse=True)
def hashers(settings: Any) -> None:
    use(settings, NEW_FIRST)
    settings.PASSWORD_HASHERS = [
        "tests.test_hashers.Quick",
        "tests.test_hashers.QuickDjangoBCrypt",
        "tests.test_hashers.QuickPBKDF2",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]


NEW_FIRST = {"2026": NEW, "2025": OLD}
OLD_ALONE = {"2025": OLD}


def use(settings: Any, peppers: dict[str, str]) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "PASSWORD_PEPPERS": peppers}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The cost of each bcrypt that is computed from here on."""
    costs: list[int] = []
    real = bcrypt.hashpw

    def counting(password: bytes, salt: bytes) -> bytes:
        costs.append(int(salt[4:6]))
        return real(password, salt)

    monkeypatch.setattr(bcrypt, "hashpw", counting)
    return costs


def spent(costs: list[int]) -> int:
    """Work, in units of cost 0; what was counted is forgotten."""
    work = sum(1 << cost for cost in costs)
    costs.clear()
    return work


# What is kept


def test_what_is_hashed_is_the_base64_of_a_keyed_digest() -> None:
    kept = make_password(RIGHT)
    _, key_id, rest = kept.split("$", 2)
    assert key_id == "2026"
    assert len(peppered(RIGHT, NEW)) == 64
    assert bcrypt.hashpw(peppered(RIGHT, NEW), rest.encode()).decode() == rest
    assert len(kept) <= 128


def test_the_summary_shows_neither_password_nor_pepper() -> None:
    summary = Quick().safe_summary(make_password(RIGHT))
    assert (summary["algorithm"], summary["pepper"], summary["work factor"]) == ("peppered_bcrypt", "2026", 4)
    assert "*" in summary["salt"]
    assert NEW not in str(summary)


def test_two_hashes_of_one_password_differ() -> None:
    assert make_password(RIGHT) != make_password(RIGHT)


@pytest.mark.parametrize("password", AWKWARD.values(), ids=AWKWARD)
def test_any_password_is_hashed_whole_and_costs_one_bcrypt(password: Any, computed: list[int]) -> None:
    kept = make_password(password)
    assert computed == [4]
    computed.clear()
    assert check_password(password, kept)
    assert computed == [4]
    computed.clear()
    longer = password + (b"!" if isinstance(password, bytes) else "!")
    assert not check_password(longer, kept)
    assert computed == [4]


@pytest.mark.parametrize("password", AWKWARD.values(), ids=AWKWARD)
def test_the_async_check_says_the_same(password: Any) -> None:
    kept = make_password(password)

    async def main() -> tuple[bool, bool]:
        return await acheck_password(password, kept), await acheck_password("another", kept)

    assert async_to_sync(main)() == (True, False)


def test_bytes_behind_the_72nd_and_behind_a_nul_count() -> None:
    assert not check_password("a" * 72 + "b", make_password("a" * 72 + "c"))
    assert not check_password("nasi\0goreng", make_password("nasi\0uduk"))


def test_composed_and_decomposed_are_one_password_and_compatibility_is_not() -> None:
    composed, decomposed = (
        unicodedata.normalize("NFC", "café à volonté"),
        unicodedata.normalize("NFD", "café à volonté"),
    )
    assert composed != decomposed
    assert check_password(decomposed, make_password(composed))
    assert check_password(composed, make_password(decomposed))
    assert not check_password("nasi", make_password("ｎａｓｉ"))
    assert not check_password("Nasi", make_password("nasi"))


def test_bytes_are_the_text_that_they_stand_for() -> None:
    assert Quick().verify("café".encode(), make_password("café"))


def test_what_is_too_long_to_normalise_is_hashed_as_it_is() -> None:
    long = "e\u0301" * LONGEST_NORMALISED
    assert check_password(long, make_password(long))
    assert not check_password(unicodedata.normalize("NFC", long), make_password(long))


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.text(st.characters(exclude_categories=()), max_size=90), st.text(max_size=5))
def test_any_text_is_a_password_and_no_other_is_it(text: str, more: str) -> None:
    kept = make_password(text)
    assert check_password(text, kept)
    other = text + more
    same = unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", text)
    assert check_password(other, kept) is same


# Peppers


def test_a_new_pepper_makes_the_hash_anew_at_the_next_check(settings: Any) -> None:
    use(settings, OLD_ALONE)
    kept = make_password(RIGHT)
    use(settings, NEW_FIRST)
    made: list[str] = []
    assert check_password(RIGHT, kept, setter=lambda password: made.append(make_password(password)))
    assert made[0].split("$")[1] == "2026"
    assert not get_hasher().must_update(made[0])


def test_one_pepper_does_not_open_what_another_closed(settings: Any) -> None:
    use(settings, {"2026": OLD})
    kept = make_password(RIGHT)
    use(settings, {"2026": NEW})
    assert not check_password(RIGHT, kept)


def test_a_pepper_that_is_gone_costs_the_same_and_is_logged(
    settings: Any, computed: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    use(settings, OLD_ALONE)
    kept = make_password(RIGHT)
    computed.clear()
    use(settings, {"2026": NEW})
    assert not check_password(RIGHT, kept)
    assert computed == [4]
    assert "lacks the key id '2025'" in caplog.text
    assert NEW not in caplog.text


def test_without_any_pepper_nothing_is_hashed_and_the_error_says_what_to_do(settings: Any) -> None:
    use(settings, {})
    with pytest.raises(ConfigurationError, match=r"PASSWORD_PEPPERS'\] is empty.*token_urlsafe"):
        make_password(RIGHT)


@pytest.mark.parametrize("wrong", [{"a b": NEW}, {"2026": "short"}, {"2026": 7}, "the secret itself " * 3])
def test_no_message_about_peppers_shows_one(settings: Any, wrong: Any) -> None:
    use(settings, wrong)
    with pytest.raises(ConfigurationError) as caught:
        _ = config.PASSWORD_PEPPERS
    assert NEW not in str(caught.value)
    assert "short" not in str(caught.value)
    assert "the secret itself" not in str(caught.value)


# Costs


def test_the_cost_is_that_of_the_settings(settings: Any) -> None:
    assert PepperedBCryptPasswordHasher().rounds == 12
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "PASSWORD_BCRYPT_COST": 13}
    hasher = PepperedBCryptPasswordHasher()
    assert hasher.salt().startswith("$2b$13$")
    assert hasher.must_update(make_password(RIGHT))


def test_a_wrong_password_against_a_cheaper_hash_costs_what_a_right_one_will(
    settings: Any, computed: list[int]
) -> None:
    cheap = make_password(RIGHT)
    settings.PASSWORD_HASHERS = ["tests.test_hashers.Slower"]
    spent(computed)
    assert not check_password("another", cheap)
    assert spent(computed) == 2**6
    make_password(RIGHT)  # as Django does for a name that nobody has
    assert spent(computed) == 2**6


@pytest.mark.parametrize("damage", ["", "$", "$2026$", "$2026$$2b$04$short", "$2026$$2b$99$" + "a" * 53, "$$$$$"])
def test_a_damaged_hash_is_nobody_s_costs_the_same_and_is_logged(
    damage: str, computed: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    kept = f"peppered_bcrypt{damage}"
    assert not check_password(RIGHT, kept)
    assert computed == [4]
    assert identify_hasher(kept).must_update(kept)
    with caplog.at_level(logging.ERROR):
        assert "damaged" in caplog.text


# Old hashes, at log-in


class QuickOldBCrypt(oldhashers.BCryptPasswordHasher):
    rounds = 4


class QuickOldPBKDF2(oldhashers.PBKDF2PasswordHasher):
    iterations = 10


OLD_ONES = ("tests.test_hashers.QuickOldBCrypt", "tests.test_hashers.QuickOldPBKDF2")


@pytest.mark.parametrize("path", OLD_ONES)
@pytest.mark.parametrize("password", [text for text in AWKWARD.values() if isinstance(text, str)])
def test_an_old_hasher_of_ours_raises_for_nothing(settings: Any, path: str, password: str) -> None:
    settings.PASSWORD_HASHERS = ["tests.test_hashers.Quick", path]
    kept = make_password(RIGHT, hasher=import_string(path)())
    assert not check_password(password, kept)
    assert check_password(RIGHT, kept)


def test_plain_bcrypt_verifies_long_passwords_as_it_did_before_its_library_raised(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["tests.test_hashers.Quick", OLD_ONES[0]]
    kept = f"bcrypt${bcrypt.hashpw(b'a' * 72, bcrypt.gensalt(4)).decode()}"
    assert check_password("a" * 73, kept)
    assert not check_password("a" * 71, kept)


def test_what_an_old_hasher_of_ours_makes_django_s_own_verifies(settings: Any) -> None:
    kept = make_password("café", hasher=QuickOldPBKDF2())
    assert check_password("café", kept)
    assert type(identify_hasher(kept)) is QuickPBKDF2


@pytest.fixture
def user(db: None, settings: Any) -> User:
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    return User.objects.create(username="budi")


@pytest.mark.parametrize("algorithm", ["bcrypt_sha256", "pbkdf2_sha256", "md5"])
def test_a_hash_of_django_s_is_verified_and_moves_in_at_log_in(user: User, algorithm: str) -> None:
    User.objects.update(password=make_password(RIGHT, hasher=algorithm))
    assert authenticate(username="budi", password="another") is None
    assert User.objects.get().password.startswith(algorithm)
    assert authenticate(username="budi", password=RIGHT) == user
    assert User.objects.get().password.startswith("peppered_bcrypt$2026$")
    assert authenticate(username="budi", password=RIGHT) == user


@pytest.mark.django_db(transaction=True)
def test_an_async_log_in_moves_it_in_too(user: User) -> None:
    User.objects.update(password=make_password(RIGHT, hasher="bcrypt_sha256"))
    assert async_to_sync(aauthenticate)(username="budi", password=RIGHT) == user
    assert User.objects.get().password.startswith("peppered_bcrypt$2026$")


@pytest.mark.parametrize("password", AWKWARD.values(), ids=AWKWARD)
def test_a_log_in_costs_one_bcrypt_whoever_and_whatever(user: User, computed: list[int], password: Any) -> None:
    user.set_password(RIGHT)
    user.save()
    for name in ("budi", "nobody"):
        computed.clear()
        assert authenticate(username=name, password=password) is None
        assert computed == [4]


def test_an_old_pepper_is_replaced_at_log_in(user: User, settings: Any) -> None:
    use(settings, OLD_ALONE)
    user.set_password(RIGHT)
    user.save()
    use(settings, NEW_FIRST)
    assert authenticate(username="budi", password=RIGHT) == user
    assert User.objects.get().password.split("$")[1] == "2026"
