"""Who is locked, and opening it from the list: the tenants, the rows, ``manage.py redis_lockouts``."""

import asyncio
import io
import json
from dataclasses import replace
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from bergizi_redis import connections, keys, lockoutkeys, signals
from bergizi_redis.budget import within
from bergizi_redis.exceptions import RedisUnavailable
from bergizi_redis.security import listing, lockout
from tests.moments import left_of
from tests.roundtrips import round_trips
from tests.servers import PrivateServer

NAME, OTHER = "siti@dapur.example", "joko@dapur.example"


def locked(name: str = NAME, tenant: str | None = "sppg-a", scope: str = "password") -> str:
    """Lock the account; the tag of its row."""
    for _ in range(5):
        lockout.record_login_attempt(name, success=False, tenant=tenant, scope=scope)
    return next(row.tag for row in lockout.locked_accounts(tenant or "@") if row.scope == scope)


def lockouts(*words: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    out = io.StringIO()
    try:
        call_command("redis_lockouts", *words, stdout=out, no_color=True)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def test_tenants_with_locked_accounts_are_named_and_others_not() -> None:
    lockout.record_login_attempt(NAME, success=False, tenant="sppg-b")
    locked(tenant="sppg-c")
    locked(tenant="sppg-a")
    locked(tenant=None)
    assert listing.locked_tenants() == ["@", "sppg-a", "sppg-c"]
    assert asyncio.run(listing.alocked_tenants()) == ["@", "sppg-a", "sppg-c"]


def test_a_tenant_whose_locks_are_over_is_dropped_by_the_next_lock(raw: "redis.Redis") -> None:
    locked(tenant="sppg-a")
    raw.zadd(lockoutkeys.locking(), {"sppg-a": 1})  # its last lock opened in 1970
    locked(tenant="sppg-b")
    assert listing.locked_tenants() == ["sppg-b"]


def test_a_shorter_lock_does_not_end_the_listing_of_a_longer_one(raw: "redis.Redis", settings: Any) -> None:
    locked()
    before = raw.zscore(lockoutkeys.locking(), "sppg-a")
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "LOCKOUT_SECONDS": 10}
    locked(OTHER)
    assert raw.zscore(lockoutkeys.locking(), "sppg-a") == before
    assert 0 < int(raw.pttl(lockoutkeys.locking())) <= 24 * 3600 * 1000


def test_everywhere_names_each_tenants_rows_and_leaves_out_what_is_open() -> None:
    locked(tenant="sppg-a")
    locked(OTHER, tenant="sppg-b")
    lockout.unlock_account(OTHER, tenant="sppg-b")
    found = listing.everywhere()
    assert list(found) == ["sppg-a"]
    (row,), awaited = found["sppg-a"], asyncio.run(listing.aeverywhere())
    assert awaited == {"sppg-a": [replace(row, retry_after=left_of(1800))]}
    assert (row.scope, row.capped) == ("password", False)
    assert "siti@" not in row.identifier


@pytest.mark.parametrize(
    "unlock", [listing.unlock_listed, lambda *a, **k: asyncio.run(listing.aunlock_listed(*a, **k))]
)
def test_a_row_is_unlocked_by_its_tag_once_and_only_by_its_own_tenant(unlock: Any) -> None:
    told: list[Any] = []

    def hear(**given: Any) -> None:
        told.append((given["tenant"], given["scope"], given["by"]))

    signals.account_unlocked.connect(hear)
    try:
        tag = locked()
        assert unlock(tag, tenant="sppg-b") is False
        assert lockout.is_account_locked(NAME, tenant="sppg-a").locked
        assert unlock(tag, tenant="sppg-a") is True
        assert unlock(tag, tenant="sppg-a") is False
    finally:
        signals.account_unlocked.disconnect(hear)
    assert not lockout.is_account_locked(NAME, tenant="sppg-a").locked
    assert lockout.locked_accounts("sppg-a") == []
    assert told == [("sppg-a", "password", "administrator")]


def test_the_row_itself_goes(raw: "redis.Redis") -> None:
    listing.unlock_listed(locked(), tenant="sppg-a")
    assert raw.zcard(keys.locked_accounts("sppg-a")) == 0


def test_round_trips(server: PrivateServer) -> None:
    lockout.unlock_account(OTHER)  # the server knows the script from now on
    tag = locked()
    with round_trips(server) as trips:
        listing.locked_tenants()
    assert trips == [1]
    with round_trips(server) as trips:
        listing.unlock_listed(tag, tenant="sppg-a")
    assert trips == [4]


def test_redis_down_is_told_and_unlocks_nothing(server: PrivateServer) -> None:
    tag = locked()
    server.pause()
    with within(0.2), pytest.raises(RedisUnavailable):
        listing.locked_tenants()
    with within(0.2), pytest.raises(RedisUnavailable):
        listing.unlock_listed(tag, tenant="sppg-a")
    server.resume()
    connections.disconnect_all()
    assert lockout.is_account_locked(NAME, tenant="sppg-a").locked


def test_the_command_lists_all_tenants_as_a_table() -> None:
    tag = locked()
    code, out = lockouts("list")
    heading, row = out.splitlines()
    assert code == 0
    assert heading.split() == ["TENANT", "SCOPE", "ACCOUNT", "TAG", "OPENS", "IN"]
    assert row.split()[:2] == ["sppg-a", "password"]
    assert row.split()[3:] == [tag, row.split()[4]]
    minutes, seconds = row.split()[4].split(":")
    assert int(minutes) * 60 + int(seconds) == left_of(1800)
    assert "siti@" not in out


def test_the_command_lists_one_tenant_and_says_when_nobody_is_locked() -> None:
    locked()
    assert lockouts("list", "--tenant", "sppg-b") == (0, "No account is locked.\n")
    assert "sppg-a" in lockouts("list", "--tenant", "sppg-a")[1]


def test_json_is_one_document() -> None:
    tag = locked()
    (row,) = json.loads(lockouts("list", "--json")[1])
    assert (row["tenant"], row["tag"], row["scope"], row["capped"]) == ("sppg-a", tag, "password", False)
    assert json.loads(lockouts("unlock", "--tag", tag, "--json")[1]) == {"unlocked": {tag: True}}


def test_the_command_unlocks_by_name_and_tenant() -> None:
    locked()
    assert lockouts("unlock", NAME.upper(), "--tenant", "sppg-a") == (0, f"{NAME.upper()}: unlocked\n")
    assert not lockout.is_account_locked(NAME, tenant="sppg-a").locked


def test_a_name_without_its_tenant_is_not_found_and_the_command_says_what_it_needs() -> None:
    locked()
    code, out = lockouts("unlock", NAME)
    assert code == 1
    assert out.splitlines() == [
        f"{NAME}: was not locked", "Accounts of a tenant need --tenant T; see redis_lockouts list."
    ]  # fmt: skip


def test_a_tag_is_found_whichever_tenant_it_is_of() -> None:
    locked(OTHER, tenant="sppg-b")
    tag = locked()
    assert lockouts("unlock", "--tag", tag) == (0, f"{tag}: unlocked\n")
    assert [row.scope for row in lockout.locked_accounts("sppg-b")] == ["password"]


def test_another_scope_is_unlocked_by_naming_it() -> None:
    locked(scope="otp")
    assert lockouts("unlock", NAME, "--tenant", "sppg-a")[0] == 1
    assert lockouts("unlock", NAME, "--tenant", "sppg-a", "--scope", "otp")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["unlock"], "Say whose"),
        (["list", NAME], "goes with unlock"),
        (["list", "--tenant", "a:b"], "a:b"),
        (["unlock", NAME, "--scope", "O T P"], "is not a scope"),
    ],
)
def test_words_that_make_no_sense_are_errors(words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        lockouts(*words)
    assert caught.value.returncode == 2


def test_the_command_exits_2_when_redis_is_down(server: PrivateServer) -> None:
    server.kill()
    with pytest.raises(CommandError) as caught:
        lockouts("list")
    assert caught.value.returncode == 2
