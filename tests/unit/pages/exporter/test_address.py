"""The address to listen on."""

import pytest

from flashback_async import InvalidArgumentError
from flashback_async.pages.exporter.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("[::1]:0", "::1", 0),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
        ("localhost:80", "localhost", 80),
    ],
)
def test_host_and_port_are_read_and_written(text, host, port):
    address = Address.parse(text)
    assert address == (host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", ":9464", "9464", "localhost", "localhost:", "::1:9464", "a:b", "a:-1", "a:1:2", "a :1",
     "http://a:1", "[]:1", "[::1]", "a:١", "a:1\n", "a:123456"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_rule(text):
    with pytest.raises(InvalidArgumentError, match=r"^listen must be HOST:PORT, such as 127"):
        Address.parse(text)


def test_a_host_for_all_addresses_must_say_which():
    with pytest.raises(InvalidArgumentError, match=r"^listen .* 0\.0\.0\.0 .*; not '\*:9464'$"):
        Address.parse("*:9464")


def test_a_port_that_is_too_large_is_refused():
    with pytest.raises(InvalidArgumentError, match="from 0 to 65535, not 65536"):
        Address.parse("a:65536")
