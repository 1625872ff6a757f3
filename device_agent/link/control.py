"""The port to the control plane: goals come in, facts go out, the newest of each is all that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from common.addresses import BrokerAddress
from common.topics import Topic


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is called by a control link, on the event loop; all three only note something down.

    Attributes:
        on_message: Takes each message.
        where: Where the broker is by what is known now; None while the device may not connect.
        on_lost: The connection could not be had or broke: the broker may have moved.
    """

    on_message: Callable[[Topic, bytes], None]
    where: Callable[[], BrokerAddress | None]
    on_lost: Callable[[], None]


class ControlLink(Protocol):
    """Holds the connection by itself."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there, as far as is known."""

    def publish(self, topic: Topic, payload: bytes) -> None:
        """The broker retains the payload as soon as it can; an older one that waits is dropped."""

    def moved(self) -> None:
        """``where`` has something new to say: try at once, unless connected."""

    async def run(self, listener: Listener) -> None:
        """Serve until cancelled; an end in good order says goodbye."""
