"""Why a request is not answered, beyond what the error tree tells apart."""

from __future__ import annotations

from common.errors import CapacityError, InvalidInputError, LinkError


class TooLargeError(InvalidInputError):
    """A request is larger than any may be."""


class TooSlowError(InvalidInputError):
    """A request did not come to its end in time."""


class BusyError(CapacityError):
    """There is no room for a request now; there will be."""


class ClosingError(LinkError):
    """The agent is shutting down."""

    def __init__(self) -> None:
        super().__init__("The agent is shutting down.", advice="Ask again later.")


class GoneError(LinkError):
    """Whoever asked does not wait any more."""
