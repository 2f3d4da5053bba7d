"""Which address counts, whatever the headers claim. Property tests; no server."""

import ipaddress
from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bergizi_redis.addresses import bare_ip, client_ip, network_of, valid_ip


def trust(settings: Any, proxies: Any) -> None:
    settings.BERGIZI_REDIS = {**settings.BERGIZI_REDIS, "TRUSTED_PROXIES": proxies}


def asked(peer: str, forwarded: str | None = None) -> str | None:
    headers: Any = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return client_ip(RequestFactory().get("/", REMOTE_ADDR=peer, **headers))


def test_a_strangers_header_is_not_believed() -> None:
    assert asked("192.0.2.1", "198.51.100.7") == "192.0.2.1"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("203.0.113.9, 198.51.100.7, 10.0.0.3", "198.51.100.7"),
        ("198.51.100.7:52113", "198.51.100.7"),
        ("[2001:db8::7]:52113", "2001:db8::7"),
        ('"[2001:db8::7]"', "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, unknown", "10.0.0.1"),
        ("198.51.100.7, \x00", "10.0.0.1"),
        ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
        ("", "10.0.0.1"),
        (", ,", "10.0.0.1"),
    ],
)
def test_behind_trusted_networks_the_last_stranger_counts(settings: Any, forwarded: str, address: str) -> None:
    trust(settings, ["10.0.0.0/8"])
    assert asked("10.0.0.1", forwarded) == address


@pytest.mark.parametrize(
    ("hops", "forwarded", "address"),
    [
        (0, "198.51.100.7", "10.0.0.1"),
        (1, "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (2, "203.0.113.9, 198.51.100.7, 10.0.0.3", "198.51.100.7"),
        (3, "198.51.100.7", "10.0.0.1"),
        (1, "nonsense", "10.0.0.1"),
    ],
)
def test_behind_so_many_proxies_the_address_that_the_first_wrote_counts(
    settings: Any, hops: int, forwarded: str, address: str
) -> None:
    trust(settings, hops)
    assert asked("10.0.0.1", forwarded) == address


def test_a_header_of_megabytes_is_read_from_its_end(settings: Any) -> None:
    trust(settings, ["10.0.0.0/8"])
    assert asked("10.0.0.1", "203.0.113.9," * 100_000 + "198.51.100.7") == "198.51.100.7"


@given(peer=st.text(max_size=40), forwarded=st.text(max_size=200), proxies=st.sampled_from([(), 1, 2, ["10.0.0.0/8"]]))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_nonsense_is_no_address_and_no_error(settings: Any, peer: str, forwarded: str, proxies: Any) -> None:
    trust(settings, proxies)
    found = asked(peer, forwarded)
    assert found is None or valid_ip(found) == found


def test_an_address_may_come_as_an_object_and_what_is_none_is_no_error() -> None:
    assert valid_ip(ipaddress.ip_address("::ffff:203.0.113.7")) == "203.0.113.7"
    assert valid_ip(5) is None


def test_networks() -> None:
    assert network_of("10.1.2.3", 32, 64) == "10.1.2.3/32"
    assert network_of("10.1.2.3", 24, 48) == "10.1.2.0/24"
    assert network_of("2001:db8:1:2:3::4", 32, 64) == "2001:db8:1:2::/64"
    assert bare_ip("::1") == "::1"
