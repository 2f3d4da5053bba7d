"""The example's JSON API for menus: tenant-scoped, with errors that programs can read."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.exampleserver import BANDUNG, JAKARTA, Answer, Client, ExampleSite


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleSite]:
    with ExampleSite(tmp_path_factory.mktemp("example")).serving() as running:
        yield running


@pytest.fixture(scope="module")
def planner(site: ExampleSite) -> Client:
    return site.client(JAKARTA, "budi")


def error_of(answer: Answer) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"]
    return error


def dish_ids(client: Client) -> list[int]:
    return [int(pk) for pk in re.findall(r'name="dishes" value="(\d+)"', client.get("/menus/new/").text)]


def test_the_list_holds_the_kitchens_menus_with_nutrition(planner: Client) -> None:
    answer = planner.get("/api/menus/")
    body = answer.json()
    assert body["count"] == len(body["menus"]) >= 12
    menu = body["menus"][0]
    assert set(menu) == {"id", "name", "day", "status", "portions", "dishes", "nutrition"}
    assert 400 < menu["nutrition"]["energy_kcal"] < 900
    assert planner.get("/api/menus/").headers["X-Source"] == "cache"


def test_the_list_can_be_filtered_by_status(planner: Client) -> None:
    drafts = planner.get("/api/menus/?status=draft").json()["menus"]
    assert drafts
    assert {menu["status"] for menu in drafts} == {"draft"}
    assert error_of(planner.get("/api/menus/?status=tasty"))["code"] == "bad_status"


def test_a_menu_is_planned_read_and_changed(planner: Client) -> None:
    dishes = dish_ids(planner)[:3]
    fields = {"name": "Menu API", "day": "2126-12-24", "portions": 300, "dishes": dishes}
    created = planner.send_json("POST", "/api/menus/", fields)
    assert created.status == 201
    address = created.headers["Location"]
    assert planner.get(address).json() == created.json()
    assert "Menu API" in planner.get("/menus/").text
    changed = planner.send_json("PATCH", address, {"portions": 301})
    assert changed.json() == {**created.json(), "portions": 301}
    names = [menu["name"] for menu in planner.get("/api/menus/").json()["menus"]]
    assert "Menu API" in names


def test_invalid_fields_are_named(planner: Client) -> None:
    answer = planner.send_json("POST", "/api/menus/", {"name": "", "day": "soon", "portions": -1, "dishes": [0]})
    assert answer.status == 422
    assert set(error_of(answer)["fields"]) == {"name", "day", "portions", "dishes"}
    answer = planner.send_json("POST", "/api/menus/", {"nama": "x"})
    assert set(error_of(answer)["fields"]) == {"nama"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'"menu"'])
def test_a_body_that_is_no_object_is_a_bad_request(planner: Client, body: bytes) -> None:
    answer = planner.send_json("POST", "/api/menus/", body)
    assert answer.status == 400
    assert error_of(answer)["code"] == "bad_json"


@pytest.mark.parametrize("value", [{"portions": None}, {"dishes": None}, {"dishes": 1}, {"name": [1]}, {"day": 5}])
def test_values_of_a_wrong_kind_are_invalid_and_never_a_crash(planner: Client, value: dict[str, Any]) -> None:
    pk = planner.get("/api/menus/").json()["menus"][0]["id"]
    answer = planner.send_json("PATCH", f"/api/menus/{pk}/", value)
    assert answer.status == 422, answer.text


def test_other_content_types_and_methods_are_refused(planner: Client) -> None:
    assert error_of(planner.post("/api/menus/", {"name": "x"}))["code"] == "not_json"
    answer = planner.send_json("DELETE", "/api/menus/", {})
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD, POST"


def test_visitors_and_cooks_are_told_what_is_missing(site: ExampleSite) -> None:
    answer = site.client().get("/api/menus/")
    assert (answer.status, error_of(answer)["code"]) == (401, "not_signed_in")
    cook = site.client(JAKARTA, "agus")
    assert cook.get("/api/menus/").status == 200
    answer = cook.send_json("POST", "/api/menus/", {})
    assert (answer.status, error_of(answer)["code"]) == (403, "not_allowed")


def test_a_request_without_the_csrf_token_is_refused(planner: Client) -> None:
    assert planner.send("POST", "/api/menus/", b"{}", Content_Type="application/json").status == 403


def test_another_kitchens_menu_is_not_found(site: ExampleSite, planner: Client) -> None:
    stranger = site.client(BANDUNG)
    pk = planner.get("/api/menus/").json()["menus"][0]["id"]
    before = planner.get(f"/api/menus/{pk}/").json()
    assert error_of(stranger.get(f"/api/menus/{pk}/"))["code"] == "not_found"
    assert stranger.send_json("PATCH", f"/api/menus/{pk}/", {"name": "Diambil"}).status == 404
    assert stranger.send_json("PATCH", f"/api/menus/{pk}/", {"dishes": dish_ids(stranger)[:1]}).status == 404
    assert planner.get(f"/api/menus/{pk}/").json() == before
