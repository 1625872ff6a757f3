"""How a dedicated model's tensors are quantized, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.quantize.dedicated.calibration import Curvature
from benchmarks.quantize.dedicated.gptq import fit_to_outputs, gptq
from benchmarks.quantize.dedicated.squant import squant
from benchmarks.quantize.threads import one_thread
from server.quantize.affine import Affine, quantize_rows
from server.quantize.refit import refit


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A weight to be quantized.

    Attributes:
        name: In the graph.
        weights: float32, axis 0 is the output channel.
        curvature: What calibration samples say about it, where they do.
    """

    name: str
    weights: torch.Tensor
    curvature: Curvature | None = None

    def rows(self) -> NDArray[np.float32]:
        """float32 [rows, row_weights]."""
        rows: NDArray[np.float32] = self.weights.reshape(len(self.weights), -1).numpy()
        return rows

    @property
    def kernel(self) -> int:
        """Weights of a kernel; 1 for linear layers, embeddings and convolutions of one place."""
        return self.weights[0, 0].numel() if self.weights.ndim > 2 else 1


Method: TypeAlias = Callable[[Tensor, int], Affine]


def round_to_nearest(tensor: Tensor, bits: int) -> Affine:
    """Plain INT-n."""
    return quantize_rows(tensor.rows(), bits, name=tensor.name)


def with_flips(tensor: Tensor, bits: int) -> Affine:
    """SQuant."""
    return squant(tensor.rows(), bits, kernel=tensor.kernel, name=tensor.name)


def refitted(method: Method, tensor: Tensor, bits: int) -> Affine:
    """A method's codes with the scale and offset nearest to the weights."""
    found = method(tensor, bits)
    return refit(found.codes, tensor.rows(), found.scale)


def with_feedback(tensor: Tensor, bits: int, *, fit: bool = False) -> Affine:
    """GPTQ; plain INT-n for what no calibration sample says anything about, e.g. embeddings.

    Args:
        tensor: The weight.
        bits: Width of a code.
        fit: Whether scale and offset are fitted to the layer's outputs afterwards.
    """
    plain = round_to_nearest(tensor, bits)
    if tensor.curvature is None:
        return refit(plain.codes, tensor.rows(), plain.scale) if fit else plain
    groups = len(tensor.curvature.factor)
    weights = torch.from_numpy(tensor.rows()).view(groups, -1, plain.codes.shape[1])
    scale, offset = (torch.from_numpy(array).view(groups, -1) for array in (plain.scale, plain.offset))
    with one_thread():
        codes = gptq(weights, tensor.curvature.factor, scale, offset, bits)
    if fit:
        scale, offset = fit_to_outputs(codes, weights, tensor.curvature.hessian, scale)
    return Affine(codes.view(plain.codes.shape).numpy(), scale.view(-1).numpy(), offset.view(-1).numpy())


METHODS: Final[Mapping[str, Method]] = {
    "dedicated_rtn": round_to_nearest,
    "dedicated_rtn_refit": partial(refitted, round_to_nearest),
    "dedicated_squant": with_flips,
    "dedicated_squant_refit": partial(refitted, with_flips),
    "dedicated_gptq": with_feedback,
    "dedicated_gptq_refit": partial(with_feedback, fit=True),
}
CALIBRATED: Final = frozenset({"dedicated_gptq", "dedicated_gptq_refit"})
