"""What a graph's ranges say of its values: of those too that only arrange another's numbers anew.

A range stands for 256 numbers, ``scale * (code - zero_point)`` for codes from -128 to 127, as for weights
(Jacob et al., arXiv 1712.05877, eq. 1): the zero point is whole, so that zero is met exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from common.graph.model import Graph, Node, Range, ValueRef
from common.graph.ops import GETITEM

LEAST_CODE: Final = -128
GREATEST_CODE: Final = 127

# Their value has no number that their first argument has not.
_ARRANGING: Final = frozenset(
    f"aten.{operator}.{overload}"
    for overload, operators in {
        "default": "reshape permute unsqueeze expand repeat t flip roll tile squeeze split_with_sizes chunk "
        "narrow diagonal unfold index_select gather pixel_shuffle pixel_unshuffle channel_shuffle "
        "max_pool1d max_pool2d max_pool3d",
        "int": "transpose unflatten unbind movedim select",
        "Tensor": "split slice",
        "dim": "squeeze",
        "dims": "squeeze",
        "using_ints": "flatten",
    }.items()
    for operator in operators.split()
)


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that 8 bits stand for.

    Attributes:
        scale: Above 0; between two neighbours.
        zero_point: The code of 0, in -128..127.
    """

    scale: float
    zero_point: int


def grid_of(low: float, high: float) -> Grid:
    """The grid of a range that includes zero."""
    scale = (high - low) / (GREATEST_CODE - LEAST_CODE)
    return Grid(scale, min(max(round(LEAST_CODE - low / scale), LEAST_CODE), GREATEST_CODE))


def ranges_by_value(graph: Graph) -> dict[str, Range]:
    """The range of every value that has one, by name: its own, or that of the value it is arranged from."""
    stated = {item.value: item for item in graph.ranges}
    return {name: stated[source] for name, source in origins(graph).items() if source in stated} | stated


def origins(graph: Graph) -> dict[str, str]:
    """For each value that only arranges another's numbers anew, the first of that line.

    Operators with several results count too, and what is taken out of them.
    """
    found: dict[str, str] = {}
    tuples: set[str] = set()
    for node in graph.nodes:
        source = _first_value(node)
        if source is None or not (node.op in _ARRANGING or (node.op == GETITEM and source in tuples)):
            continue
        found[node.name] = found.get(source, source)
        tuples.add(node.name)
    return found


def _first_value(node: Node) -> str | None:
    first = node.args[0] if node.args else None
    return first.name if isinstance(first, ValueRef) else None
