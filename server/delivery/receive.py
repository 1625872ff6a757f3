"""The parts of a push on their way into a folder: in order, exact to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Self

from common.errors import CapacityError, InvalidInputError
from server.delivery.order import Part, PushOrder


class Receiving:
    """Writes chunks to the files of their parts; use as a context.

    Args:
        order: What was announced.
        folder: Gets one file per part, named by the part's value.
    """

    def __init__(self, order: PushOrder, folder: Path) -> None:
        self._order = order
        self._parts = order.parts
        self._folder = folder
        self._at = -1
        self._missing_bytes = 0
        self._file: BinaryIO | None = None
        self.done_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, part: Part, data: bytes) -> None:
        """The chunk is in the part's file.

        Raises:
            InvalidInputError: The part was not announced or is out of turn, the one before is short, or this
                one grows too long.
            CapacityError: The disk is full.
        """
        if part not in self._parts:
            raise InvalidInputError(f"The push did not announce its {part.name.lower()}.")
        index = self._parts.index(part)
        if index != self._at:
            self._turn_to(index)
        if len(data) > self._missing_bytes:
            raise InvalidInputError(f"The push's {part.name.lower()} is longer than announced.")
        try:
            self._open(part).write(data)
        except OSError as error:
            raise CapacityError(f"A push cannot be stored: {error.strerror}.") from error
        self._missing_bytes -= len(data)
        self.done_bytes += len(data)

    def finish(self) -> None:
        """Every part is whole and on disk.

        Raises:
            InvalidInputError: One is not.
        """
        if self._at != len(self._parts) - 1 or self._missing_bytes:
            raise InvalidInputError(
                f"The push ended after {self.done_bytes} of {self._order.total_bytes} bytes.",
                advice="Push again.",
            )
        if self._file is not None:
            self._file.flush()

    def _turn_to(self, index: int) -> None:
        if index != self._at + 1 or self._missing_bytes:
            raise InvalidInputError(f"The push's {self._parts[index].name.lower()} comes out of turn.")
        self._at = index
        self._missing_bytes = self._order.size_bytes[self._parts[index]]
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, part: Part) -> BinaryIO:
        if self._file is None:
            self._file = (self._folder / part.value).open("xb")
        return self._file
