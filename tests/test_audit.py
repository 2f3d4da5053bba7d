"""The audit trail: what is written, what is not, and how an attack on it shows.

Guards that were taken out and seen red: the comparison of the head, the count and the seal's place in
``audit_append.lua``; the claim ``keep`` in an event (cutting off the oldest); ``after`` of what had to wait (taking one
of a burst away); the mode and the trail in a mac; time and count in a link; the nonce (writing an event again); the end
that an anchor remembers; trimming what waits.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.http import HttpRequest
from hypothesis import given
from hypothesis import strategies as st

from bergizi_redis import auditkeys, keys
from bergizi_redis.auditkeys import user_trail
from bergizi_redis.security import audit
from bergizi_redis.security.chain import CHAINED, Head, Signer
from bergizi_redis.security.entries import AGENT, LONGEST, cleaned, plain
from bergizi_redis.security.trails import HEADS
from bergizi_redis.security.vocabulary import LEVELS, NAME
from tests.spoken import WAYS, Spoken

EVENT = "authn_login_success"
Commands = Callable[[], AbstractContextManager[list[str]]]


@pytest.fixture(autouse=True)
def no_heads() -> Iterator[None]:
    HEADS.clear()
    yield
    HEADS.clear()


@pytest.fixture(params=WAYS)
def spoken(request: pytest.FixtureRequest) -> Spoken:
    return Spoken(audit, request.param)


def fill(count: int = 5, user: str = "budi") -> None:
    for number in range(1, count + 1):
        audit.record(EVENT, user, tenant="sppg-1", ip="10.0.0.7", reason=f"number {number}")


def foreign_writer() -> None:
    """As another process would: without knowing where the chain ends."""
    HEADS.clear()


# Writing and reading


def test_an_event_is_read_as_it_was_written(spoken: Spoken) -> None:
    request = HttpRequest()
    request.META = {"REMOTE_ADDR": "192.168.1.100", "HTTP_USER_AGENT": "Mozilla/5.0", "HTTP_X_REQUEST_ID": "r-1"}
    written = spoken.record(
        "authz_change", "budi", tenant="sppg-1", actor="admin", reason="promoted", details={"role": "chef"},
        request=request,
    )  # fmt: skip
    (read,) = spoken.events("budi")
    assert read == written
    assert (read.event, read.user_id, read.tenant, read.actor, read.outcome, read.network, read.agent) == (
        "authz_change", "budi", "sppg-1", "admin", "success", "192.168.1.100", "Mozilla/5.0",
    )  # fmt: skip
    assert (read.reason, read.request_id, read.details, read.seq) == ("promoted", "r-1", {"role": "chef"}, 1)
    assert spoken.verify("budi")


def test_the_time_is_that_of_the_server(spoken: Spoken, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 86_400.0)
    before = raw.time()
    entry = spoken.record(EVENT, "budi")
    after = raw.time()
    assert before[0] - 1 < entry.at.timestamp() < after[0] + 1
    assert spoken.events("budi", since=entry.at) == [entry]
    assert spoken.events("budi", since=entry.at + timedelta(milliseconds=1)) == []
    assert spoken.events("budi", since=entry.at.timestamp() - 1) == [entry]


def test_events_come_oldest_first_the_newest_of_them_and_of_one_tenant_where_asked() -> None:
    for number in range(4):
        audit.record(EVENT, "budi", tenant=f"sppg-{number % 2}", reason=str(number))
    assert [entry.reason for entry in audit.events("budi")] == ["0", "1", "2", "3"]
    assert [entry.reason for entry in audit.events("budi", limit=2)] == ["2", "3"]
    assert [entry.reason for entry in audit.events("budi", tenant="sppg-1")] == ["1", "3"]


def test_who_is_unknown_shares_a_trail_of_the_tenant() -> None:
    audit.record("authn_login_fail", tenant="sppg-1", reason="unknown")
    audit.record("authn_login_fail", tenant="sppg-2", reason="unknown")
    audit.record("authn_login_fail", reason="unknown")
    for tenant in ("sppg-1", "sppg-2", None):
        assert [entry.tenant for entry in audit.events(tenant=tenant)] == [tenant]
        assert audit.verify(tenant=tenant)


def test_no_personal_data_stands_in_a_key(raw: Any, prefix: str) -> None:
    audit.record(EVENT, "budi@gizi.id", tenant="sppg-1")
    names = {name.decode() for name in raw.scan_iter(match=f"{prefix}*") if not name.endswith(b":epoch")}
    assert names == {keys.audit("budi@gizi.id"), auditkeys.chain(user_trail("budi@gizi.id"))}
    assert not [name for name in names if "budi" in name or "gizi" in name]
    assert all(raw.pttl(name) > 0 for name in names)


@pytest.mark.parametrize("event", ["", "login", "Authn_Login", "a_b", "authn login", "authn_login_fail\n", 7, None])
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(ValueError, match="is no name of an event: use lower case"):
        audit.record(event, "budi")


def test_the_vocabulary_keeps_its_own_rule() -> None:
    assert all(NAME.fullmatch(name) for name in LEVELS)


def test_a_time_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match="unix seconds"):
        audit.events("budi", since="yesterday")  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", ["maybe", "SUCCESS"])
def test_an_outcome_is_one_of_four(outcome: str) -> None:
    with pytest.raises(ValueError, match="is no outcome: use one of success, failure"):
        audit.record(EVENT, "budi", outcome=outcome)


# What must not stand in a trail


@pytest.mark.parametrize(
    "name",
    ["password", "new_password2", "Passphrase", "passwd", "pwd", "secret", "client_secret", "token", "access-token",
     "Cookie", "Set-Cookie", "Authorization", "session_key", "sessionid", "csrfmiddlewaretoken", "X-Api-Key", "apikey",
     "otp", "otp_code", "pin", "cvv", "card_number", "private_key", "password_hash", "credentials"],
)  # fmt: skip
def test_a_field_that_is_called_like_a_secret_is_refused_wherever_it_stands(name: str, raw: Any) -> None:
    for details in ({name: "hunter2"}, {"form": {name: "hunter2"}}, {"rows": [{name: "hunter2"}]}):
        with pytest.raises(audit.SecretRefused, match="is called like a secret"):
            audit.record(EVENT, "budi", details=details)
    assert not raw.exists(keys.audit("budi"))


@pytest.mark.parametrize("name", ["role", "sid", "scope", "passed", "failures", "shipping", "spinach"])
def test_other_fields_are_not(name: str) -> None:
    assert cleaned({name: 1}) == {name: 1}


@given(text=st.text(st.characters(), max_size=300))
def test_text_is_one_cut_line_without_anything_that_steers_a_terminal(text: str) -> None:
    shown = plain(text)
    assert len(shown) <= LONGEST
    assert shown.splitlines() in ([shown], [])
    assert shown.isprintable()
    shown.encode()


def test_a_user_agent_writes_no_line_of_its_own_and_is_cut(spoken: Spoken) -> None:
    agent = "Mozilla\r\n2026 authn_login_success admin \x1b[31m\u202e" + "x" * 5000
    spoken.record(EVENT, "budi", user_agent=agent)
    (entry,) = spoken.events("budi")
    assert entry.agent is not None
    assert entry.agent.startswith("Mozilla\\u000d\\u000a2026 authn_login_success admin \\u001b[31m\\u202ex")
    assert len(entry.agent) <= AGENT


@pytest.mark.parametrize(
    ("mode", "network", "agent"),
    [("full", "10.20.30.40", "curl/8"), ("prefix", "10.20.30.0/24", "curl/8"), ("hash", "#", "curl/8"),
     ("off", None, None)],
)  # fmt: skip
def test_privacy_says_what_is_kept_of_the_client(settings: Any, mode: str, network: str | None, agent: str) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "SESSION_CLIENT_PRIVACY": mode}
    entry = audit.record(EVENT, "budi", ip="::ffff:10.20.30.40", user_agent="curl/8")
    assert entry.agent == agent
    assert (entry.network or "")[: len(network or "")] == (network or "")
    assert "10.20.30.40" not in str(entry) or mode == "full"


# Round trips


def test_an_event_is_one_round_trip_and_one_more_where_another_process_wrote_last(commands: Commands) -> None:
    audit.record(EVENT, "other")  # the server knows the script
    with commands() as first:
        audit.record(EVENT, "budi")
    with commands() as next_one:
        audit.record(EVENT, "budi")
    foreign_writer()
    with commands() as moved:
        audit.record(EVENT, "budi")
    with commands() as warm:
        audit.record(EVENT, "budi")
    assert [len(log) for log in (first, next_one, moved, warm)] == [1, 1, 2, 1]
    assert audit.verify("budi").events == 4


def test_reading_and_verifying_are_one_round_trip(commands: Commands) -> None:
    fill()
    audit.verify("budi")
    with commands() as log:
        audit.events("budi")
    assert len(log) == 1
    with commands() as log:
        audit.verify("budi")
    assert len(log) == 1


# Retention


def test_a_trail_is_bounded_and_whole_all_the_same(settings: Any, raw: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_MAXLEN": 10}
    for number in range(25):
        if number % 3 == 0:
            foreign_writer()
        fill(1)
    assert raw.xlen(keys.audit("budi")) == 10
    verdict = audit.verify("budi")
    assert (verdict.ok, verdict.events, verdict.trimmed, verdict.seq) == (True, 10, 15, 25)
    assert raw.hlen(auditkeys.chain(user_trail("budi"))) < 20


def test_what_is_older_than_the_retention_goes_with_the_next_event(settings: Any, raw: Any) -> None:
    fill(3)
    age(raw, "budi", hours=31 * 24)
    HEADS.clear()
    entry = audit.record(EVENT, "budi")
    assert audit.events("budi") == [entry]
    assert (entry.seq, audit.verify("budi").trimmed, audit.verify("budi").ok) == (4, 3, True)


def test_a_longer_retention_or_a_wider_cap_set_later_is_no_tampering(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_MAXLEN": 10}
    fill(20)
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_MAXLEN": 1000, "AUDIT_RETENTION": 365 * 86400}
    fill(1)
    assert audit.verify("budi").ok


def age(raw: Any, user: str, hours: int) -> None:
    """Write the trail anew as if its events had been written so long ago, by one who holds the key."""
    trail, signer = user_trail(user), Signer.in_force()
    name, chain = auditkeys.trail(trail), auditkeys.chain(trail)
    rows = raw.xrange(name)
    raw.delete(name)
    head = Head()
    for entry_id, fields in rows:
        ms, _, place = entry_id.decode().partition("-")
        older = f"{int(ms) - hours * 3_600_000}-{place}"
        mac = signer.mac(trail, CHAINED, fields[b"nonce"].decode(), fields[b"event"].decode())
        link = signer.link(trail, head, fields[b"seq"].decode(), mac)
        raw.xadd(name, {**fields, b"mac": mac, b"link": link}, id=older)
        head = Head(fields[b"seq"].decode(), link, older, "")
    raw.hset(chain, mapping={"link": head.link, "id": head.id, "sealed": head.sealed})


# Coming again


def test_events_that_come_again_are_counted_on_the_last_one(spoken: Spoken, raw: Any) -> None:
    fill(2)
    for _ in range(50):
        again("budi", same="locked")
    first, second, locked = spoken.events("budi")
    assert (first.times, second.times, locked.times) == (0, 0, 49)
    assert locked.last is not None
    assert locked.last >= locked.at
    assert raw.xlen(keys.audit("budi")) == 3
    fill(1)
    again("budi", same="locked")
    assert [entry.times for entry in audit.events("budi")] == [0, 0, 49, 0, 0]
    assert spoken.verify("budi")


def again(user: str, same: str, same_ms: int = 0) -> audit.Entry:
    from bergizi_redis.security.recording import drafted, recorded
    from bergizi_redis.security.steps import run

    return run(recorded(drafted("authn_login_fail", user, {"reason": "locked"}, same, same_ms)))


def test_a_flood_while_locked_pushes_no_evidence_out(settings: Any, raw: Any, prefix: str) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_MAXLEN": 10}
    fill(3)
    again("budi", "locked")
    names = set(raw.scan_iter(match=f"{prefix}*"))
    size = sum(raw.memory_usage(name) or 0 for name in names)
    for _ in range(500):
        again("budi", "locked")
    assert [entry.reason for entry in audit.events("budi")] == ["number 1", "number 2", "number 3", "locked"]
    assert audit.events("budi")[-1].times == 500
    assert set(raw.scan_iter(match=f"{prefix}*")) == names
    assert sum(raw.memory_usage(name) or 0 for name in names) < size + 200
    assert audit.verify("budi")


def test_a_window_ends_the_counting(raw: Any) -> None:
    again("budi", "unknown", same_ms=600_000)
    again("budi", "unknown", same_ms=600_000)
    raw.hincrby(auditkeys.chain(user_trail("budi")), "since", -600_001)
    again("budi", "unknown", same_ms=600_000)
    assert [entry.times for entry in audit.events("budi")] == [1, 0]
    assert audit.verify("budi")


# Tampering


class Attacker:
    """Reads and writes Redis, and does not hold the key."""

    def __init__(self, raw: Any, user: str = "budi") -> None:
        self.raw = raw
        self.trail = user_trail(user)
        self.name, self.chain = auditkeys.trail(self.trail), auditkeys.chain(self.trail)

    def rows(self) -> list[Any]:
        rows: list[Any] = self.raw.xrange(self.name)
        return rows

    def rewrite(self, rows: list[Any]) -> None:
        self.raw.delete(self.name)
        for entry_id, fields in rows:
            self.raw.xadd(self.name, fields, id=entry_id)

    def forget_number(self, rows: list[Any], place: int) -> list[Any]:
        """Without one row, the others numbered on."""
        kept = [row for number, row in enumerate(rows) if number != place]
        return [(entry_id, {**fields, b"seq": str(number)}) for number, (entry_id, fields) in enumerate(kept, 1)]


@pytest.fixture
def attacker(raw: Any) -> Attacker:
    fill()
    assert audit.verify("budi").ok
    return Attacker(raw)


def found(user: str = "budi") -> list[tuple[int, str]]:
    verdict = audit.verify(user)
    assert not verdict
    return [(problem.seq, problem.what) for problem in verdict.problems]


@pytest.mark.parametrize("place", range(5))
def test_an_event_that_is_deleted_is_missed(attacker: Attacker, place: int) -> None:
    attacker.raw.xdel(attacker.name, attacker.rows()[place][0])
    expected = "the newest events are gone: 5" if place == 4 else f"events are gone before it: {place + 1}"
    assert any(expected in what for _, what in found())


@pytest.mark.parametrize("place", range(5))
def test_so_it_is_where_the_others_are_numbered_on(attacker: Attacker, place: int) -> None:
    attacker.rewrite(attacker.forget_number(attacker.rows(), place))
    attacker.raw.hset(attacker.chain, mapping={"seq": 4, "sealed": 4})
    assert {seq for seq, _ in found()} & {place, place + 1}


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("field", [b"event", b"nonce", b"mac", b"link"])
def test_a_field_that_is_changed_is_named(attacker: Attacker, place: int, field: bytes) -> None:
    rows = attacker.rows()
    value = rows[place][1][field]
    rows[place][1][field] = value.replace(b"10.0.0.7", b"10.0.0.8") if field == b"event" else value[:-1] + b"x"
    attacker.rewrite(rows)
    assert place + 1 in {seq for seq, _ in found()}


@pytest.mark.parametrize("added", ["note 1", "event {}", "seq 3"])
def test_a_field_that_is_added_or_there_twice_is_named(attacker: Attacker, added: str) -> None:
    """Other readers than ours might show the added one."""
    rows = attacker.rows()
    attacker.rewrite(rows[:2])
    pairs = [text for pair in rows[2][1].items() for text in pair]
    attacker.raw.execute_command("XADD", attacker.name, rows[2][0], *added.split(), *pairs)
    for entry_id, fields in rows[3:]:
        attacker.raw.xadd(attacker.name, fields, id=entry_id)
    assert found() == [(3, "something was added to it")]


def test_so_is_a_number_with_a_nought_before_it(attacker: Attacker) -> None:
    rows = attacker.rows()
    rows[2][1][b"seq"] = b"03"
    attacker.rewrite(rows)
    assert found() == [(3, "something was added to it")]


@pytest.mark.parametrize("field", [b"event", b"nonce", b"mac", b"link", b"seq"])
def test_a_field_that_is_taken_away_is_named(attacker: Attacker, field: bytes) -> None:
    rows = attacker.rows()
    del rows[2][1][field]
    attacker.rewrite(rows)
    assert {seq for seq, _ in found()} & {0, 3, 4}


def test_a_time_that_is_moved_is_named(attacker: Attacker) -> None:
    rows = attacker.rows()
    ms = int(rows[0][0].partition(b"-")[0]) - 5
    attacker.rewrite([(f"{ms}-0".encode(), rows[0][1]), *rows[1:]])
    assert found()[0] == (2, "it does not follow from event 1: one of them was changed in time, count or place")


def test_a_count_that_is_changed_is_named_once_another_event_follows(attacker: Attacker) -> None:
    for _ in range(3):
        again("budi", "locked")
    fill(1)
    assert audit.verify("budi")
    attacker.raw.hdel(attacker.chain, "a6")
    assert found() == [(7, "it does not follow from event 6: one of them was changed in time, count or place")]


def test_events_that_change_places_are_named(attacker: Attacker) -> None:
    rows = attacker.rows()
    swapped = [rows[0], (rows[1][0], rows[2][1]), (rows[2][0], rows[1][1]), *rows[3:]]
    attacker.rewrite(swapped)
    assert {2, 3} <= {seq for seq, _ in found()}
    for number, (_, fields) in enumerate(swapped, 1):
        fields[b"seq"] = str(number).encode()
    attacker.rewrite(swapped)
    assert {2, 3} <= {seq for seq, _ in found()}


def test_what_is_inserted_is_named(attacker: Attacker) -> None:
    rows = attacker.rows()
    attacker.raw.xadd(attacker.name, {**rows[1][1], b"seq": b"6"})
    attacker.raw.hset(attacker.chain, "seq", 6)
    assert "it is there twice" in {what for seq, what in found() if seq == 6}
    attacker.raw.delete(attacker.name)
    attacker.rewrite([*rows, (b"9999999999999-0", {**rows[4][1], b"seq": b"6", b"nonce": b"new"})])
    assert "its mac is wrong: it was changed, or is not of this trail" in {what for seq, what in found() if seq == 6}


def test_another_users_event_or_whole_trail_is_not_taken_for_this_ones(attacker: Attacker) -> None:
    fill(5, user="rina")
    other = Attacker(attacker.raw, "rina")
    rows = attacker.rows()
    attacker.rewrite([*rows[:2], (rows[2][0], other.rows()[2][1]), *rows[3:]])
    assert (3, "its mac is wrong: it was changed, or is not of this trail") in found()
    attacker.raw.rename(other.name, attacker.name)
    attacker.raw.rename(other.chain, attacker.chain)
    assert {seq for seq, what in found() if "is not of this trail" in what} == {1, 2, 3, 4, 5}


def test_cutting_off_the_newest_is_noticed(attacker: Attacker) -> None:
    for entry_id, _ in attacker.rows()[3:]:
        attacker.raw.xdel(attacker.name, entry_id)
    assert (5, "the newest events are gone: 4 to 5") in found()
    attacker.raw.hset(attacker.chain, mapping={"seq": 3, "sealed": 3})
    assert (3, "the chain ends elsewhere: its end was changed, or this event was") in found()


def test_cutting_off_the_oldest_is_noticed_however_it_is_dressed(attacker: Attacker) -> None:
    rows = attacker.rows()
    for entry_id, _ in rows[:2]:
        attacker.raw.xdel(attacker.name, entry_id)
    assert found()[0] == (3, "events are gone before it: 1 to 2")
    floor = {"floor_seq": 2, "floor_id": rows[1][0], "floor_link": rows[1][1][b"link"], "floor_again": ""}
    attacker.raw.hset(attacker.chain, mapping=floor)
    assert found() == [(2, "the oldest events are gone before their time: up to 2")]
    attacker.raw.hset(attacker.chain, "floor_id", "1000-0")
    assert found()[0][0] == 3


def test_deleting_the_end_of_the_chain_or_all_events_is_noticed(attacker: Attacker) -> None:
    chain = attacker.raw.hgetall(attacker.chain)
    attacker.raw.delete(attacker.chain)
    assert (0, "the end of the chain is gone") in found()
    attacker.raw.hset(attacker.chain, mapping=chain)
    attacker.raw.delete(attacker.name)
    assert (5, "the newest events are gone: 1 to 5") in found()


def test_a_link_cannot_be_taken_away_so_that_an_event_counts_as_one_that_waits(attacker: Attacker) -> None:
    rows = attacker.rows()
    for _, fields in rows[2:]:
        del fields[b"link"]
    attacker.rewrite(attacker.forget_number(rows, 3))
    last = {"seq": 4, "sealed": 2, "link": rows[1][1][b"link"], "id": rows[1][0]}
    attacker.raw.hset(attacker.chain, mapping=last)
    assert {3, 4} <= {seq for seq, _ in found()}


def test_a_key_that_is_not_known_is_named_and_the_known_ones_verify(settings: Any, attacker: Attacker) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_KEY": "another"}
    fill(1)
    assert all("signed with a key that is not known here" in what for seq, what in found() if seq < 6 and "mac" in what)
    assert {seq for seq, _ in found()} >= {1, 2, 3, 4, 5}
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_KEY": ["another", settings.SECRET_KEY]}
    assert audit.verify("budi").events == 6


def test_djangos_secret_key_is_rotated_through_its_fallbacks(settings: Any, attacker: Attacker) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a new one", [settings.SECRET_KEY]
    fill(1)
    assert audit.verify("budi").ok
    settings.SECRET_KEY_FALLBACKS = []
    assert not audit.verify("budi")


def test_nonsense_in_the_place_of_a_trail_is_told_and_raises_nothing(attacker: Attacker) -> None:
    attacker.raw.xadd(attacker.name, {b"\xff": b"\xff", b"event": b"[" * 100_000, b"seq": b"\xd9\xa3"})
    attacker.raw.xadd(attacker.name, {b"seq": b"7", b"event": b'{"keep": 3}', b"nonce": b"", b"mac": b"::"})
    attacker.raw.hset(attacker.chain, mapping={"seq": "x", "a1": "x y", "floor_seq": "9" * 5000})
    assert found()
    assert len(audit.events("budi")) <= 5


def test_something_else_in_the_place_of_a_trail_is_told(attacker: Attacker, caplog: pytest.LogCaptureFixture) -> None:
    attacker.raw.set(attacker.name, "no stream")
    assert found() == [(0, "what stands in its place is no trail")]
    with pytest.raises(redis.ResponseError):
        fill(1)
    assert "number 1" in caplog.text, "the event is in the log at least"


# Anchors


def test_an_anchor_tells_that_a_trail_was_set_back(attacker: Attacker) -> None:
    kept = {name: attacker.raw.dump(name) for name in (attacker.name, attacker.chain)}
    fill(2)
    anchor = audit.anchor("budi")
    assert anchor is not None
    assert anchor.seq == 7
    assert audit.verify("budi", anchors=[anchor])
    for name, dump in kept.items():
        attacker.raw.restore(name, 0, dump, replace=True)
    assert audit.verify("budi"), "the chain alone cannot tell"
    verdict = audit.verify("budi", anchors=[anchor])
    assert [problem.what for problem in verdict.problems] == ["the trail was set back: it ends at 5, and had 7"]
    HEADS.clear()
    fill(3)
    verdict = audit.verify("budi", anchors=[anchor])
    assert [problem.what for problem in verdict.problems] == ["it is not the event that was anchored"]
    attacker.raw.delete(attacker.name, attacker.chain)
    assert not audit.verify("budi", anchors=[anchor])


def test_an_empty_trail_is_whole_and_has_no_anchor(spoken: Spoken) -> None:
    assert spoken.verify("nobody")
    assert spoken.anchor("nobody") is None
    assert spoken.events("nobody") == []


# Writers at once


def test_a_hundred_threads_write_one_trail_and_none_is_lost(raw: Any) -> None:
    barrier = threading.Barrier(100)

    def write(number: int) -> None:
        barrier.wait(60)
        audit.record(EVENT, "budi", reason=str(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    fill(1)
    verdict = audit.verify("budi")
    assert (verdict.ok, verdict.events, verdict.waiting) == (True, 101, 0)
    assert {entry.reason for entry in audit.events("budi")} == {*map(str, range(100)), "number 1"}


def burst(raw: Any, count: int = 4) -> Attacker:
    """Events that had to wait, behind a first one: each writer saw the end of the chain move, every time."""
    from bergizi_redis.security import trails

    fill(1)
    before = trails.TRIES
    try:
        trails.TRIES = 1
        for _ in range(count - 1):
            HEADS.clear()
            fill(1)
    finally:
        trails.TRIES = before
    return Attacker(raw)


def test_what_had_to_wait_is_sealed_and_as_well_kept(raw: Any) -> None:
    attacker = burst(raw)
    assert all(b"link" not in fields for _, fields in attacker.rows()[1:])
    assert audit.verify("budi").waiting == 0, "the writer itself seals it in a second step"
    fill(1)
    assert audit.verify("budi")
    rows = attacker.rows()
    for place in range(4):
        attacker.rewrite(attacker.forget_number(rows, place))
        attacker.raw.hset(attacker.chain, mapping={"seq": 4, "sealed": 4})
        assert not audit.verify("budi")
        attacker.rewrite(rows)
        attacker.raw.hset(attacker.chain, mapping={"seq": 5, "sealed": 5})
        assert audit.verify("budi")


def test_taking_away_one_of_a_burst_shows_in_what_the_next_came_after(raw: Any) -> None:
    """The chain is set back to before the burst, so that all of it waits again."""
    fill(2)
    HEADS.clear()
    attacker = Attacker(raw)
    before = raw.hgetall(attacker.chain)
    after = burst_behind(attacker)
    assert audit.verify("budi")
    rows = attacker.rows()
    attacker.rewrite(attacker.forget_number(rows, 2))
    raw.hset(attacker.chain, mapping={**before, b"seq": str(after - 1)})
    for number in range(3, after + 1):
        raw.hdel(attacker.chain, f"l{number}")
    assert not audit.verify("budi")


def burst_behind(attacker: Attacker) -> int:
    """Each event of the burst saw those before it sealed, as writers at once do but for the last milliseconds."""
    from bergizi_redis.security import trails
    from bergizi_redis.security.trails import State

    original = trails._arguments
    try:

        def forced(signer: Any, draft: Any, state: State, how: str) -> Any:
            arguments = original(signer, draft, state, how)
            if how == "force":
                arguments[3] = "nobody's count"  # the append is refused its place, what it knows stays right
            elif how == "try":
                arguments[0] = "elsewhere"
            return arguments

        trails._arguments = forced
        for _ in range(3):
            fill(1)
    finally:
        trails._arguments = original
    return len(attacker.rows())


def test_an_event_of_a_writer_that_was_killed_is_sealed_by_the_next(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from bergizi_redis.security import trails

    with monkeypatch.context() as patched:
        patched.setattr(trails, "_sealed", lambda signer, draft, state: iter_of(state))
        attacker = burst(raw, 3)
    assert (audit.verify("budi").ok, audit.verify("budi").waiting) == (True, 2)
    rows = attacker.rows()
    rows[2][1][b"event"] = rows[2][1][b"event"].replace(b"10.0.0.7", b"10.0.0.8")
    attacker.rewrite(rows)
    assert not audit.verify("budi"), "what waits is signed already"
    rows[2][1][b"event"] = rows[2][1][b"event"].replace(b"10.0.0.8", b"10.0.0.7")
    attacker.rewrite(rows)
    HEADS.clear()
    fill(1)
    assert (audit.verify("budi").ok, audit.verify("budi").waiting, audit.verify("budi").events) == (True, 0, 4)


def test_what_waits_is_not_trimmed_before_it_is_sealed(
    settings: Any, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bergizi_redis.security import trails

    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "AUDIT_MAXLEN": 10}
    with monkeypatch.context() as patched:
        patched.setattr(trails, "_sealed", lambda signer, draft, state: iter_of(state))
        burst(raw, 15)
    assert raw.xlen(keys.audit("budi")) == 14, "the first alone was in the chain"
    assert audit.verify("budi").problems == ()
    HEADS.clear()
    fill(1)
    assert (audit.verify("budi").problems, audit.verify("budi").events, audit.verify("budi").waiting) == ((), 10, 0)


def test_a_seal_that_comes_late_does_not_set_the_chain_back(raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from bergizi_redis.security import trails
    from bergizi_redis.security.recording import drafted
    from bergizi_redis.security.steps import RunScript

    with monkeypatch.context() as patched:
        patched.setattr(trails, "_sealed", lambda signer, draft, state: iter_of(state))
        attacker = burst(raw, 3)
    draft = drafted(EVENT, "budi", {})
    reply = RunScript("audit_append", trails._keys(draft.trail), seal_of(draft, trails.State(Head(), ()))).run()
    state = trails.State.of(reply[-1])
    assert len(state.waiting) == 2
    HEADS.clear()
    fill(1)
    RunScript("audit_append", trails._keys(draft.trail), seal_of(draft, state)).run()
    assert raw.hget(attacker.chain, "sealed") == b"4"
    assert audit.verify("budi").problems == ()


def seal_of(draft: Any, state: Any) -> Any:
    from bergizi_redis.security import trails

    return trails._arguments(Signer.in_force(), draft, state, "seal")


def test_what_came_again_meanwhile_is_not_forgotten_by_a_link() -> None:
    again("budi", "locked")
    place = ("default", keys.audit("budi"))
    before = HEADS.get(place)
    again("budi", "locked")  # by another process
    HEADS.put(place, before)
    fill(1)
    assert [entry.times for entry in audit.events("budi")] == [1, 0]
    assert audit.verify("budi").problems == ()


def iter_of(value: Any) -> Any:
    """A procedure without steps."""
    yield from ()
    return value


def test_json_of_an_event_is_canonical(raw: Any) -> None:
    fill(1)
    ((_, fields),) = raw.xrange(keys.audit("budi"))
    text = fields[b"event"].decode()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
