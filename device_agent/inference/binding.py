"""Whether the weights of a version are exactly those that its graph names. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import IntegrityError, InvalidInputError
from common.graph.check import check_states
from common.graph.model import FLOAT_DTYPES, Graph
from common.manifest import TensorPart
from device_agent.residency.resident import Snapshot


def check_binding(graph: Graph, snapshot: Snapshot) -> None:
    """Accept a snapshot that holds every state of the graph once, whole, and nothing else.

    Raises:
        IntegrityError: It does not; the version was put together wrongly.
    """
    dtypes = {state.name: state.dtype for state in graph.states}
    given: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in snapshot.tensors:
        shape = _whole_shape(name, (resident.part for resident in snapshot.parts(name)))
        given[name] = (_as_float("float32", dtypes.get(name, "")), shape)
    for name, value in snapshot.float_values():
        if name in given:
            raise IntegrityError(f"Tensor {name!r} comes twice.")
        given[name] = (_as_float(value.dtype.name, dtypes.get(name, "")), value.shape)
    try:
        check_states(graph, given)
    except InvalidInputError as error:
        raise IntegrityError(f"Graph and weights of the version do not match: {error.message}") from error


def _as_float(actual: str, wanted: str) -> str:
    """The wanted type where both are floating point: the runner casts between those."""
    return wanted if actual in FLOAT_DTYPES and wanted in FLOAT_DTYPES else actual


def _whole_shape(name: str, parts: Iterable[TensorPart]) -> tuple[int, ...]:
    shape, next_row = None, 0
    for part in parts:
        if part.start != next_row or part.shape != (shape or part.shape):
            raise IntegrityError(f"The parts of tensor {name!r} do not follow each other.")
        shape, next_row = part.shape, part.stop
    if shape is None or next_row != shape[0]:
        raise IntegrityError(f"Tensor {name!r} is not whole.")
    return shape
