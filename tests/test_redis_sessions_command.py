"""``manage.py redis_sessions``: tables for people, JSON for programs, and what each exit code means."""

import json
from contextlib import suppress
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command

from bergizi_redis import keys, signals
from bergizi_redis.sessions import importing
from bergizi_redis.sessions import service as sessions
from bergizi_redis.sessions.backend import SessionStore
from bergizi_redis.sessions.identity import sid_of
from bergizi_redis.sessions.info import Session
from bergizi_redis.sessions.sources import source_of
from tests.servers import PrivateServer

DB = "django.contrib.sessions.backends.db"
JAKARTA, BANDUNG = "sppg-jakarta-001", "sppg-bandung-002"


def run(*words: str) -> str:
    out = StringIO()
    call_command("redis_sessions", "--no-color", *words, stdout=out)
    return out.getvalue()


def code_of(*words: str) -> tuple[int, str]:
    out, err = StringIO(), StringIO()
    with pytest.raises((SystemExit, CommandError)) as caught:
        call_command("redis_sessions", "--no-color", *words, stdout=out, stderr=err)
    code: Any = getattr(caught.value, "code", None) or getattr(caught.value, "returncode", 0)
    return int(code), f"{caught.value}{out.getvalue()}{err.getvalue()}"


def made(user: str = "u1", tenant: str = JAKARTA) -> Session:
    return sessions.create_session(user, tenant, "COOK", "SPPG_USER", "u@sppg.id", "U", [], ip="10.1.2.3")


def test_a_list_shows_public_ids_and_no_keys() -> None:
    first, second = made(), made("u2")
    text = run("list", "--tenant", JAKARTA)
    assert text.startswith("SID")
    assert first.sid in text
    assert second.sid in text
    assert first.key not in text
    assert "10.1.2.3" in text
    assert run("list", "--user", "u1").count("\n") == 2
    assert run("list", "--user", "u1", "--tenant", BANDUNG) == "There are no sessions.\n"


def test_everybody_is_signed_out_in_one_command() -> None:
    both = made(), made("u2", BANDUNG)
    assert run("revoke", "--everybody", "--reason", "a stolen backup") == "Ended 2 sessions.\n"
    assert not any(sessions.validate_session(session.key) for session in both)
    assert code_of("revoke", "--everybody")[0] == 1


def test_a_long_list_is_cut_and_says_so() -> None:
    for _ in range(3):
        made()
    assert "1 of 3; --limit shows more." in run("list", "--user", "u1", "--limit", "1")
    assert "2 of 3; --limit shows more." in run("list", "--tenant", JAKARTA, "--limit", "2")
    assert len(json.loads(run("list", "--user", "u1", "--json"))) == 3


def test_json_holds_what_the_service_returns() -> None:
    session = made()
    (info,) = json.loads(run("list", "--user", "u1", "--json"))
    assert (info["public_id"], info["tenant"], info["role"]) == (session.sid, JAKARTA, "COOK")
    assert "key" not in info


def test_counts_of_a_tenant() -> None:
    made()
    assert json.loads(run("stats", "--tenant", JAKARTA, "--json"))["live"] == 1
    assert "live" in run("stats", "--tenant", JAKARTA)


def test_sessions_of_no_tenant_are_named_by_an_at_sign() -> None:
    made("u1")
    store = SessionStore()
    store["_auth_user_id"] = "u1"
    store.save()
    assert [info["public_id"] for info in json.loads(run("list", "--tenant", "@", "--json"))] == [store.sid]
    both = json.loads(run("list", "--user", "u1", "--tenant", "@", "--json"))
    assert [info["public_id"] for info in both] == [store.sid]
    assert json.loads(run("stats", "--tenant", "@", "--json"))["live"] == 1


def test_a_sweep_tells_of_what_has_run_out(raw: "redis.Redis") -> None:
    session = made()
    for name in (keys.user_sessions("u1"), keys.tenant_sessions(JAKARTA)):
        raw.zadd(name, {session.sid: 1000.0})
    raw.delete(keys.session(session.sid))
    assert run("sweep") == "Told of 1 session that ran out.\n"
    assert json.loads(run("sweep", "--json")) == {"expired": 0}


def test_sessions_are_ended_by_sid_user_and_tenant() -> None:
    first = made()
    assert run("revoke", first.sid) == "Ended 1 session.\n"
    assert code_of("revoke", first.sid)[0] == 1
    made()
    made()
    assert run("revoke", "--user", "u1") == "Ended 2 sessions.\n"
    other, kept = made("u3", BANDUNG), made("u3")
    assert code_of("revoke", other.sid, "--tenant", JAKARTA)[0] == 1, "another tenant's sid is not found"
    assert json.loads(run("revoke", "--tenant", BANDUNG, "--json")) == {"ended": 1}
    assert sessions.validate_session(kept.key) is not None


def test_what_a_command_ends_is_told_with_its_reason() -> None:
    told: list[tuple[str, str]] = []

    def note(actor: str, reason: str, **_: Any) -> None:
        told.append((actor, reason))

    first = made()
    made()
    made("u2")
    signals.sessions_revoked.connect(note)
    try:
        for words in ([first.sid], ["--user", "u1"], ["--tenant", JAKARTA]):
            run("revoke", *words, "--reason", "phone lost")
    finally:
        signals.sessions_revoked.disconnect(note)
    assert told == [("manage.py redis_sessions", "phone lost")] * 3


@pytest.mark.parametrize("action", [["list", "--user", "u1"], ["stats", "--tenant", JAKARTA], ["doctor"]])
def test_into_a_pipe_there_is_plain_text(action: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made()
    monkeypatch.setattr("bergizi_redis.management.commands.redis_sessions.server_faults", lambda: ["It is ill."])
    out = StringIO()
    with suppress(SystemExit):
        call_command("redis_sessions", *action, stdout=out)
    assert out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list"], "--user U"), (["stats"], "--tenant T"), (["revoke"], "Say which"), (["import"], "--from ENGINE"),
        (["list", "abc"], "goes with revoke"), (["revoke", "--everybody", "--tenant", JAKARTA], "goes with no SID"),
        (["list", "--everybody"], "goes with revoke"), (["import", "--from", "no.engine"], "no.engine"),
        (["revoke", "abc", "--user", "u1"], "not both"), (["list", "--tenant", "a b"], "not a tenant id"),
    ],
)  # fmt: skip
def test_a_misuse_says_what_to_write(words: list[str], said: str) -> None:
    code, text = code_of(*words)
    assert code == 2
    assert said in text


def test_redis_down_is_exit_code_2(server: PrivateServer) -> None:
    server.kill()
    code, text = code_of("list", "--user", "u1")
    assert code == 2
    assert "session store" in text


def test_the_doctor_exits_1_until_it_has_repaired(raw: "redis.Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    session = made()
    monkeypatch.setattr("bergizi_redis.management.commands.redis_sessions.server_faults", list)
    assert "All is well" in run("doctor")
    raw.persist(keys.session(session.sid))
    code, text = code_of("doctor")
    assert code == 1
    assert "--repair puts them right" in text
    assert "They are repaired" in run("doctor", "--repair")
    assert json.loads(run("doctor", "--json"))["found"] == {}


@pytest.fixture
def rows(db: None) -> list[str]:
    """Keys of three sessions that Django's database has."""
    found = []
    for number in range(3):
        store = import_module(DB).SessionStore()
        store["cart"] = number
        store.set_expiry(3600 * (number + 1))
        store.create()
        found.append(str(store.session_key))
    return found


def test_an_import_brings_in_all_and_twice_does_no_harm(rows: list[str]) -> None:
    assert run("import", "--from", DB) == "3 moved.\n"
    assert [SessionStore(key)["cart"] for key in rows] == [0, 1, 2]
    SessionStore(rows[0]).delete()
    assert json.loads(run("import", "--from", DB, "--json")) == {"ended": 1, "there": 2}


def test_an_import_goes_on_where_it_was_interrupted(rows: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "NOTE_EVERY", 1)
    stopped = importing.bring_in(importing_source())
    next(stopped), next(stopped), next(stopped)
    stopped.close()
    assert json.loads(run("import", "--from", DB, "--resume", "--json")) == {"there": 2}
    assert run("import", "--from", DB) == "3 there.\n"


def importing_source() -> Any:
    return source_of(DB)


def test_no_key_of_a_cookie_is_left_in_redis(
    rows: list[str], raw: "redis.Redis", prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "NOTE_EVERY", 1)
    stopped = importing.bring_in(importing_source())
    next(stopped), next(stopped)
    names = list(raw.scan_iter(match=f"{prefix}*"))
    kept = b" ".join([*names, *(raw.dump(name) or b"" for name in names)])
    assert sid_of(rows[0])[2:].encode() in kept
    assert not any(key.encode() in kept for key in rows)


def test_what_cannot_be_kept_here_is_said_and_the_rest_moves(rows: list[str], settings: Any) -> None:
    store = import_module(DB).SessionStore()
    store["large"] = "x" * 2000
    store.create()
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_MAX_BYTES": 1000}
    code, text = code_of("import", "--from", DB)
    assert code == 1
    assert "1 failed, 3 moved." in text
    assert "SESSION_MAX_BYTES" in text
