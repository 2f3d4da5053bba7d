"""``redis_audit``: shows, verifies, exits 1 for a broken chain, and exports anchors that tell of a trail set back."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from bergizi_redis import keys
from bergizi_redis.auditkeys import chain, user_trail
from bergizi_redis.security import audit
from bergizi_redis.security.trails import HEADS
from tests.servers import PrivateServer, free_port


@pytest.fixture(autouse=True)
def no_heads() -> None:
    HEADS.clear()


def say(*arguments: str, code: int = 0) -> str:
    out = StringIO()
    try:
        call_command("redis_audit", *arguments, stdout=out, stderr=out, no_color=True)
        ended = 0
    except SystemExit as error:
        ended = int(error.code or 0)
    assert ended == code, out.getvalue()
    return out.getvalue()


def fill(user: str = "budi", count: int = 3) -> None:
    for number in range(count):
        audit.record("authz_admin", user, tenant="sppg-1", reason=f"number {number}")


def test_show_is_a_table_or_json() -> None:
    fill()
    audit.record("authn_login_fail", tenant="sppg-1", reason="nobody")
    text = say("show", "budi")
    assert [line.split()[2] for line in text.splitlines()] == ["OUTCOME", *["authz_admin"] * 3]
    assert "number 2" in say("show", "budi", "--limit", "1")
    assert "1 of 3" in say("show", "budi", "--limit", "1")
    assert [row["reason"] for row in json.loads(say("show", "--tenant", "sppg-1", "--json"))] == ["nobody"]
    for nothing in (["--event", "authz_fail"], ["--since", "2999-01-01"]):
        assert say("show", "budi", *nothing) == "There are no events. USER is the id of a user, not the name.\n"
    assert say("show", "--tenant", "@") == "There are no events.\n"


def test_what_an_attacker_wrote_does_not_steer_the_terminal(raw: Any) -> None:
    forged = json.dumps({"event": "x\x1b[2J", "reason": "a\r\nb", "user": "\u202e"})
    raw.xadd(keys.audit("budi"), {"seq": 1, "event": forged, "nonce": "n", "mac": "m"})
    assert all(line.isprintable() for line in say("show", "budi").splitlines())
    assert "\x1b" not in say("verify", "budi", code=1)


def test_verify_says_well_or_where_it_is_broken_and_exits_1(raw: Any) -> None:
    fill()
    fill("rina", 1)
    assert say("verify", "--all") == "2 trails whole: 4 events.\n"
    (first, *_) = raw.xrange(keys.audit("budi"))
    raw.xdel(keys.audit("budi"), first[0])
    text = say("verify", "--all", code=1)
    assert "events are gone before it: 1" in text
    assert text.endswith("1 of 2 trails is not as written.\n")
    (broken,) = json.loads(say("verify", "budi", "--json", code=1))
    assert (broken["ok"], broken["trail"], broken["problems"][0]["seq"]) == (False, user_trail("budi"), 2)
    assert say("verify", "rina") == "1 trail whole: 1 event.\n"


def test_anchors_tell_of_a_trail_that_was_set_back_or_deleted(raw: Any, tmp_path: Path) -> None:
    file = str(tmp_path / "anchors.jsonl")
    fill()
    assert say("anchor", "--all", "--file", file) == "1 anchor appended.\n"
    assert say("verify", "--all", "--file", file) == "1 trail whole: 3 events.\n"
    raw.delete(keys.audit("budi"), chain(user_trail("budi")))
    assert say("verify", "--all") == "0 trails whole: 0 events.\n"
    assert "the trail was set back: it ends at 0, and had 3" in say("verify", "--all", "--file", file, code=1)
    printed = say("anchor", "budi")
    assert printed == ""


@pytest.mark.parametrize("line", ["", "{}", "[1]", '{"trail":"a","seq":1,"id":"1-1","link":"x","at":1,"mac":"y"}'])
def test_a_file_of_anchors_that_was_edited_is_refused(tmp_path: Path, line: str) -> None:
    fill()
    file = tmp_path / "anchors.jsonl"
    say("anchor", "budi", "--file", str(file))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(CommandError, match="line 2") as caught:
        say("verify", "--all", "--file", str(file))
    assert caught.value.returncode == 2
    file.write_text(file.read_text().splitlines()[0].replace('"seq":3', '"seq":2') + "\n")
    with pytest.raises(CommandError, match="was changed"):
        say("verify", "--all", "--file", str(file))


@pytest.mark.parametrize(
    "arguments", [("show",), ("verify",), ("show", "--all"), ("verify", "budi", "--file", "/nowhere/at/all")]
)
def test_what_cannot_be_asked_exits_2(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as caught:
        say(*arguments)
    assert caught.value.returncode == 2


def test_redis_down_exits_2(settings: Any) -> None:
    caches = {**settings.CACHES}
    caches["default"] = {**caches["default"], "LOCATION": PrivateServer(port=free_port()).url}
    settings.CACHES = caches
    for arguments in (("show", "budi"), ("verify", "--all"), ("anchor", "budi")):
        with pytest.raises(CommandError, match="cannot be re") as caught:
            say(*arguments)
        assert caught.value.returncode == 2
