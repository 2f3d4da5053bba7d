"""The example in a real browser: the page flow of two tenants, without a console error or a breach of the policy."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.exampleserver import BANDUNG, JAKARTA, KUPANG, PASSWORD, ExampleSite
from tests.servers import server_directory

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
PATIENCE = 60_000  # ms; nothing here waits for as long, but on a machine that stands still
expect.set_options(timeout=PATIENCE)
# A refused sign-in and a foreign row are errors of HTTP, and Chromium notes them; nothing else may be noted.
EXPECTED = ("status of 401", "status of 404", "status of 429")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists() and not os.environ.get("CI"), reason=f"there is no {CHROMIUM}: install chromium"
    ),
]


@pytest.fixture(scope="module")
def site() -> Iterator[ExampleSite]:
    with server_directory() as directory, ExampleSite(Path(directory)).serving() as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=4 * PATIENCE)
        yield browser
        browser.close()


class Visitor:
    """One browser window with its own cookies; ``complaints`` collects what the console says."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.context, self.base = context, base
        self.complaints: list[str] = []
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.page.on("console", self.note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(known in message.text for known in EXPECTED):
            self.complaints.append(message.text)

    def open(self, path: str) -> int:
        response = self.page.goto(self.base + path)
        assert response is not None
        return response.status

    def sign_in(self, kitchen: str, user: str, password: str = PASSWORD) -> None:
        self.open("/sign-in/")
        self.page.get_by_label("Kitchen", exact=True).select_option(kitchen)
        self.page.get_by_label("User name").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.send("Sign in")

    def send(self, button: str) -> None:
        """Press it, and wait for the page that answers: until then there may be none, or still the one before."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=button).click()

    def expect_source(self, source: str) -> None:
        expect(self.page.locator(".strip")).to_have_attribute("data-source", source)


@pytest.fixture
def visitors(chromium: Browser, site: ExampleSite) -> Iterator[list[Visitor]]:
    """Two windows, strangers to each other."""
    contexts = [chromium.new_context(locale="en-GB", viewport={"width": 1280, "height": 860}) for _ in range(2)]
    found = [Visitor(context, site.url) for context in contexts]
    yield found
    for visitor in found:
        assert visitor.complaints == []
        visitor.context.close()


def test_a_list_is_cached_refreshed_by_an_edit_and_never_seen_by_the_other_kitchen(visitors: list[Visitor]) -> None:
    first, second = visitors
    first.sign_in(KUPANG, "siti")  # no other test reads this kitchen's list, so it is not cached yet
    expect(first.page.get_by_role("heading", level=1)).to_be_visible()
    first.open("/menus/")
    first.expect_source("database")
    first.open("/menus/")
    first.expect_source("cache")
    expect(first.page.locator(".strip")).to_contain_text("0 queries")

    first.page.locator("tr[data-menu]").first.get_by_role("link", name="Change").click()
    first.page.get_by_label("Name").fill("Nasi uduk istimewa")
    first.page.get_by_label("Portions").fill("2345")
    first.send("Save")
    row = first.page.locator("tr", has_text="Nasi uduk istimewa")
    expect(row).to_contain_text("2,345")
    first.expect_source("database")
    address = row.get_by_role("rowheader").get_by_role("link").get_attribute("href")
    assert address

    second.sign_in(BANDUNG, "siti")
    second.open("/menus/")
    expect(second.page.get_by_text("SPPG Bandung 1").first).to_be_visible()
    expect(second.page.get_by_text("Nasi uduk istimewa")).to_have_count(0)
    assert second.open(address) == 404
    assert second.open(f"{address}edit/") == 404
    expect(second.page.get_by_role("heading", level=1)).to_have_text("Not found")


def test_five_wrong_passwords_lock_and_the_other_kitchens_namesake_signs_in(visitors: list[Visitor]) -> None:
    first, second = visitors
    for left in (4, 3, 2, 1):
        first.sign_in(JAKARTA, "budi", "salah")
        expect(first.page.get_by_role("alert")).to_contain_text(f"{left} attempt")
    first.sign_in(JAKARTA, "budi", "salah")
    expect(first.page.get_by_role("alert")).to_contain_text("This account is locked.")
    expect(first.page.locator(".countdown")).to_contain_text(":")
    first.sign_in(JAKARTA, "budi")
    expect(first.page.get_by_role("alert")).to_contain_text("This account is locked.")

    second.sign_in(BANDUNG, "budi")
    expect(second.page.get_by_text("SPPG Bandung 1").first).to_be_visible()


def test_a_session_is_seen_and_ended_from_another_window(visitors: list[Visitor]) -> None:
    first, second = visitors
    first.sign_in(BANDUNG, "siti")
    second.sign_in(BANDUNG, "agus")
    expect(second.page.get_by_role("heading", level=1)).to_be_visible()
    first.open("/people/")
    expect(first.page.locator("tr.own")).to_contain_text("This session")
    row = first.page.locator("tr", has_text="Agus")
    expect(row).to_contain_text("Chrome")
    with first.page.expect_navigation():
        row.get_by_role("button", name="End session").click()
    expect(first.page.get_by_role("status")).to_contain_text("That session has ended.")
    second.open("/menus/")
    expect(second.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_ones_other_devices_are_signed_out_from_ones_own_page(visitors: list[Visitor]) -> None:
    first, second = visitors
    for visitor in (first, second):
        visitor.sign_in(KUPANG, "budi")
        expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()
    first.page.get_by_role("link", name="My devices").first.click()
    expect(first.page.locator("tr.own")).to_contain_text("This device")
    expect(first.page.locator("tbody tr")).to_have_count(2)
    first.send("Sign out everywhere else")
    expect(first.page.get_by_role("status")).to_contain_text("1 other device is signed out.")
    expect(first.page.locator("tbody tr")).to_have_count(1)
    second.open("/menus/")
    expect(second.page.get_by_role("heading", name="Sign in")).to_be_visible()


ADMIN = "/admin/bergizi_redis/session/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_sessions_page_of_the_admin_fits_and_ends_a_session(
    chromium: Browser, site: ExampleSite, visitors: list[Visitor], scheme: str, width: int
) -> None:
    somebody = visitors[0]
    somebody.sign_in(JAKARTA, "rina")
    expect(somebody.page.get_by_role("heading", level=1)).to_be_visible()
    size = {"width": width, "height": 800}
    context = chromium.new_context(locale="en-GB", viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    network = Visitor(context, site.url)
    network.open(f"/admin/login/?next={ADMIN}")
    network.page.get_by_label("Sign-in name").fill("admin")
    network.page.get_by_label("Password").fill(PASSWORD)
    network.send("Log in")
    network.page.get_by_label("User", exact=True).fill(f"rina@{JAKARTA}")
    network.send("Find")
    network.page.get_by_role("checkbox").first.check()
    assert network.page.evaluate("document.documentElement.scrollWidth") <= width
    network.page.get_by_label("Reason").fill("left the kitchen")
    network.send("End all sessions of these users")
    expect(network.page.locator(".messagelist")).to_contain_text("ended.")
    somebody.open("/menus/")
    expect(somebody.page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert network.complaints == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_pages_fit_phone_and_desktop_in_light_and_dark(
    chromium: Browser, site: ExampleSite, tmp_path: Path, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    context = chromium.new_context(locale="en-GB", viewport=size, color_scheme=scheme)  # type: ignore[arg-type]
    visitor = Visitor(context, site.url)
    visitor.sign_in(JAKARTA, "siti")
    expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()
    ground = visitor.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(int(part) for part in ground[4:-1].split(",")) < 60) == (scheme == "dark")
    for path in ("/", "/menus/", "/menus/new/", "/inventory/", "/procurement/", "/people/", "/devices/", "/try/"):
        assert visitor.open(path) == 200
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} scrolls sideways"
        shot = tmp_path / f"{path.strip('/').replace('/', '-') or 'home'}-{width}-{scheme}.png"
        visitor.page.screenshot(path=str(shot), full_page=True)
        assert shot.stat().st_size > 10_000
    assert visitor.complaints == []
    context.close()


def test_everything_is_reached_with_the_keyboard(visitors: list[Visitor]) -> None:
    visitor = visitors[0]
    visitor.open("/")
    visitor.page.keyboard.press("Tab")
    expect(visitor.page.get_by_role("link", name="Skip to content")).to_be_focused()
    visitor.page.get_by_label("Kitchen", exact=True).focus()
    for label in ("User name", "Password"):
        visitor.page.keyboard.press("Tab")
        expect(visitor.page.get_by_label(label)).to_be_focused()
    visitor.page.keyboard.press("Tab")
    expect(visitor.page.get_by_role("button", name="Sign in")).to_be_focused()
