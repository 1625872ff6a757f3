from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from common.errors import CapacityError, UnsupportedModelError
from common.graph.build import build
from common.graph.check import check_graph
from common.graph.model import Graph, Input, Range, State, StateRef, ValueRef
from server.export.pipeline import export_model
from server.quantize.ranges import observe
from server.quantize.samples import Samples
from tests.support.fake_quantization import fake_quantized
from tests.support.graphs import Tensors, chain, node
from tests.support.models import TinyNet

X = ValueRef("x")
NUMBERS = np.linspace(-1, 3, 400, dtype=np.float32).reshape(100, 4)


def ranges_of(graph: Graph, samples: np.ndarray = NUMBERS, **states: torch.Tensor) -> dict[str, Range]:
    found = observe(graph, Tensors(states), Samples((samples,)), lambda *_: None)
    check_graph(replace(graph, ranges=found))
    return {item.value: item for item in found}


def test_ranges_are_those_of_all_batches_in_the_graph_s_order() -> None:
    graph = chain(node("twice", "aten.mul.Scalar", X, 2), node("y0", "aten.relu.default", ValueRef("twice")))
    found = ranges_of(graph)
    assert list(found) == ["x", "twice", "y0"]
    for name, low, high in (("x", -1, 3), ("twice", -2, 6), ("y0", 0, 6)):
        assert found[name].low == pytest.approx(low, abs=0.05)
        assert found[name].high == pytest.approx(high, abs=0.05)
    assert found["y0"].low == 0


def test_ranges_of_the_version_before_stay_where_they_still_serve() -> None:
    graph = chain(node("twice", "aten.mul.Scalar", X, 2), node("y0", "aten.relu.default", ValueRef("twice")))
    fresh = ranges_of(graph)
    near = {name: replace(item, low=1.005 * item.low, high=1.005 * item.high) for name, item in fresh.items()}
    held = {**near, "twice": Range("twice", -1.0, 1.0), "gone": Range("gone", -1.0, 1.0)}
    found = observe(graph, Tensors({}), Samples((NUMBERS,)), lambda *_: None, held=held)
    assert found == (near["x"], fresh["twice"], near["y0"])


def test_progress_is_told_in_batches_and_its_error_ends_the_work() -> None:
    graph, samples = chain(node("y0", "aten.relu.default", X)), Samples((NUMBERS[:20],))
    told: list[tuple[str, int, int]] = []
    observe(graph, Tensors({}), samples, lambda *step: told.append(step), batch=8)
    assert told == [("ranges", done, 3) for done in range(4)]

    def stop(_step: str, done: int, _total: int) -> None:
        if done == 1:
            raise CapacityError("enough")

    with pytest.raises(CapacityError, match="enough"):
        observe(graph, Tensors({}), samples, stop)


@pytest.mark.parametrize("never", [float("-inf"), torch.finfo(torch.float32).min, float("nan"), 2e30])
def test_what_is_masked_gets_no_range_and_its_neighbours_do(never: float) -> None:
    graph = chain(
        node("seen", "aten.add.Tensor", X, StateRef("mask")),
        node("weights", "aten.softmax.int", ValueRef("seen"), -1),
        node("y0", "aten.mul.Scalar", ValueRef("weights"), 2),
        states=(State("mask", "float32", (4,)),),
    )
    found = ranges_of(graph, mask=torch.tensor([0, 0, 0, never]))
    assert "seen" not in found
    assert "x" in found


def test_one_batch_with_a_mask_suffices() -> None:
    samples = NUMBERS.copy()
    samples[50, 0] = -np.inf
    assert "x" not in ranges_of(chain(node("y0", "aten.relu.default", X)), samples)


def test_values_that_are_zero_whole_empty_or_no_tensor_get_none() -> None:
    graph = chain(
        node("nothing", "aten.mul.Scalar", X, 0),
        node("whole", "aten._to_copy.default", X),
        node("greater", "aten.gt.Scalar", X, 0),
        node("sum", "aten.add.Tensor", ValueRef("greater"), ValueRef("greater")),
        node("empty", "aten.slice.Tensor", X, 1, 4, 4),
        node("still_empty", "aten.relu.default", ValueRef("empty")),
        node("size", "aten.sym_size.int", X, 1),
        node("y0", "aten.mul.Tensor", X, ValueRef("size")),
    )
    assert list(ranges_of(graph)) == ["x", "y0"]


def test_a_constant_has_a_range_to_zero() -> None:
    assert ranges_of(chain(node("y0", "aten.relu.default", X)), np.full((9, 4), 2.5, np.float32)) == {
        "x": Range("x", 0.0, 2.5),
        "y0": Range("y0", 0.0, 2.5),
    }


@pytest.mark.parametrize("size", [1e-42, 2e-35, 3e-33, 9e29])
def test_numbers_of_any_size_give_ranges_that_a_graph_may_have(size: float) -> None:
    ranges_of(chain(node("y0", "aten.relu.default", X)), (size * NUMBERS / 3).astype(np.float32))


def test_half_floats_count_too() -> None:
    graph = replace(chain(node("y0", "aten.add.Scalar", X, 1)), inputs=(Input("x", "float16", (None, 4)),))
    found = ranges_of(graph, NUMBERS.astype(np.float16))
    assert found["y0"].high == pytest.approx(4, abs=0.05)


def test_an_operator_that_fails_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"aten\.reshape\.default"):
        ranges_of(chain(node("y0", "aten.reshape.default", X, (3, 5))))


def test_a_net_of_eight_bit_values_answers_as_the_floats_do() -> None:
    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.float32) / 16).unsqueeze(1)
    net = trained(images[:500], torch.from_numpy(digits.target[:500]))
    exported = export_model(net, (images[:4],))
    source, rest = Tensors(exported.states), images[500:]
    samples = Samples((images[:64].numpy(),))
    ranges = observe(exported.graph, source, samples, lambda *_: None)
    assert len(ranges) >= 5
    (floats,) = build(exported.graph)(source, rest)
    (eight_bits,) = build(fake_quantized(replace(exported.graph, ranges=ranges)))(source, rest)
    assert not floats.equal(eight_bits)
    assert (floats.argmax(1) == eight_bits.argmax(1)).double().mean() >= 0.99
    assert (floats.argmax(1).numpy() == digits.target[500:]).mean() > 0.85


def trained(images: torch.Tensor, labels: torch.Tensor) -> TinyNet:
    torch.manual_seed(0)
    net = TinyNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(net(images), labels))
        optimizer.step()
    return net.eval()
