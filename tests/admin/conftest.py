"""The example as the tests of the admin meet it: staff of one kitchen, and the network's own administrator.

A module says in ``STAFF`` what is to be run before, see ``staffing``.
"""

from collections.abc import Iterator

import pytest

from tests.browser.exampleserver import JAKARTA, PASSWORD, Client, ExampleSite


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleSite]:
    with ExampleSite(tmp_path_factory.mktemp("example")).serving() as running:
        said = running.manage("shell", "-c", request.module.STAFF)
        assert said.returncode == 0, said.stderr
        yield running


@pytest.fixture(scope="module")
def network(site: ExampleSite) -> Client:
    """The network's own administrator."""
    client = site.client()
    client.post("/admin/login/", {"username": "admin", "password": PASSWORD, "next": "/admin/"})
    return client


@pytest.fixture(scope="module")
def budi(site: ExampleSite) -> Client:
    return site.client(JAKARTA, "budi")
