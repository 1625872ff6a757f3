from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from device_agent.link.addresses import BrokerAddress, parse_broker_url, parse_host_port
from device_agent.link.backoff import Backoff


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=30))
def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success(rolls: list[float]) -> None:
    dice = iter([*rolls, 0.0])
    backoff = Backoff(first_seconds=1, longest_seconds=16, dice=lambda: next(dice))
    for count, _ in enumerate(rolls):
        most = min(2**count, 16)
        assert most / 2 <= backoff.next_seconds() <= most
    backoff.reset()
    assert backoff.next_seconds() == 0.5


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
