"""Addresses as people write them."""

from __future__ import annotations

import pytest

from common.addresses import BrokerAddress, parse_broker_url, parse_host_port
from common.errors import ConfigError


def test_addresses() -> None:
    assert parse_host_port("board:0") == ("board", 0)
    assert parse_host_port("[::1]:8080") == ("::1", 8080)
    assert parse_broker_url("mqtt://host") == BrokerAddress("host", 1883)
    assert parse_broker_url("mqtts://u:p%40@host:9") == BrokerAddress(
        "host",
        9,
        tls=True,
        username="u",
        password="p@",  # noqa: S106
    )
    assert "secret" not in repr(parse_broker_url("mqtt://u:secret@host"))
    assert str(BrokerAddress("::1", 9, tls=True)) == "mqtts://[::1]:9"


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "host:", "host:65536", "host:x", "::1:80", "host:-1", "h:²"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_host_port(text)


@pytest.mark.parametrize(
    "text", ["", "http://x", "mqtt://", "mqtt://h:99999", "mqtt://h/topic", "mqtt://[::1"]
)
def test_no_broker(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_broker_url(text)
