"""The breach list: what it finds and what it takes for found, its size, its one round trip, its builds that are killed.

Red, each, in a copy: progress noted before it is sent, a resume that begins anew, a guess that is not compared with the
list in force, old bitmaps that stay, new ones that keep their TTL, an outage that is an error.
"""

import asyncio
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis import breachkeys
from bergizi_redis.security import passwords
from bergizi_redis.security.breaches import building, lookup
from bergizi_redis.security.breaches.bloom import MOST_BITS, Shape, entry_of
from bergizi_redis.security.breaches.building import BreachListError, Gathered
from bergizi_redis.security.breaches.sources import LONGEST_LINE, Source
from bergizi_redis.security.steps import arun, run
from tests.moments import left_of
from tests.servers import PrivateServer
from tests.terminal import ROOT, Terminal, django_environment

Commands = Callable[[], AbstractContextManager[list[str]]]

LEAKED = [f"bocor nomor {number} sekali" for number in range(300)]


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Nothing that another test has learnt."""
    lookup._known.clear()
    yield
    lookup._known.clear()


@pytest.fixture
def asked(settings: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "PASSWORD_BREACH_LIST": True}


def file_of(tmp_path: Path, lines: list[str], name: str = "leaked.txt") -> Path:
    path = tmp_path / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass"))
    return path


def digests(words: list[str], count: int = 3) -> list[str]:
    return sorted(f"{entry_of(word).hex().upper()}:{count}" for word in words)


def build(path: Path, false_positives: float = 0.001, **options: Any) -> float:
    source = Source.of(path)
    return building.finish(building.build_on(building.begin(source, source.lines(), false_positives, **options)))


def listed(password: str) -> bool | None:
    return run(lookup.breached(password))


def said(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("build_breach_list", *words, stdout=out, **options)
    return out.getvalue()


# What it finds


@pytest.mark.parametrize("kind", ["passwords", "digests"])
def test_what_was_in_a_breach_is_refused_and_nothing_else(tmp_path: Path, asked: None, kind: str) -> None:
    build(file_of(tmp_path, LEAKED if kind == "passwords" else digests(LEAKED)))
    report = passwords.validate_password(LEAKED[7])
    assert [error.code for error in report.errors] == ["password_breached"]
    assert not report.unchecked
    assert all(listed(word) for word in LEAKED)
    assert passwords.validate_password("nasi uduk di pagi hari").valid


def test_the_share_of_false_positives_is_what_was_asked_for(tmp_path: Path) -> None:
    """20,000 entries; 20,000 others, of which 1 % may be taken for one. The digests are fixed, and so is the answer."""
    path = file_of(tmp_path, [f"leaked {number}" for number in range(20_000)])
    told = build(path, 0.01)
    redis_, shape = building.server(), building.in_force()
    assert shape is not None
    assert shape.memory <= 20_000 * 9.6 / 8 * 1.01
    bitmap = redis_.get(breachkeys.shard(shape.ident, 0))

    def is_set(password: str) -> bool:
        return all(bitmap[place >> 3] & (128 >> (place & 7)) for place in shape.places(entry_of(password)))

    assert all(is_set(f"leaked {number}") for number in range(20_000))
    wrong = sum(is_set(f"other {number}") for number in range(20_000))
    assert wrong <= 20_000 * 0.0125
    assert 0.008 < told < 0.011
    assert listed("leaked 1")


@hypothesis_settings(max_examples=80, deadline=None)
@given(st.integers(0, 2 * 10**9), st.floats(1e-6, 0.5))
def test_a_shape_fits_and_has_no_bitmap_above_8_mb(entries: int, share: float) -> None:
    shape = Shape.fit("x", entries, share)
    assert 0 < shape.bits <= MOST_BITS
    assert shape.bits % 8 == 0
    assert shape.memory * 8 >= entries * 1.44 * 0.5
    for word in ("", "nasi", "\ud800", "\x00"):
        entry = entry_of(word)
        assert 0 <= shape.shard(entry) < shape.shards
        assert all(0 <= place < shape.bits for place in shape.places(entry))
    assert Shape.read(shape.text()) == shape
    assert shape.shard(b"\xff" * 20) == shape.shards - 1


def test_a_list_of_many_bitmaps_finds_what_is_in_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bergizi_redis.security.breaches.bloom.MOST_BITS", 1 << 10)
    monkeypatch.setattr("bergizi_redis.security.breaches.bloom.LEAST_BITS", 1 << 13)
    build(file_of(tmp_path, digests(LEAKED)))
    shape = building.in_force()
    assert shape is not None
    assert shape.shards == 8
    assert all(listed(word) for word in LEAKED)
    assert not any(listed(f"other {number}") for number in range(100))


def test_redis_holds_bits_and_neither_passwords_nor_digests(tmp_path: Path, raw: "redis.Redis", prefix: str) -> None:
    build(file_of(tmp_path, LEAKED))
    for key in raw.scan_iter(match=f"{prefix}*", count=1000):
        kept = raw.dump(key) or b""
        for word in LEAKED:
            assert word.encode() not in kept + key
            assert entry_of(word) not in kept


# Reading


def test_a_file_is_read_as_a_stream_whatever_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "odd"
    path.write_bytes(b"satu\r\n\n\xff\xfe\n" + b"x" * (3 * LONGEST_LINE) + b"\ndua\nno end")
    found = list(Source.of(path).entries())
    assert [entry is not None for _, entry in found] == [True, False, True, False, True, True]
    assert found[0] == (6, entry_of("satu"))
    assert found[-1] == (path.stat().st_size, entry_of("no end"))
    assert Source.of(path).lines() == 6
    for place, (offset, _) in enumerate(found):
        assert list(Source.of(path).entries(offset)) == found[place + 1 :]


def test_what_was_seen_seldom_may_be_left_out(tmp_path: Path) -> None:
    path = file_of(tmp_path, digests(LEAKED[:5], 9) + digests(LEAKED[5:9], 10) + ["no digest", "0" * 39 + ":77"])
    build(path, at_least=10)
    assert [listed(word) for word in LEAKED[:9]] == [False] * 5 + [True] * 4


def test_an_unsorted_file_that_would_not_fit_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bergizi_redis.security.breaches.bloom.MOST_BITS", 1 << 10)
    monkeypatch.setattr(building, "MOST_BUFFERS", 4)
    with pytest.raises(BreachListError, match="must be sorted"):
        build(file_of(tmp_path, LEAKED))


# Asking


def test_asking_takes_one_round_trip_and_two_where_the_list_is_new(tmp_path: Path, commands: Commands) -> None:
    build(file_of(tmp_path, LEAKED))
    with commands() as log:
        assert listed(LEAKED[0])
    assert [line.split()[0] for line in log] == ["GET", "GET", "BITFIELD_RO"]
    with commands() as log:
        assert listed(LEAKED[1])
    assert [line.split()[0] for line in log] == ["GET", "BITFIELD_RO"]  # one pipeline


def test_a_new_list_is_in_force_at_once_and_the_old_one_serves_a_minute_more(
    tmp_path: Path, raw: "redis.Redis"
) -> None:
    build(file_of(tmp_path, LEAKED[:100]))
    assert listed(LEAKED[0])
    old = building.in_force()
    build(file_of(tmp_path, LEAKED[100:], "next.txt"))
    new = building.in_force()
    assert old is not None
    assert new is not None
    assert not listed(LEAKED[0])
    assert listed(LEAKED[200])
    life: Any = raw.pttl(breachkeys.shard(old.ident, 0))
    assert life / 1000 == left_of(60)
    assert raw.pttl(breachkeys.shard(new.ident, 0)) == -1
    assert not raw.exists(breachkeys.build())


def test_the_async_twin_asks_the_same(tmp_path: Path, asked: None) -> None:
    build(file_of(tmp_path, LEAKED))

    async def main() -> tuple[Any, Any]:
        return await arun(lookup.breached(LEAKED[3])), await passwords.avalidate_password(LEAKED[3])

    found, report = asyncio.run(main())
    assert found is True
    assert [error.code for error in report.errors] == ["password_breached"]


def test_without_a_list_the_report_says_that_nobody_looked(asked: None, caplog: pytest.LogCaptureFixture) -> None:
    report = passwords.validate_password("nasi uduk di pagi hari")
    assert report == passwords.PasswordReport(True, (), ("password_breached",))
    assert "build_breach_list" in caplog.text


def test_an_outage_refuses_nobody_and_the_report_says_so(
    asked: None, server: PrivateServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    for report in (
        passwords.validate_password("nasi uduk di pagi hari"),
        asyncio.run(passwords.avalidate_password("nasi uduk di pagi hari")),
    ):
        assert report == passwords.PasswordReport(True, (), ("password_breached",))
    assert "nasi" not in caplog.text
    assert "was not looked for" in caplog.text


def test_what_is_switched_off_asks_nothing(commands: Commands) -> None:
    with commands() as log:
        passwords.validate_password("nasi uduk di pagi hari")
    assert log == []


# Builds that are killed

KILLED = """
import os, signal, sys, django
django.setup()
from pathlib import Path
from django.conf import settings
from bergizi_redis.security.breaches import building
from bergizi_redis.security.breaches.sources import Source
settings.BERGIZI_REDIS = {"KEY_PREFIX": sys.argv[2]}
for alias in settings.CACHES.values():
    alias["LOCATION"] = sys.argv[3]
building.CHECKPOINT, building.TOLD = 100, 50

def tell(lines):
    if lines == 250:
        os.kill(os.getpid(), signal.SIGKILL)

source = Source.of(Path(sys.argv[1]))
building.build_on(building.begin(source, source.lines(), 0.001), tell)
"""


def test_a_build_that_was_killed_goes_on_where_it_was(tmp_path: Path, prefix: str, redis_url: str) -> None:
    path = file_of(tmp_path, LEAKED)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), prefix, redis_url],
        cwd=ROOT, env=django_environment(REDIS_URL=redis_url), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert building.in_force() is None
    begun = building.under_way()
    assert begun is not None
    assert begun.lines == begun.entries == 200
    with pytest.raises(CommandError, match="--resume goes on"):
        said(str(path))
    with pytest.raises(CommandError, match="another file"):
        said(str(file_of(tmp_path, LEAKED[:3], "other.txt")), resume=True)
    told = json.loads(said(str(path), resume=True, json=True))
    assert (told["lines"], told["entries"], told["list"]) == (300, 300, begun.shape.ident)
    assert all(listed(word) for word in LEAKED)
    with pytest.raises(CommandError, match="leave out --resume"):
        said(str(path), resume=True)


@pytest.mark.parametrize("step", ["before the switch", "after the switch"])
def test_one_that_was_killed_at_its_end_is_ended_again(
    tmp_path: Path, raw: "redis.Redis", monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    build(file_of(tmp_path, LEAKED[:10], "old.txt"))
    old = building.in_force()
    source = Source.of(file_of(tmp_path, LEAKED))
    done = building.build_on(building.begin(source, 300, 0.001))

    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    real = Shape.text
    with monkeypatch.context() as patched:
        if step == "after the switch":
            patched.setattr(building, "_retire", die)
        else:
            patched.setattr(Shape, "text", lambda shape: die() if shape.entries == 300 else real(shape))
        with pytest.raises(Died):
            building.finish(done)
    assert listed(LEAKED[99]) is (step == "after the switch")
    said(str(tmp_path / "leaked.txt"), resume=True)
    assert listed(LEAKED[99])
    assert old is not None
    life: Any = raw.pttl(breachkeys.shard(old.ident, 0))
    assert life / 1000 == left_of(60)
    new = building.in_force()
    assert new is not None
    assert raw.pttl(breachkeys.shard(new.ident, 0)) == -1


def test_what_was_not_sent_is_not_noted_as_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced: the process dies between reading on and sending."""
    monkeypatch.setattr(building, "CHECKPOINT", 100)
    path, real = file_of(tmp_path, LEAKED), Gathered.send
    sent = 0

    def send(gathered: Gathered) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:
            raise ZeroDivisionError
        real(gathered)

    source = Source.of(path)
    with monkeypatch.context() as patched:
        patched.setattr(Gathered, "send", send)
        with pytest.raises(ZeroDivisionError):
            building.build_on(building.begin(source, 300, 0.001))
    building.finish(building.build_on(building.resumed(source)))
    assert all(listed(word) for word in LEAKED)


def test_a_build_that_another_process_has_ended_stops(tmp_path: Path) -> None:
    source = Source.of(file_of(tmp_path, LEAKED))
    begun = building.begin(source, 300, 0.001)
    building.finish(building.build_on(building.resumed(source)))
    with pytest.raises(BreachListError, match="Another process has ended"):
        building.build_on(begun)


def test_a_list_for_which_the_server_has_no_room_is_not_begun(tmp_path: Path, server: PrivateServer) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "64mb")
    with pytest.raises(BreachListError, match="--at-least 10"):
        building.begin(Source.of(file_of(tmp_path, LEAKED)), 60_000_000, 0.001)
    assert building.under_way() is None


# The command


def test_the_command_tells_what_it_needs_before_and_what_it_found_after(tmp_path: Path) -> None:
    first, *_, last = said(str(file_of(tmp_path, LEAKED))).splitlines()
    assert first.endswith("leaked.txt: passwords. Needs 1 KB in Redis for 300 entries, 1 bitmap, 10 bits for each.")
    assert last.startswith("In force: 300 entries;")
    assert said().startswith("In force: 1 KB in Redis for 300 entries")
    assert json.loads(said(json=True))["inForce"]["bytes"] == 1025
    assert said(drop=True) == "The list is gone.\n"
    assert said() == "There is no list.\n"


def test_a_build_may_be_begun_anew(tmp_path: Path) -> None:
    path = file_of(tmp_path, LEAKED)
    begun = building.begin(Source.of(path), 300, 0.5)
    told = json.loads(said(str(path), restart=True, json=True))
    assert told["list"] != begun.shape.ident
    assert told["bitsForEach"] == 10


@pytest.mark.parametrize("wrong", [["--false-positives", "0"], ["--false-positives", "x"], ["--at-least", "0"]])
def test_a_wrong_argument_is_named(wrong: list[str]) -> None:
    with pytest.raises(CommandError, match=wrong[1]):
        said("file", *wrong)


@pytest.mark.parametrize("at_least", ["1", "4"])
def test_a_file_without_entries_takes_no_lists_place(tmp_path: Path, at_least: str) -> None:
    build(file_of(tmp_path, LEAKED))
    empty = file_of(tmp_path, [] if at_least == "1" else digests(["bocor"]), "empty.txt")
    with pytest.raises(CommandError, match="has no entry") as refusal:
        said(str(empty), "--at-least", at_least)
    assert refusal.value.returncode == 1
    assert listed(LEAKED[0])
    assert building.under_way() is None


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match=r"nowhere\.txt cannot be read") as caught:
        said("nowhere.txt")
    assert caught.value.returncode == 2


def test_an_outage_is_told_with_the_remedy(tmp_path: Path, server: PrivateServer) -> None:
    path = file_of(tmp_path, LEAKED)
    server.kill()
    with pytest.raises(CommandError, match="--resume") as caught:
        said(str(path))
    assert caught.value.returncode == 2


def test_on_a_terminal_there_is_a_bar(tmp_path: Path, server: PrivateServer) -> None:
    path = file_of(tmp_path, LEAKED)
    with Terminal("build_breach_list", str(path), REDIS_URL=server.url) as terminal:
        assert terminal.end() == 0
    assert "] 300/300 " in terminal.shown
    assert "In force: 300 entries" in terminal.shown
