from ipaddress import ip_network

import pytest

from handler.media.addresses import AddressPolicy, normalize_host
from handler.media.limits import MediaLimits


def policy(*networks: str, hosts: tuple[str, ...] = ()) -> AddressPolicy:
    return AddressPolicy(MediaLimits(allowed_hosts=hosts, allowed_networks=tuple(map(ip_network, networks))))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "52.216.8.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_addresses_are_allowed(address: str):
    assert policy().allows_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "233.252.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_special_ipv4_addresses_are_forbidden_however_ipv6_embeds_them(address: str):
    assert not policy().allows_address(address)
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}"):
        assert not policy().allows_address(wrapped)


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "::8.8.8.8",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "3fff::1",
        "5f00::1",
        "64:ff9b:1::a00:1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_special_ipv6_addresses_are_forbidden(address: str):
    assert not policy().allows_address(address)


@pytest.mark.parametrize(
    "address", ["", "localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "8.8.8.8.", "[::1]"]
)
def test_an_address_in_another_spelling_is_forbidden(address: str):
    assert not policy().allows_address(address)


def test_the_operator_may_allow_a_network_and_nothing_else_opens():
    opened = policy("10.1.0.0/16", "fd00:1::/32")
    assert opened.allows_address("10.1.2.3")
    assert opened.allows_address("::ffff:10.1.2.3")
    assert opened.allows_address("fd00:1::5")
    assert opened.allows_address("8.8.8.8")
    assert not opened.allows_address("10.2.0.1")
    assert not opened.allows_address("fd00:2::5")


def test_any_host_is_allowed_without_a_list_and_only_the_listed_with_one():
    assert policy().allows_host("anything.example")
    listed = policy(hosts=("Images.Example.", "bücher.example"))
    assert listed.allows_host("images.example")
    assert listed.allows_host("xn--bcher-kva.example")
    assert not listed.allows_host("evil.images.example")
    assert not listed.allows_host("images.example.evil.test")


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("bücher.de", "xn--bcher-kva.de"),
        ("::1", "::1"),
    ],
)
def test_hosts_are_compared_in_their_normal_form(host: str, normal: str):
    assert normalize_host(host) == normal
