"""``cache_stats``: a table for people, JSON for programs, and why a key misses."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command

from bergizi_redis.cache.domains import inventory, menu
from bergizi_redis.cache.stats import OTHERS
from tests.servers import PrivateServer
from tests.terminal import Terminal


def run(*words: str) -> str:
    out = StringIO()
    call_command("cache_stats", "--no-color", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def used() -> None:
    """Three hits and a miss of a, one miss of b, in two domains."""
    menu.set("sppg-a", 1, "x")
    for _ in range(3):
        menu.get("sppg-a", 1)
    inventory.get("sppg-a", 1)
    menu.get("sppg-b", 1)
    caches["default"].get("plain")


def cells(text: str) -> dict[str, list[str]]:
    """The rows of the table by their first cell."""
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


def test_the_table_shows_each_domain_and_all(used: None) -> None:
    rows = cells(run())
    assert rows["DOMAIN"][:5] == ["DOMAIN", "READS", "HITS", "NEAR", "STALE"]
    assert rows["menu"][:3] == ["menu", "4", "75.0%"]
    assert rows["inventory"][:3] == ["inventory", "1", "0.0%"]
    assert rows["–"][:3] == ["–", "1", "0.0%"]
    assert rows["all"][:3] == ["all", "6", "50.0%"]


def test_a_tenant_and_a_domain_narrow_it(used: None) -> None:
    assert cells(run("--tenant", "sppg-a"))["all"][1] == "4"
    by_tenant = cells(run("--domain", "menu"))
    assert by_tenant["TENANT"][0] == "TENANT"
    assert (by_tenant["sppg-a"][1], by_tenant["sppg-b"][1]) == ("3", "1")
    assert run("--tenant", "sppg-nowhere") == "Nothing was counted in the last 60 min.\n"


def test_json_is_what_stats_returns(used: None) -> None:
    cache: Any = caches["default"]
    told = json.loads(run("--json", "--minutes", "5"))
    assert told == {"minutes": 5, "tenant": None, "domain": None, **cache.stats(fleet=True, minutes=5)}
    narrowed = json.loads(run("--json", "--domain", "menu", "--tenant", "sppg-b"))
    assert (narrowed["hits"], narrowed["misses"], list(narrowed["by_tenant"])) == (0, 1, ["sppg-b"])


def test_lies_and_outages_are_pointed_out() -> None:
    cache: Any = caches["default"]
    cache.state.counters.add("verified", "menu", 10)
    assert "10 hits were verified, and all of them were right." in run()
    cache.state.counters.add("lies", "menu")
    cache.state.counters.add("errors", times=3)
    text = run()
    assert "1 of 10 verified hits were wrong" in text
    assert "3 commands failed in an outage" in text


def test_tenants_that_were_too_many_have_a_row() -> None:
    cache: Any = caches["default"]
    cache.state.counters.add("misses", "menu", tenant=OTHERS)
    assert OTHERS in cells(run("--domain", "menu"))


def test_another_alias_can_be_asked(settings: Any, used: None, prefix: str) -> None:
    settings.CACHES = {
        **settings.CACHES,
        "other": {**settings.CACHES["default"], "KEY_PREFIX": f"{prefix}-other"},
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    }
    caches["other"].get("k")
    assert cells(run("--alias", "other"))["all"][1] == "1"
    for alias, problem in (
        ("nope", "there are: default, local, other"),
        ("local", "LocMemCache, which counts nothing"),
    ):
        with pytest.raises(CommandError, match=problem) as caught:
            run("--alias", alias)
        assert caught.value.returncode == 2


@pytest.mark.parametrize("minutes", ["0", "1561", "often", "-1"])
def test_minutes_that_are_not_kept_are_refused(minutes: str) -> None:
    with pytest.raises(CommandError, match="1 to 1560"):
        run(f"--minutes={minutes}")


def test_it_exits_2_when_redis_cannot_be_asked(server: PrivateServer) -> None:
    server.kill()
    with pytest.raises(CommandError, match="redis_health") as caught:
        run()
    assert caught.value.returncode == 2


def test_explain_says_why(used: None, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--domain", "menu", "--tenant", "sppg-a", "--explain", "1")
    assert run(*words).splitlines()[0].endswith(":menu:1: hit")
    menu.invalidate("sppg-a")
    assert "tag 'menu' of sppg-a was voided at" in run(*words)
    told = json.loads(run(*words, "--json"))
    assert (told["state"], told["causes"][0]["tag"]) == ("dead", "v:menu")
    assert told["causes"][0]["who"].endswith("test_explain_says_why")
    assert "never stored, has expired" in run("--explain", "plain")


def test_explain_tells_what_it_needs() -> None:
    with pytest.raises(CommandError, match="add --tenant"):
        run("--domain", "menu", "--explain", "1")
    with pytest.raises(CommandError, match="makes a domain 'nope'"):
        run("--domain", "nope", "--tenant", "sppg-a", "--explain", "1")
    with pytest.raises(CommandError, match="is not a tenant id"):
        run("--domain", "menu", "--tenant", "no tenant", "--explain", "1")


def test_watch_repeats_on_a_terminal_until_ctrl_c_and_ends_clean(server: PrivateServer) -> None:
    with Terminal("cache_stats", "--watch", "0.05", REDIS_URL=server.url) as terminal:
        terminal.until("Ctrl-C ends it", times=3)
        terminal.interrupt()
        assert terminal.end() == 0
        assert "\x1b[2J" in terminal.shown
        assert "Traceback" not in terminal.shown


def test_watch_goes_on_through_an_outage_and_ends_with_the_last_state(server: PrivateServer) -> None:
    with Terminal("cache_stats", "--watch", "0.05", "--json", "--no-color", REDIS_URL=server.url) as terminal:
        terminal.until("}\r\n", times=2)
        server.kill()
        terminal.until("cannot be reached", times=5)  # told at least twice, and once logged
        terminal.interrupt()
        assert terminal.end() == 2
        assert "Traceback" not in terminal.shown
        assert json.loads(terminal.shown.splitlines()[0])["minutes"] == 60
