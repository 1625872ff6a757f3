"""What the constants of a model tell of what its layers see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from torch import nn

from common.graph.build import build
from common.nesting import lower
from server.export import Exported, export_model
from server.quantize.affine import quantize_rows
from server.quantize.column_means import column_means
from server.quantize.refit import refit

WIDTH, HIDDEN = 24, 40


class Block(nn.Module):
    """Norm, linear layer, activation, linear layer."""

    def __init__(self, activation: nn.Module, *, bias: bool = True, norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH) if norm else nn.Identity()
        self.up = nn.Linear(WIDTH, HIDDEN, bias=bias)
        self.activation = activation
        self.down = nn.Linear(HIDDEN, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The usual."""
        hidden: torch.Tensor = self.down(self.activation(self.up(self.norm(x))))
        return hidden


@dataclass(frozen=True, slots=True)
class _Source:
    """A ``StateSource``."""

    states: Mapping[str, torch.Tensor]

    def tensor(self, name: str) -> torch.Tensor:
        """By its name."""
        return self.states[name]


def exported(block: Block) -> Exported:
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
    return export_model(block.eval(), (torch.randn(2, 5, WIDTH, generator=generator),))


def seen_by(model: Exported, weight: str) -> torch.Tensor:
    """float64 [many, columns]: what a layer sees of inputs whose normed features are normally distributed."""
    seen: dict[str, torch.Tensor] = {}
    inputs = torch.randn(4000, 5, WIDTH, generator=torch.Generator().manual_seed(1))
    build(model.graph)(model, inputs, watch=seen.__setitem__)
    node = next(
        node for node in model.graph.nodes if any(weight == str(getattr(a, "name", "")) for a in node.args)
    )
    first: Any = node.args[0]
    return seen[first.name].reshape(-1, HIDDEN).double()


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.ReLU(), nn.Mish()])
@pytest.mark.parametrize("bias", [True, False])
def test_means_behind_an_activation_are_those_of_many_inputs(activation: nn.Module, bias: bool) -> None:  # noqa: FBT001
    model = exported(Block(activation, bias=bias))
    found = column_means(model.graph, model, {"up.weight", "down.weight"})
    assert found.keys() == {"up.weight", "down.weight"}
    gain, shift = model.states["norm.weight"], model.states["norm.bias"]
    torch.testing.assert_close(
        torch.from_numpy(found["up.weight"]),
        (shift / gain.square().mean().sqrt()).double(),
        atol=1e-3,
        rtol=0,
    )
    seen = seen_by(model, "down.weight")
    wanted = seen.mean(0) / seen.var(0).mean().sqrt()
    np.testing.assert_allclose(found["down.weight"], wanted.numpy(), atol=0.08)


@pytest.mark.parametrize("block", [Block(nn.Softmax(-1)), Block(nn.GELU(), norm=False)])
def test_nothing_is_said_where_constants_tell_nothing(block: Block) -> None:
    model = exported(block)
    assert column_means(model.graph, model, {"down.weight"}) == {}


@pytest.mark.parametrize("name", ["norm.weight", "norm.bias", "up.weight", "up.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_numbers_that_lead_nowhere_are_left(name: str, value: float) -> None:
    model = exported(Block(nn.GELU()))
    states = {**model.states, name: torch.full_like(model.states[name], value)}
    found = column_means(model.graph, _Source(states), {"down.weight"})
    assert all(np.isfinite(means).all() for means in found.values())


def test_a_fit_with_means_is_the_best_in_their_measure() -> None:
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(6, 300)).astype(np.float32)
    means = generator.normal(1, 2, 300)
    codes = np.clip(np.floor(weights * 3), -8, 7).astype(np.int8)
    fitted = refit(codes, weights, np.ones(6, np.float32), means)
    metric = np.eye(300) + np.outer(means, means)
    root = np.linalg.cholesky(metric).T
    for row in range(6):
        columns = np.stack([codes[row], np.ones(300)], 1).astype(np.float64)
        (scale, offset), *_ = np.linalg.lstsq(
            root @ columns, root @ weights[row].astype(np.float64), rcond=None
        )
        assert fitted.scale[row] == pytest.approx(scale, rel=1e-5)
        assert fitted.offset[row] == pytest.approx(offset, abs=1e-5)


def test_rows_of_equal_codes_meet_their_mean_whatever_they_see() -> None:
    weights = np.full((2, 9), 2.5, np.float32)
    fitted = refit(np.zeros((2, 9), np.int8), weights, np.ones(2, np.float32), np.arange(9.0))
    np.testing.assert_allclose(fitted.weights(), weights, rtol=1e-6)


@given(
    weights=hnp.arrays(np.float32, (3, 5), elements=st.floats(-1, 1, width=32)),
    means=hnp.arrays(np.float64, 5, elements=st.floats(-100, 100)),
    level=st.sampled_from([2, 4, 6]),
)
def test_scales_stay_above_zero_whatever_is_seen(
    weights: NDArray[np.float32], means: NDArray[np.float64], level: int
) -> None:
    full = quantize_rows(weights, 8)
    fitted = refit(lower(full.codes, 8 - level), weights, full.scale, means)
    assert (fitted.scale > 0).all()
    assert np.isfinite(fitted.offset).all()


def test_a_feature_that_hardly_moves_is_not_heeded() -> None:
    model = exported(Block(nn.GELU()))
    states = {**model.states, "norm.weight": torch.full((WIDTH,), 1e-6)}
    assert column_means(model.graph, _Source(states), {"up.weight", "down.weight"}) == {}


class Computed(Block):
    """Its first linear layer has a bias that is computed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The usual, else."""
        up = nn.functional.linear(self.norm(x), self.up.weight, self.up.bias * 2)
        hidden: torch.Tensor = self.down(self.activation(up))
        return hidden


def test_nothing_is_said_behind_a_bias_that_is_computed() -> None:
    model = exported(Computed(nn.GELU()))
    assert column_means(model.graph, model, {"down.weight"}) == {}
