"""A request and its answer, whatever carried them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from common.errors import InvalidInputError
from device_agent.serving.protocol.limits import MAX_ID_CHARACTERS


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks.

    Attributes:
        inputs: Name to array, of the datatype and shape that the request states.
        outputs: Name of each output that it wants, to whether it comes as bytes; empty for all.
        request_id: Comes back in the answer; may be empty.
        as_bytes: Whether outputs that it does not name come as bytes.
    """

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, bool]
    request_id: str
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What the client gets.

    Attributes:
        model: Name of the model that answered.
        version: Its version.
        request_id: The request's; may be empty.
        outputs: Name to array, those that were asked for.
        level: Lowest level of any block while it answered, in bits.
    """

    model: str
    version: int
    request_id: str
    outputs: Mapping[str, NDArray[Any]]
    level: int


def check_id(request_id: object) -> str:
    """A request's id.

    Raises:
        InvalidInputError: It is no text, or too long.
    """
    if not isinstance(request_id, str) or len(request_id) > MAX_ID_CHARACTERS:
        raise InvalidInputError(f"'id' is no text of at most {MAX_ID_CHARACTERS} characters.")
    return request_id


def check_output_parameters(name: str, parameters: Iterable[str]) -> None:
    """Refuse what an output cannot be asked for.

    Raises:
        InvalidInputError: It is asked for.
    """
    for key in parameters:
        if key == "classification" or key.startswith("shared_memory"):
            raise InvalidInputError(f"Output {name!r:.80} asks for {key!r:.40}, which is not spoken.")
