"""Network addresses as people write them: ``HOST:PORT`` and ``mqtt://[USER:PASSWORD@]HOST[:PORT]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

MAX_PORT: Final = 65_535
_DEFAULT_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_ANY_HOSTS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104


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
    """Host and port of ``HOST:PORT``; an IPv6 host stands in brackets, port 0 is allowed.

    Raises:
        ValueError: It is no such address.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port[:6]) > MAX_PORT:
        raise ValueError(f"{text!r} is no HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], int(port)
    if ":" in host:
        raise ValueError(f"{text!r} is no HOST:PORT; write an IPv6 host in brackets")
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """``HOST:PORT``, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable_host(host: str) -> str:
    """A host to connect to for one that was listened on: "any address" becomes the loopback's."""
    return "127.0.0.1" if host in _ANY_HOSTS else host


def parse_broker_url(text: str) -> BrokerAddress:
    """The broker that a URL names.

    Raises:
        ValueError: It is no ``mqtt://`` or ``mqtts://`` URL with a host.
    """
    url = urlsplit(text)
    if url.scheme not in _DEFAULT_PORTS or not url.hostname or url.path.strip("/") or url.query:
        raise ValueError(f"{url.scheme or text[:20]!r} URL is no mqtt://[USER:PASSWORD@]HOST[:PORT]")
    return BrokerAddress(
        host=url.hostname,
        port=url.port or _DEFAULT_PORTS[url.scheme],
        tls=url.scheme == "mqtts",
        username=unquote(url.username) if url.username is not None else None,
        password=unquote(url.password) if url.password is not None else None,
    )
