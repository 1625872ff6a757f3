"""Which values a range is worth having of: those that integer kernels read and write."""

from __future__ import annotations

from typing import Final

from common.graph.model import FLOAT_DTYPES, Graph, Node, ValueRef
from common.graph.ranges import origins

# Operators that have, or could have, a kernel of 8-bit numbers; any overload.
_KERNELS: Final = frozenset(
    operator
    for operators in (
        "linear convolution conv1d conv2d conv3d matmul mm bmm addmm baddbmm scaled_dot_product_attention",
        "add sub mul cat mean",
        "relu relu6 hardtanh hardswish hardsigmoid leaky_relu prelu elu gelu silu mish sigmoid tanh",
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d",
        "_adaptive_avg_pool2d _adaptive_avg_pool3d max_pool1d max_pool2d max_pool3d max_pool2d_with_indices",
    )
    for operator in operators.split()
)


def watched_values(graph: Graph) -> tuple[str, ...]:
    """Names of inputs and nodes, in the graph's order, each once.

    A value that only arranges another's numbers anew is none: it has that one's range
    (``common.graph.ranges.ranges_by_value``). Whether a node's value is float shows when it runs.
    """
    origin = origins(graph)
    wanted: set[str] = set()
    for node in graph.nodes:
        if _is_kernel(node):
            names = [item.name for item in node.references() if isinstance(item, ValueRef)]
            wanted.update(origin.get(name, name) for name in (*names, node.name))
    floats = [item.name for item in graph.inputs if item.dtype in FLOAT_DTYPES]
    return tuple(name for name in (*floats, *(node.name for node in graph.nodes)) if name in wanted)


def _is_kernel(node: Node) -> bool:
    return node.op.removeprefix("aten.").partition(".")[0] in _KERNELS
