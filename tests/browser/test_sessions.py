"""Sessions in a real browser: an administrator ends one on a phone at night, and its owner is told why."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.browser.exampleserver import JAKARTA, PASSWORD, ExampleSite
from tests.browser.test_flow import Visitor, chromium, pytestmark, site

__all__ = ["chromium", "pytestmark", "site"]  # fixtures, and where they run
WIDE: ViewportSize = {"width": 1280, "height": 860}
NARROW: ViewportSize = {"width": 360, "height": 780}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def windows(chromium: Browser, site: ExampleSite) -> Iterator[list[Visitor]]:
    """One on a phone in the dark, one at a desk by day."""
    contexts = [
        chromium.new_context(locale="en-GB", viewport=NARROW, color_scheme="dark"),
        chromium.new_context(locale="en-GB", viewport=WIDE, color_scheme="light"),
    ]
    found = [Visitor(context, site.url) for context in contexts]
    yield found
    for visitor in found:
        assert [said for visitor in found for said in visitor.complaints] == []
        visitor.context.close()


@pytest.mark.parametrize("admin_is_narrow", [True, False])
def test_an_administrator_ends_a_session_and_its_owner_reads_why(windows: list[Visitor], admin_is_narrow: bool) -> None:
    admin, owner = windows if admin_is_narrow else reversed(windows)
    owner.sign_in(JAKARTA, "agus")
    owner.open("/devices/")
    expect(owner.page.get_by_text("This device")).to_be_visible()
    assert owner.page.evaluate(OVERFLOW) == 0
    admin.open("/admin/login/")
    admin.page.locator("#id_username").fill("admin")
    admin.page.get_by_label("Password").fill(PASSWORD)
    admin.send("Log in")
    admin.open("/admin/bergizi_redis/session/")
    admin.page.get_by_label("User", exact=True).fill(f"agus@{JAKARTA}")
    admin.send("Find")
    assert admin.page.evaluate(OVERFLOW) == 0
    admin.page.locator('input[name="sid"]').check()
    admin.page.get_by_label("Reason").fill("the phone was lost")
    admin.send("End the chosen sessions")
    expect(admin.page.get_by_text("1 session has ended.")).to_be_visible()
    expect(admin.page.get_by_text("No session was found.")).to_be_visible()
    owner.open("/menus/")
    expect(
        owner.page.get_by_text("You were signed out here, from another device or by an administrator.")
    ).to_be_visible()
