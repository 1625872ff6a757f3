"""What an export makes of each form of weight: the shape that is stored, and how the graph reads it."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from common.errors import InvalidInputError, UnsupportedModelError
from common.graph.build import build
from common.graph.left_float import float_states
from common.graph.uses import quantizable_states
from server.export import Exported, export_model
from tests.support.graphs import Tensors
from tests.support.zoo import WORDS, ZOO, Cells, Function, TiedLanguageModel

X = torch.randn(2, 8)
SEQUENCES = torch.randn(2, 5, 8)


class Weighted(nn.Module):
    """Applies a function to its inputs and its parameters "weights.0", "weights.1"…"""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in shapes])

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.weights)


def _shapes(exported: Exported) -> dict[str, tuple[int, ...]]:
    return {name: tuple(exported.states[name].shape) for name in quantizable_states(exported.graph)}


def _ops(exported: Exported) -> Counter[str]:
    return Counter(node.op for node in exported.graph.nodes)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x, w: x @ w, (8, 6)),
        (lambda x, w: x @ w.t(), (6, 8)),
        (lambda x, w: x @ w.T, (6, 8)),
        (lambda x, w: x @ w.mT, (6, 8)),
        (lambda x, w: x @ w[0], (1, 8, 6)),
        (lambda x, w: torch.matmul(x, w.transpose(-1, -2)), (6, 8)),
        (functional.linear, (6, 8)),
        (lambda x, w: functional.linear(x, w.t()), (8, 6)),
        (lambda x, w: torch.tensordot(x, w, dims=1), (8, 6)),
        (lambda x, w: torch.einsum("bti,io->bto", x, w), (8, 6)),
        (lambda x, w: torch.einsum("bti,oi->bto", x, w), (6, 8)),
        (lambda x, w: torch.einsum("bti,ihk->bthk", x, w), (8, 2, 3)),
        (lambda x, w: torch.bmm(x, w.expand(x.shape[0], -1, -1)), (1, 8, 6)),
        (lambda x, w: torch.bmm(x, w.t().unsqueeze(0).expand(x.shape[0], -1, -1)), (6, 8)),
    ],
)
def test_a_product_with_a_weight_is_a_linear_layer(
    function: Callable[..., torch.Tensor], shape: tuple[int, ...]
) -> None:
    exported = export_model(Weighted(function, shape), (SEQUENCES,))
    assert _shapes(exported) == {"weights.0": (6, 8)}
    assert _ops(exported)["aten.linear.default"] == 1
    assert not {"aten.mm.default", "aten.matmul.default", "aten.bmm.default"} & set(_ops(exported))


@pytest.mark.parametrize(
    ("function", "shape", "stored"),
    [
        (lambda x, w: w @ x, (6, 5), (6, 5)),
        (lambda x, w: (w @ x.transpose(0, 1).flatten(1)).reshape(6, -1, 8).transpose(0, 1), (6, 5), (6, 5)),
        (lambda x, w: torch.bmm(x.transpose(0, 1), w).transpose(0, 1), (5, 8, 6), (30, 8)),
        (lambda x, w: torch.bmm(x.transpose(0, 1), w.transpose(1, 2)).transpose(0, 1), (5, 6, 8), (30, 8)),
        (lambda x, w: torch.matmul(x.unsqueeze(1), w), (3, 8, 6), (18, 8)),
        (lambda x, w: torch.matmul(w, x.unsqueeze(1)), (3, 6, 5), (18, 5)),
        (lambda x, w: torch.einsum("bei,eio->beo", x, w), (5, 8, 6), (30, 8)),
        (lambda x, w: torch.cat([x @ part for part in w.chunk(3, 1)], -1), (8, 6), (6, 8)),
        (lambda x, w: x @ w[0] @ w[1], (2, 8, 8), (16, 8)),
    ],
)
def test_other_products_store_one_output_channel_in_a_row(
    function: Callable[..., torch.Tensor], shape: tuple[int, ...], stored: tuple[int, ...]
) -> None:
    exported = export_model(Weighted(function, shape), (SEQUENCES,))
    assert _shapes(exported) == {"weights.0": stored}


def test_products_that_add_are_weights_too() -> None:
    def scaled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.addmm(bias, x, weight, beta=0.5)

    exported = export_model(Weighted(scaled, (8, 6), (6,)), (X,))
    assert _shapes(exported) == {"weights.0": (6, 8)}
    bilinear = export_model(nn.Bilinear(8, 8, 3), (X, X))
    assert _shapes(bilinear) == {"weight": (3, 64)}


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_and_tables_of_words_are_embeddings(mode: str) -> None:
    words = torch.randint(WORDS, (2, 6))
    bag = export_model(nn.EmbeddingBag(WORDS, 8, mode=mode), (words,))
    assert _shapes(bag) == {"weight": (WORDS, 8)}
    table = export_model(Weighted(lambda ids, w: w[ids], (WORDS, 8)), (words,))
    assert _shapes(table) == {"weights.0": (WORDS, 8)}


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_transposed_convolutions_are_stored_by_output_channel_with_the_kernel_last(dimensions: int) -> None:
    exported = export_model(*ZOO[f"transposed {dimensions}d"]())
    three, two = (3,) * dimensions, (2,) * dimensions
    assert _shapes(exported) == {
        "0.weight": (8, 2, *three),
        "1.weight": (6, 8, *three),
        "2.weight": (4, 3, *two),
        "3.weight": (4, 1, *three),
        "4.weight": (8, 1, *three),
        "5.weight": (8, 1, *three),
    }


def test_a_weight_that_is_tied_to_a_product_or_an_einsum_is_stored_once() -> None:
    for scores in (
        lambda hidden, words: hidden @ words.weight.T,
        lambda hidden, words: torch.einsum("btd,vd->btv", hidden, words.weight),
        lambda hidden, words: functional.linear(hidden, words.weight),
    ):
        tied = Function(lambda ids, words, scores=scores: scores(words(ids), words), nn.Embedding(WORDS, 8))
        exported = export_model(tied, (torch.randint(WORDS, (2, 6)),))
        assert _shapes(exported) == {"layers.0.weight": (WORDS, 8)}
        assert set(exported.states) == {"layers.0.weight"}
        assert _ops(exported)["aten.linear.default"] == 1
    assert _shapes(export_model(TiedLanguageModel(), (torch.randint(WORDS, (2, 6)),))) == {
        "words.weight": (WORDS, 8)
    }


def test_a_module_that_is_called_twice_has_its_weight_stored_once() -> None:
    for layer in (nn.Linear(8, 8), nn.Conv1d(5, 5, 3, padding=1), nn.ConvTranspose1d(5, 5, 3, padding=1)):
        exported = export_model(Function(lambda x, layer: layer(layer(x)), layer), (SEQUENCES,))
        assert list(_shapes(exported)) == ["layers.0.weight"]
        assert set(exported.states) == {"layers.0.weight", "layers.0.bias"}


def test_uses_that_want_other_output_channels_stay_float_with_the_reason() -> None:
    there_and_back = Weighted(lambda x, w: functional.linear(x, w) @ w, (6, 8))
    exported = export_model(there_and_back, (X,))
    (left,) = float_states(exported.graph)
    assert (left.name, left.size_bytes) == ("weights.0", 192)
    assert "have other axes of it as output channels" in left.reason
    added = export_model(Weighted(lambda x, w: functional.linear(x, w) + w[0], (8, 8)), (X,))
    (left,) = float_states(added.graph)
    assert left.reason == "used by aten.add.Tensor in the model itself as a plain tensor"


def test_weights_of_one_element_and_without_elements_are_delivered() -> None:
    one = export_model(nn.Linear(1, 1), (torch.randn(2, 1),))
    assert _shapes(one) == {"weight": (1, 1)}
    for model in (
        Weighted(lambda x, w: torch.cat([x, functional.linear(x, w)], 1), (0, 8)),
        Weighted(lambda x, w: x + functional.linear(x[:, :0], w), (8, 0)),
        Weighted(lambda x, w: torch.cat([x, x @ w], 1), (8, 0)),
    ):
        exported = export_model(model, (X,))
        assert [item.reason for item in float_states(exported.graph)] == ["no elements"]


def test_frequencies_of_positions_are_no_weights() -> None:
    def rotary(x: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
        places = torch.arange(5.0).expand(x.shape[0], 1, 5)
        return (frequencies[None, :, None].expand(x.shape[0], -1, 1) @ places).cos() * x.mT

    exported = export_model(Weighted(rotary, (8,)), (SEQUENCES,))
    assert _shapes(exported) == {}


def test_a_view_that_is_taken_early_is_taken_where_it_is_read() -> None:
    def late(x: torch.Tensor, weight: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        turned = weight.transpose(1, 2)
        for _ in range(10):
            x = torch.relu(layer(x))
        return torch.bmm(x.transpose(0, 1), turned)

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 8, 8))
            self.layer = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> Any:
            return late(x, self.weight, self.layer).transpose(0, 1)

    nodes = export_model(Late(), (SEQUENCES,)).graph.nodes
    reader = next(index for index, node in enumerate(nodes) if node.op == "aten.bmm.default")
    first = next(index for index, node in enumerate(nodes) if "weight" in map(_name, node.references()))
    assert first == reader - 2


def _name(reference: Any) -> str:
    return str(reference.name)


class Alive(Tensors):
    """Watches how many bytes of float weights of two axes or more are alive."""

    def __init__(self, exported: Exported) -> None:
        super().__init__(exported.states)
        self._given: list[weakref.ref[torch.Tensor]] = []
        self.most_bytes = 0

    def tensor(self, name: str) -> torch.Tensor:
        tensor = super().tensor(name)
        if tensor.ndim > 1:
            self._given.append(weakref.ref(tensor))
        alive = [item() for item in self._given]
        self.most_bytes = max(self.most_bytes, sum(item.nbytes for item in alive if item is not None))
        return tensor


def test_turned_weights_are_gone_before_the_next_one_comes() -> None:
    layers = [nn.ConvTranspose1d(8, 8, 3, padding=1, groups=groups) for groups in (1, 2, 4, 1)]
    exported = export_model(nn.Sequential(*layers), (torch.randn(2, 8, 5),))
    source = Alive(exported)
    gc.disable()
    try:
        build(exported.graph)(source, torch.randn(3, 8, 5))
    finally:
        gc.enable()
    assert source.most_bytes == 8 * 8 * 3 * 4


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_asks_for_each_weight_once_however_many_steps_there_are(
    kind: Callable[..., nn.Module],
) -> None:
    layer = kind(4, 6, num_layers=2, bidirectional=True, batch_first=True)
    exported = export_model(Function(lambda x, cell: cell(x)[0], layer), (torch.randn(2, 12, 4),))
    assert len(_shapes(exported)) == 8
    source = Alive(exported)
    build(exported.graph)(source, torch.randn(2, 12, 4))
    assert set(Counter(source.asked).values()) == {1}
    largest = sorted(exported.states[name].nbytes for name in _shapes(exported))[-2:]
    assert source.most_bytes <= sum(largest)


def test_stacked_cells_keep_their_weights_from_step_to_step() -> None:
    exported = export_model(Cells(steps=6), (torch.randn(2, 4),))
    assert len(_shapes(exported)) == 6
    source = Tensors(exported.states)
    build(exported.graph)(source, torch.randn(2, 4))
    assert set(Counter(source.asked).values()) == {1}


def test_a_transposed_product_in_a_loop_keeps_its_weight() -> None:
    def steps(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        hidden = x.transpose(0, 1)
        for _ in range(8):
            hidden = torch.tanh(torch.bmm(hidden, weight) * 0.1 + hidden)
        return hidden.transpose(0, 1)

    exported = export_model(Weighted(steps, (5, 8, 8)), (SEQUENCES,))
    assert _shapes(exported) == {"weights.0": (40, 8)}
    source = Tensors(exported.states)
    build(exported.graph)(source, SEQUENCES)
    assert source.asked == ["weights.0"]


def test_computed_weights_are_computed_at_export() -> None:
    exported = export_model(*ZOO["parametrized"]())
    assert _shapes(exported) == {
        "0.weight": (6, 4, 3),
        "1.weight": (6, 6, 3),
        "3.weight": (4, 6, 3),
        "4.weight": (4, 4, 3),
        "6.weight": (4, 24),
    }
    assert not [name for name in exported.states if "parametrizations" in name]
    assert not {"aten.mul.Tensor", "aten.div.Tensor", "aten.linalg_vector_norm.default"} & set(_ops(exported))


def test_a_computed_weight_does_not_take_a_name_that_there_is() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8))

        def forward(self, x: torch.Tensor) -> Any:
            return functional.linear(functional.linear(x, self.weight), self.weight / self.weight.norm())

    assert export_model(Named(), (X,)).graph.states[0].name == "weight"
    flipped = Weighted(lambda x, w: functional.linear(x, w.flip(0) * 2), (8, 8))
    flipped.register_parameter("weight", nn.Parameter(torch.randn(8)))
    exported = export_model(Function(lambda x, inner: inner(x) + inner.weight, flipped), (X,))
    assert _shapes(exported) == {"layers.0.weight_1": (8, 8)}


def test_a_product_of_thin_matrices_stays_two_and_an_added_one_is_merged() -> None:
    thin = export_model(Weighted(lambda x, a, b: functional.linear(x, a @ b), (8, 2), (2, 8)), (X,))
    assert _shapes(thin) == {"weights.0": (8, 2), "weights.1": (8, 2)}
    merged = Weighted(lambda x, w, a, b: functional.linear(x, w + a @ b), (8, 8), (8, 2), (2, 8))
    assert _shapes(export_model(merged, (X,))) == {"weight": (8, 8)}


def test_randomness_in_a_weight_is_not_frozen() -> None:
    noisy = Weighted(lambda x, w: functional.linear(x, w * torch.rand(8, 8)), (8, 8))
    with pytest.raises(UnsupportedModelError, match=r"aten\.rand\.default"):
        export_model(noisy, (X,))


def test_a_computed_weight_that_is_no_number_is_refused() -> None:
    layer = parametrizations.weight_norm(nn.Linear(8, 8))
    with torch.no_grad():
        next(iter(layer.parametrizations.parameters())).fill_(float("nan"))
    with pytest.raises(InvalidInputError, match="NaN"):
        export_model(layer, (X,))
