"""The example's commands: seeding kitchens, the demonstration, and its settings."""

import json
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.exampleserver import BANDUNG, JAKARTA, KUPANG, PASSWORD, PROJECT, ExampleSite

DATA = PROJECT / "kitchens" / "data"


@pytest.fixture
def site(tmp_path: Path) -> ExampleSite:
    return ExampleSite(tmp_path)


def rows(site: ExampleSite, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(site.directory / "db.sqlite3")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def test_the_demonstration_prepares_everything_and_says_what_to_try(site: ExampleSite) -> None:
    done = site.manage("demo", "--no-serve", "--port", "8123")
    assert done.returncode == 0, done.stderr
    for expected in ("http://127.0.0.1:8123/", JAKARTA, BANDUNG, PASSWORD, "What to try", "3 kitchens written"):
        assert expected in done.stdout
    ours = Path(sys.executable)  # what runs here, not what may be on the path
    here = ours.relative_to(PROJECT.parent) if ours.is_relative_to(PROJECT.parent) else ours
    assert f"{here} example_project/manage.py redis_health" in done.stdout
    again = site.manage("demo", "--no-serve")
    assert again.returncode == 0
    assert "kitchens written" not in again.stdout


@pytest.mark.parametrize(
    ("url", "says"), [("localhost:6379", "is not a URL"), ("redis://127.0.0.1:1/0", "Nothing listens there.")]
)
def test_the_demonstration_does_not_start_without_its_server(site: ExampleSite, url: str, says: str) -> None:
    done = site.manage("demo", "--no-serve", REDIS_URL=url)
    assert done.returncode == 1
    assert says in done.stderr
    assert "LOCATION is REDIS_URL here" in done.stderr
    assert "Open" not in done.stdout


def test_seeding_is_idempotent_and_gives_each_kitchen_everything(site: ExampleSite) -> None:
    assert site.manage("migrate", "--verbosity", "0").returncode == 0
    assert "3 kitchens written" in site.manage("seed_kitchens").stdout
    assert [pk for (pk,) in rows(site, "select id from kitchens_kitchen order by id")] == [BANDUNG, JAKARTA, KUPANG]
    for table in ("menus_menu", "menus_ingredient", "procurement_orderline", "production_batch", "inventory_stockitem",
                  "distribution_delivery", "hrd_shift", "accounts_user"):  # fmt: skip
        found = rows(site, f"select sppg_id, count(*) from {table} where sppg_id is not null group by 1")  # noqa: S608
        assert len(found) == 3, table
    dishes = rows(site, "select count(distinct name), min(energy_kcal), max(energy_kcal) from menus_dish")[0]
    assert dishes[0] >= 40
    assert 20 < dishes[1] < dishes[2] < 400
    before = rows(site, "select count(*) from menus_menu")
    assert "0 kitchens written" in site.manage("seed_kitchens").stdout
    assert rows(site, "select count(*) from menus_menu") == before


def test_seeding_fifty_kitchens_adds_those_missing_and_is_deterministic(site: ExampleSite, tmp_path: Path) -> None:
    other = ExampleSite(tmp_path / "other")
    other.directory.mkdir()
    for one, numbers in ((site, ("2", "50")), (other, ("50",))):
        assert one.manage("migrate", "--verbosity", "0").returncode == 0
        for number in numbers:
            done = one.manage("seed_kitchens", "--kitchens", number, "--day", "2026-03-02")
            assert done.returncode == 0, done.stderr
            assert "\r" not in done.stderr, "no progress bar outside a terminal"
    assert rows(site, "select count(*) from kitchens_kitchen") == [(50,)]
    query = "select sppg_id, name, day, portions from menus_menu order by 1, 3, 2"
    assert rows(site, query) == rows(other, query)
    assert rows(site, "select count(*) from menus_menu m join kitchens_kitchen k on k.id = m.sppg_id where m.day = '2026-03-02'") == [(50,)]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("number", ["0", "-1", "many", "999999999"])
def test_a_senseless_number_of_kitchens_is_refused(site: ExampleSite, number: str) -> None:
    done = site.manage("seed_kitchens", f"--kitchens={number}")
    assert done.returncode == 2
    assert "is not a number from 1 to" in done.stderr


def test_a_taken_port_is_named_with_the_way_out(site: ExampleSite) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = site.manage("demo", "--port", str(port))
    assert done.returncode == 1
    assert f"Port {port} is in use" in done.stderr
    assert f'make demo ARGS="--port {port + 1}"' in done.stderr


def test_sample_passwords_never_reach_a_real_site(site: ExampleSite) -> None:
    real = {"DJANGO_DEBUG": "0", "DJANGO_SECRET_KEY": "x" * 60, "PASSWORD_PEPPER": "y" * 60}
    assert "only runs with DJANGO_DEBUG=1" in site.manage("demo", "--no-serve", **real).stderr
    assert "give everybody's password" in site.manage("seed_kitchens", **real).stderr
    assert "DJANGO_SECRET_KEY must be set" in site.manage("check", DJANGO_DEBUG="0").stderr


def test_a_database_of_an_unknown_kind_is_refused_with_the_valid_form(site: ExampleSite) -> None:
    done = site.manage("check", DATABASE_URL="mysql://localhost/kitchens")
    assert done.returncode == 1
    assert "use postgresql://user:password@host:5432/name" in done.stderr


def test_migrations_and_translations_are_complete(site: ExampleSite) -> None:
    done = site.manage("makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout
    catalogue = (PROJECT / "locale/id/LC_MESSAGES/django.po").read_text(encoding="utf-8")
    assert 'msgstr ""\n\n' not in catalogue
    assert "fuzzy" not in catalogue
    assert (PROJECT / "locale/id/LC_MESSAGES/django.mo").exists()


def test_nutrition_follows_from_the_named_source_and_agrees_with_its_energy() -> None:
    foods = load("foods.json")
    assert "TKPI" in foods["source"]
    for _code, name, _unit, _tkpi, energy, protein, fat, carbohydrate, _fibre in foods["foods"]:
        computed = 4 * protein + 9 * fat + 4 * carbohydrate
        # General Atwater factors against the table's own: they differ most for vegetables, of which little is eaten.
        assert abs(computed - energy) < max(20, 0.3 * energy), (name, energy, computed)


def test_there_are_forty_dishes_and_three_regions_that_exist() -> None:
    dishes = load("dishes.json")["dishes"]
    assert len({dish["name"] for dish in dishes}) == len(dishes) >= 40
    regions = load("regions.json")["regions"]
    assert len({slug for slug, *_ in regions}) == len(regions) >= 3
    assert all(regency.startswith(("Kabupaten ", "Kota ")) for _, regency, *_ in regions)
