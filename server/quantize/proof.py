"""The self-test's expected answers, computed on the very blobs that will be sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from numpy.typing import NDArray

from common.graph.build import build
from common.graph.model import Graph
from common.graph.outputs import check_outputs
from common.manifest import Block
from common.self_test import SelfTest
from server.quantize.expectations import Answer, Inputs, make_self_test
from server.quantize.level_source import LevelSource
from server.quantize.order import Order
from server.quantize.samples import Samples

_SHARE: Final = 200  # one part in so many of the version's bytes, so that metadata stays below 1 %
_MIN_BYTES: Final = 16 * 1024
_MAX_BYTES: Final = 256 * 1024


def prove(
    graph: Graph,
    blocks: Sequence[Block],
    samples: Samples,
    order: Order,
    *,
    wire_bytes: int,
    read: Callable[[str], bytes],
    report: Callable[[str, int, int], None],
) -> SelfTest:
    """The version's self-test.

    Args:
        graph: The computation.
        blocks: All blocks of the version.
        samples: To derive it from.
        order: Says levels and least agreement.
        wire_bytes: Of all blobs; the self-test has a share of it.
        read: A blob's bytes by digest.
        report: Told of progress under "self-test".
    """
    return make_self_test(
        samples,
        order.levels,
        _answer(graph, blocks, order.levels, read, report),
        min_agreement=order.min_agreement,
        target_bytes=min(max(wire_bytes // _SHARE, _MIN_BYTES), _MAX_BYTES),
    )


def _answer(
    graph: Graph,
    blocks: Sequence[Block],
    levels: Sequence[int],
    read: Callable[[str], bytes],
    report: Callable[[str, int, int], None],
) -> Answer:
    runner = build(graph)

    def answer(level: int, inputs: Inputs) -> tuple[NDArray[Any], ...]:
        report("self-test", levels.index(level), len(levels))
        source = LevelSource(blocks, levels, level, read)
        outputs = runner(source, *(torch.from_numpy(array) for array in inputs))
        check_outputs(graph, [(str(output.dtype).removeprefix("torch."), output.shape) for output in outputs])
        report("self-test", levels.index(level) + 1, len(levels))
        return tuple(
            (output.float() if output.dtype == torch.bfloat16 else output).numpy() for output in outputs
        )

    return answer
