"""Every way to log in through Django is counted, once, and a refusal computes no hash."""

import uuid
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.test import RequestFactory
from django.test.utils import override_settings

from bergizi_redis.security import lockout
from bergizi_redis.security.backends import LockoutMixin, LockoutModelBackend, guard
from bergizi_redis.tenancy import use_tenant
from tests import passwordcount
from tests.moments import left_of
from tests.passwordcount import RIGHT

READY_MADE = "bergizi_redis.security.backends.LockoutModelBackend"


class PlainBackend:
    """As other packages write them: no BaseBackend, a strict signature, nothing asynchronous."""

    calls = 0

    def authenticate(self, request: Any, username: str, password: str) -> User | None:
        type(self).calls += 1
        return User(pk=1, username=username) if password == RIGHT else None


class GuardedPlain(LockoutMixin, PlainBackend):
    calls = 0


class OnlySync(BaseBackend):
    """Its ``aauthenticate`` is BaseBackend's, which calls ``authenticate``."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        return User(pk=2, username=str(username)) if password == "the second password" else None


class GuardedOnlySync(LockoutMixin, OnlySync):
    pass


class Token(BaseBackend):
    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        return User(pk=3, username="machine") if kwargs.get("token") == "good" else None


class GuardedToken(LockoutMixin, Token):
    pass


class Failing(LockoutMixin, BaseBackend):
    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> Any:
        return super().authenticate(request, username=username, password=password, **kwargs)


class Directory(BaseBackend):
    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        raise ConnectionRefusedError("the directory is down")


class GuardedDirectory(LockoutMixin, Directory):
    pass


class Forbidding(BaseBackend):
    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> User | None:
        raise PermissionDenied


class GuardedForbidding(LockoutMixin, Forbidding):
    pass


def here(*names: str) -> list[str]:
    return [f"{__name__}.{name}" for name in names]


@pytest.fixture
def who() -> str:
    return f"siti-{uuid.uuid4().hex}"


@pytest.fixture
def user(who: str, settings: Any, db: None) -> User:
    settings.PASSWORD_HASHERS = ["tests.passwordcount.CountingHasher"]
    user = User.objects.create_user(who, email=f"{who}@gizi.example", password=RIGHT)
    passwordcount.reset()
    return user


def log_in(is_async: bool, request: Any = None, **credentials: Any) -> Any:
    if is_async:
        return async_to_sync(aauthenticate)(request, **credentials)
    return authenticate(request, **credentials)


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@both
def test_the_right_password_logs_in_and_leaves_no_count(user: User, is_async: bool) -> None:
    assert log_in(is_async, username=user.username, password="wrong") is None
    assert log_in(is_async, username=user.username, password=RIGHT) == user
    assert lockout.is_account_locked(user.username).failures == 0


@both
def test_a_refusal_computes_no_hash_even_for_the_right_password(user: User, is_async: bool) -> None:
    for _ in range(5):
        log_in(is_async, username=user.username, password="wrong")
    assert passwordcount.checks() == 5
    for password in ("wrong", RIGHT):
        assert log_in(is_async, username=user.username, password=password) is None
    assert passwordcount.checks() == 5


@both
def test_an_unknown_name_locks_after_as_many_checks_as_a_known_one(who: str, user: User, is_async: bool) -> None:
    for _ in range(8):
        log_in(is_async, username=f"nobody-{who}", password="wrong")
    assert passwordcount.checks() == 5
    assert lockout.is_account_locked(f"nobody-{who}").locked


@both
def test_a_refusal_is_noted_on_the_request(user: User, is_async: bool) -> None:
    request = RequestFactory().post("/login/")
    for _ in range(6):
        log_in(is_async, request, username=user.username, password="wrong")
    assert request.login_refusal.retry_after == left_of(1800)  # type: ignore[attr-defined]


def test_the_backend_itself_raises_the_refusal(user: User) -> None:
    for _ in range(5):
        LockoutModelBackend().authenticate(None, user.username, "wrong")
    with pytest.raises(lockout.AccountLocked):
        LockoutModelBackend().authenticate(None, user.username, RIGHT)


def test_the_user_name_may_come_under_the_name_of_its_field(user: User) -> None:
    with override_settings(AUTHENTICATION_BACKENDS=[READY_MADE]):
        authenticate(None, **{User.USERNAME_FIELD: user.username}, password="wrong")
    assert lockout.is_account_locked(user.username).failures == 1
    assert LockoutModelBackend().lockout_identifier({"email": "a@b.example", "password": "x"}) == "a@b.example"


def test_one_text_beside_the_password_is_the_name(user: User) -> None:
    class ByPhone(BaseBackend):
        def authenticate(self, request: Any, **credentials: Any) -> None:
            return None

    guarded = guard(ByPhone)()
    for _ in range(5):
        guarded.authenticate(None, phone="0812", password="wrong")
    assert lockout.is_account_locked("0812").locked
    assert guarded.lockout_identifier({"phone": "1", "kitchen": "2", "password": "x"}) is None
    assert guarded.lockout_identifier({"token": "1"}) is None
    assert LockoutModelBackend().lockout_identifier({"phone": "1", "password": "x"}) is None


def test_an_empty_name_has_a_count_of_its_own(user: User) -> None:
    with use_tenant(f"t-{uuid.uuid4().hex}"):
        for _ in range(7):
            authenticate(None, username="", password="wrong")
        assert lockout.is_account_locked("").locked
        assert not lockout.is_account_locked(user.username).locked
    assert passwordcount.checks() == 5


@pytest.mark.parametrize("credentials", [{}, {"username": "siti"}, {"password": "x"}, {"token": "t"}])
def test_what_the_model_backend_does_not_check_is_not_counted(
    user: User, credentials: dict[str, str], raw: Any
) -> None:
    assert authenticate(None, **credentials) is None
    assert passwordcount.checks() == 0
    assert lockout.is_account_locked("siti").failures == 0


@both
def test_an_inactive_account_counts_as_a_failure(user: User, is_async: bool) -> None:
    user.is_active = False
    user.save()
    assert log_in(is_async, username=user.username, password=RIGHT) is None
    assert lockout.is_account_locked(user.username).failures == 1


def test_the_tenant_in_force_is_counted(user: User) -> None:
    with use_tenant("sppg-jakarta-001"):
        for _ in range(6):
            authenticate(None, username=user.username, password="wrong")
    with use_tenant("sppg-bogor-002"):
        assert authenticate(None, username=user.username, password=RIGHT) == user


@both
def test_a_backend_of_another_package_is_guarded(who: str, settings: Any, is_async: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = here("GuardedPlain")
    GuardedPlain.calls = 0
    for _ in range(4):
        log_in(is_async, username=who, password="wrong")
    assert log_in(is_async, username=who, password=RIGHT).username == who
    for _ in range(9):
        log_in(is_async, username=who, password="wrong")
    assert GuardedPlain.calls == 10
    assert log_in(is_async, username=who, password=RIGHT, second="factor") is None
    assert GuardedPlain.calls == 10, "credentials that the backend does not take are not for it"


@both
def test_a_backend_whose_async_calls_its_sync_is_counted_once(who: str, settings: Any, is_async: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = here("GuardedOnlySync")
    log_in(is_async, username=who, password="wrong")
    assert lockout.is_account_locked(who).failures == 1


@both
def test_a_token_names_nobody_and_is_not_counted(settings: Any, is_async: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = here("GuardedToken")
    assert log_in(is_async, token="bad") is None
    assert log_in(is_async, token="good").username == "machine"


@both
def test_two_guarded_backends_are_one_debit(user: User, settings: Any, is_async: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = [READY_MADE, *here("GuardedOnlySync")]
    for failures in (1, 2, 3):
        log_in(is_async, username=user.username, password="wrong")
        assert lockout.is_account_locked(user.username).failures == failures
    assert log_in(is_async, username=user.username, password="the second password").pk == 2
    assert lockout.is_account_locked(user.username).failures == 0


@both
def test_the_second_backend_is_asked_on_the_last_attempt_too(user: User, settings: Any, is_async: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = [READY_MADE, *here("GuardedOnlySync")]
    for _ in range(4):
        log_in(is_async, username=user.username, password="wrong")
    assert log_in(is_async, username=user.username, password="the second password").pk == 2
    assert not lockout.is_account_locked(user.username).locked


def test_with_two_backends_a_new_call_is_a_new_debit_whatever_the_password(user: User, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [READY_MADE, *here("GuardedOnlySync")]
    for number in range(20):
        authenticate(None, username=user.username, password=f"wrong-{number % 2}")
    assert passwordcount.checks() == 5


def test_credentials_that_cannot_be_compared_are_paid_for_by_each_backend(who: str, settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = here("GuardedOnlySync", "Failing")
    authenticate(None, username=who, password="wrong", device=object())
    assert lockout.is_account_locked(who).failures == 2


@both
def test_a_backend_that_breaks_down_counts_as_a_failure(who: str, settings: Any, is_async: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = here("GuardedDirectory")
    for _ in range(5):
        with pytest.raises(ConnectionRefusedError):
            log_in(is_async, username=who, password=RIGHT)
    assert lockout.is_account_locked(who).locked
    assert log_in(is_async, username=who, password=RIGHT) is None


@both
def test_a_backend_that_forbids_counts_as_a_failure(who: str, settings: Any, is_async: bool) -> None:
    settings.AUTHENTICATION_BACKENDS = [*here("GuardedForbidding"), READY_MADE]
    assert log_in(is_async, username=who, password=RIGHT) is None
    assert lockout.is_account_locked(who).failures == 1


def test_the_guard_keeps_what_the_backend_can_do(user: User) -> None:
    assert issubclass(LockoutModelBackend, ModelBackend)
    assert LockoutModelBackend().get_user(user.pk) == user
    assert LockoutModelBackend().get_all_permissions(user) == set()
