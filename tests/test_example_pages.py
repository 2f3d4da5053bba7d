"""The example project as its users see it: pages, tenants, lockout and sessions, over HTTP."""

import re
from collections.abc import Iterator

import pytest

from tests.browser.exampleserver import BANDUNG, JAKARTA, KUPANG, Client, ExampleSite

PAGES = [
    "/", "/menus/", "/procurement/", "/production/", "/inventory/", "/distribution/", "/staff/", "/people/",
    "/devices/",
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleSite]:
    with ExampleSite(tmp_path_factory.mktemp("example")).serving() as running:
        yield running


@pytest.fixture(scope="module")
def head(site: ExampleSite) -> Client:
    """The head of the kitchen of Jakarta, signed in."""
    return site.client(JAKARTA)


def test_the_front_page_answers_a_visitor_with_a_strict_policy(site: ExampleSite) -> None:
    answer = site.client().get("/")
    assert answer.status == 200
    assert "<h2>Sign in</h2>" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", answer.text)


@pytest.mark.parametrize("path", PAGES[1:])
def test_every_page_asks_a_visitor_to_sign_in(site: ExampleSite, path: str) -> None:
    answer = site.client().get(path)
    assert answer.url == f"{site.url}/sign-in/?next={path}"


@pytest.mark.parametrize("path", PAGES)
def test_every_page_answers_somebody_of_a_kitchen(head: Client, path: str) -> None:
    answer = head.get(path)
    assert answer.status == 200
    assert "SPPG Jakarta Timur 1" in answer.text


def test_pages_speak_indonesian_and_english(site: ExampleSite) -> None:
    client = site.client(JAKARTA)
    assert "Running low" in client.get("/").text
    indonesian = client.get("/menus/", Accept_Language="id").text
    assert '<html lang="id">' in indonesian
    assert "Susun menu" in indonesian
    client.post("/language/setlang/", {"language": "id", "next": "/"})
    assert "Hampir habis" in client.get("/").text


def test_the_list_is_read_from_the_database_once_and_then_from_the_cache(site: ExampleSite) -> None:
    client = site.client(KUPANG)
    pk = client.menu_ids()[0]
    save(site, pk, name="Menu ubahan")
    assert client.source() == "database"
    assert client.source() == "cache"
    other = site.client(KUPANG, "agus")
    assert other.source() == "cache", "the kitchen shares its cached list"


RENAME = """
from django_redis import get_redis_connection
from procurement.models import Supplier
print(len([*get_redis_connection("default").scan_iter("*query.procurement.purchaseorder*")]), "kept")
print(Supplier.objects.filter(sppg="sppg-kupang-003").update(name="Toko Baru"), "renamed")
"""


def test_a_list_is_kept_and_another_process_that_writes_in_bulk_is_seen(site: ExampleSite) -> None:
    client = site.client(KUPANG)
    assert "Toko Baru" not in client.get("/procurement/").text
    said = site.manage("shell", "-c", RENAME)
    assert re.search(r"[1-9]\d* kept\n[1-9]\d* renamed", said.stdout), said.stdout + said.stderr
    assert "Toko Baru" in client.get("/procurement/").text


def save(site: ExampleSite, pk: int, **fields: object) -> None:
    """Change a menu of Kupang through the API."""
    answer = site.client(KUPANG).send_json("PATCH", f"/api/menus/{pk}/", fields)
    assert answer.status == 200, answer.text


def test_a_saved_menu_is_in_the_list_at_once_and_leaves_other_kitchens_cached(site: ExampleSite, head: Client) -> None:
    client, other = site.client(BANDUNG, "budi"), head
    client.get("/menus/")
    other.get("/menus/")
    pk = client.menu_ids()[0]
    form = client.get(f"/menus/{pk}/edit/").text
    dishes = re.findall(r'name="dishes" value="(\d+)" checked', form)
    assert len(dishes) == 5
    fields = {"name": "Nasi liwet komplit", "day": "2026-12-01", "status": "active", "portions": 1234, "dishes": dishes}
    answer = client.post(f"/menus/{pk}/edit/", fields)
    assert answer.url == f"{site.url}/menus/"
    assert "Nasi liwet komplit" in answer.text
    assert "1,234" in answer.text
    assert 'data-source="database"' in answer.text
    assert other.source() == "cache"


def test_a_wrong_form_says_what_is_wrong_and_saves_nothing(site: ExampleSite) -> None:
    client = site.client(BANDUNG)
    answer = client.post("/menus/new/", {"name": "", "day": "kemarin", "status": "active", "portions": 0})
    assert answer.status == 422
    assert "Not saved." in answer.text
    assert answer.text.count('class="error"') == 4  # name, day, portions, dishes
    assert 'aria-invalid="true"' in answer.text


def test_a_cook_reads_menus_but_does_not_change_them(site: ExampleSite) -> None:
    client = site.client(JAKARTA, "agus")
    pk = client.menu_ids()[0]
    assert "/edit/" not in client.get("/menus/").text
    assert client.get(f"/menus/{pk}/edit/").status == 403


def test_another_kitchens_rows_are_not_found_by_any_address(site: ExampleSite, head: Client) -> None:
    own, other = head, site.client(BANDUNG)
    theirs = own.menu_ids()
    assert not set(theirs) & set(other.menu_ids())
    pk = theirs[0]
    assert own.get(f"/menus/{pk}/").status == 200
    assert other.get(f"/menus/{pk}/").status == 404
    assert other.get(f"/menus/{pk}/edit/").status == 404
    assert other.post(f"/menus/{pk}/edit/", {"name": "Diambil"}).status == 404
    assert other.get(f"/api/menus/{pk}/").status == 404
    for path in PAGES:
        assert "Jakarta" not in other.get(path).text, path


def test_dishes_of_another_kitchen_are_no_valid_choice(site: ExampleSite, head: Client) -> None:
    own, other = head, site.client(BANDUNG)
    dishes = re.findall(r'name="dishes" value="(\d+)"', own.get("/menus/new/").text)
    fields = {"name": "Pinjaman", "day": "2026-12-02", "status": "draft", "portions": 10, "dishes": dishes[:1]}
    assert other.post("/menus/new/", fields).status == 422
    assert "Pinjaman" not in other.get("/menus/").text


def test_five_wrong_passwords_lock_one_account_of_one_kitchen(site: ExampleSite) -> None:
    client = site.client()
    for left in (4, 3, 2, 1):
        answer = client.sign_in(KUPANG, "rina", "salah")
        assert answer.status == 401
        assert f"{left} attempt" in answer.text
    answer = client.sign_in(KUPANG, "rina", "salah")
    assert answer.status == 429
    assert "This account is locked." in answer.text
    assert 1700 < int(answer.headers["Retry-After"]) <= 1800
    assert client.sign_in(KUPANG, "rina").status == 429, "the right password opens no lock"
    site.client(JAKARTA, "rina")  # the same user name in another kitchen signs in
    site.client(KUPANG, "siti")  # and so does another user of the same kitchen


def test_an_unknown_user_is_counted_and_told_the_same(site: ExampleSite) -> None:
    client = site.client()
    answers = [client.sign_in(KUPANG, "tidak-ada", "x") for _ in range(6)]
    assert [answer.status for answer in answers] == [401, 401, 401, 401, 429, 429]


def test_a_kitchen_that_does_not_exist_is_said_to_be_unknown(site: ExampleSite) -> None:
    answer = site.client().sign_in("sppg-atlantis-999", "siti")
    assert answer.status == 422
    assert "There is no kitchen with this id." in answer.text


def test_signing_in_goes_on_only_to_this_site(site: ExampleSite) -> None:
    fields = {"kitchen": JAKARTA, "username": "siti", "password": "dapur-sehat-2026"}
    answer = site.client().post("/sign-in/", {**fields, "next": "/menus/"})
    assert answer.url == f"{site.url}/menus/"
    answer = site.client().post("/sign-in/", {**fields, "next": "https://example.org/"})
    assert answer.url == f"{site.url}/"


def test_sessions_of_the_kitchen_are_shown_and_can_be_ended(site: ExampleSite, head: Client) -> None:
    cook, driver = site.client(JAKARTA, "agus"), site.client(JAKARTA, "joko")
    page = head.get("/people/").text
    assert "This session" in page
    row = next(row for row in page.split("<tr") if "Agus" in row)
    address = re.findall(r'action="(/people/[^"]+/end/)"', row)[0]
    assert site.client(BANDUNG).post(address, {}).status == 404, "another kitchen's session does not exist"
    assert driver.post(address, {}).status == 403, "only the head of the kitchen ends the sessions of others"
    assert address not in driver.get("/people/").text
    assert head.post(address, {}).status == 200
    assert "/sign-in/" in cook.get("/menus/").url
    assert head.get("/menus/").url == f"{site.url}/menus/", "one's own session goes on"


def test_ones_own_devices_are_shown_and_signed_out(site: ExampleSite) -> None:
    here, phone, laptop = (site.client(BANDUNG, "agus") for _ in range(3))
    namesake = site.client(KUPANG, "agus")
    page = here.get("/devices/").text
    assert page.count("This device") == 1
    assert page.index("This device") < page.index('data-label="Last seen"'), "this one comes first"
    own, *others = re.findall(r'action="(/devices/[^"]+/end/)"', page)
    assert len(others) == 2
    assert 'href="/devices/"' in here.get("/menus/").text
    assert namesake.post(own, {}).status == 404, "somebody else's session does not exist"
    assert namesake.get(own).status == 405
    assert "That device is signed out." in here.post(others[0], {}).text
    signed_out = ["/sign-in/" in client.get("/menus/").url for client in (here, phone, laptop)]
    assert signed_out in ([False, True, False], [False, False, True])
    assert "1 other device is signed out." in here.post("/devices/end-others/", {}).text
    assert all("/sign-in/" in client.get("/menus/").url for client in (phone, laptop))
    assert "/sign-in/" not in namesake.get("/menus/").url
    here.post(own, {})
    assert "/sign-in/" in here.get("/menus/").url, "this device may be signed out as any other"


def test_signing_out_ends_the_session(site: ExampleSite) -> None:
    client = site.client(JAKARTA, "joko")
    client.post("/sign-out/", {})
    assert "/sign-in/" in client.get("/menus/").url


def test_the_networks_own_staff_works_in_the_admin(site: ExampleSite) -> None:
    client = site.client()
    token = client.token
    fields = {"username": "admin", "password": "dapur-sehat-2026", "next": "/admin/", "csrfmiddlewaretoken": token}
    assert client.post("/admin/login/", fields).status == 200
    for model in ("menus/menu", "menus/dish", "accounts/user", "inventory/stockitem", "distribution/delivery"):
        assert client.get(f"/admin/{model}/").status == 200, model
    assert client.get("/menus/").status == 403
    assert client.get("/api/menus/").status == 403
