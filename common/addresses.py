"""Network addresses as people write them: ``HOST:PORT`` and ``mqtt://[USER:PASSWORD@]HOST[:PORT]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from common.errors import ConfigError

_MAX_PORT: Final = 65_535
_ANY_HOSTS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where an MQTT broker is, and how to enter.

    Attributes:
        host: Name or IP address; empty in what devices are told: the host under which they reach the server.
        port: 1 to 65535.
        tls: Whether it speaks TLS.
        username, password: Credentials; None without.
    """

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The URL without credentials."""
        return f"{'mqtts' if self.tls else 'mqtt'}://{join_host_port(self.host, self.port)}"


def parse_host_port(text: str) -> tuple[str, int]:
    """Host and port; an IPv6 host stands in brackets, port 0 is allowed.

    Raises:
        ConfigError: It is no such address.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    sound = colon and bare and port.isascii() and port.isdigit() and int(port[:6]) <= _MAX_PORT
    if not sound or (":" in bare and bare == host):
        raise ConfigError(
            f"{text[:80]!r} is no address.", advice="Write HOST:PORT, an IPv6 host in brackets."
        )
    return bare, int(port)


def join_host_port(host: str, port: int) -> str:
    """``HOST:PORT``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable_host(host: str) -> str:
    """A host to connect to for one that was listened on: "any address" becomes the loopback's."""
    return "127.0.0.1" if host in _ANY_HOSTS else host


def parse_broker_url(text: str) -> BrokerAddress:
    """The broker that a URL names.

    Raises:
        ConfigError: It names none.
    """
    advice = "Write mqtt://[USER:PASSWORD@]HOST[:PORT], or mqtts:// for TLS."
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ConfigError("The broker's URL is not sound.", advice=advice) from error
    if url.scheme not in _PORTS or not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise ConfigError("The broker's URL is not sound.", advice=advice)
    return BrokerAddress(
        host=url.hostname,
        port=port or _PORTS[url.scheme],
        tls=url.scheme == "mqtts",
        username=None if url.username is None else unquote(url.username),
        password=None if url.password is None else unquote(url.password),
    )
