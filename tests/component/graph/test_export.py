from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.models.resnet import resnet18
from common.graph.build import build
from common.graph.left_float import float_states
from common.graph.uses import quantizable_states
from server.export import Exported, export_model, load_exported, save_exported
from server.export.outputs import flatten
from tests.support.zoo import WORDS, ZOO, Examples, Products, TiedLanguageModel, randomize_statistics


def assert_same_answers(model: nn.Module, exported: Exported, inputs: tuple[torch.Tensor, ...]) -> None:
    with torch.no_grad():
        expected = model.eval()(*inputs)
    actual = build(exported.graph)(exported, *inputs)
    for output, seen, (name, wanted) in zip(exported.graph.outputs, actual, flatten(expected), strict=True):
        assert output.name == name
        assert output.dtype == str(seen.dtype).removeprefix("torch.")
        torch.testing.assert_close(seen, wanted, rtol=1e-4, atol=1e-5)


def _share_quantized(exported: Exported) -> float:
    quantized = sum(exported.states[name].numel() for name in quantizable_states(exported.graph))
    return quantized / sum(tensor.numel() for tensor in exported.states.values())


def _larger(inputs: Examples, batch: int) -> tuple[torch.Tensor, ...]:
    assert isinstance(inputs, tuple)
    return tuple(
        torch.randn(batch, *item.shape[1:], dtype=item.dtype)
        if item.is_floating_point()
        else torch.randint(WORDS, (batch, *item.shape[1:]))
        for item in inputs
    )


@pytest.mark.parametrize("name", ZOO)
def test_a_network_answers_from_its_graph_at_other_batch_sizes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, inputs = ZOO[name]()
    exported = export_model(model, inputs)
    save_exported(exported, tmp_path)
    loaded = load_exported(tmp_path)
    assert loaded.graph == exported.graph
    for batch in (1, 2, 5):
        assert_same_answers(model, loaded, _larger(inputs, batch))
    assert all(item.reason for item in float_states(loaded.graph))


def test_resnet_18_answers_from_its_graph() -> None:
    torch.manual_seed(0)
    model = resnet18()
    randomize_statistics(model)
    exported = export_model(model, (torch.randn(4, 1, 8, 8),))
    assert_same_answers(model, exported, (torch.randn(3, 1, 8, 8),))
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_172_810
    assert _share_quantized(exported) > 0.998
    assert exported.graph.inputs[0].shape == (None, 1, 8, 8)
    assert exported.graph.outputs[0].shape == (None, 10)
    assert {node.layer for node in exported.graph.nodes} >= {"conv1", "layer1.0", "layer4.1.bn2", "fc"}


def test_a_model_stays_as_it_was_and_the_export_does_not_follow_it() -> None:
    first = nn.Linear(4, 4)
    model = nn.Sequential(first, nn.Dropout(0.5), nn.Dropout(0.5).eval())
    exported = export_model(model, (torch.randn(2, 4),))
    assert [module.training for module in (model, *model)] == [True, True, True, False]
    before = exported.states["0.weight"].clone()
    with torch.no_grad():
        first.weight.add_(1)
    assert exported.states["0.weight"].equal(before)


def test_a_shared_weight_is_stored_once_and_unused_tensors_are_not() -> None:
    exported = export_model(TiedLanguageModel(), (torch.randint(WORDS, (2, 6)),))
    assert set(exported.states) == {"words.weight"}
    assert [output.name for output in exported.graph.outputs] == ["scores", "pooled.0", "pooled.1"]
    assert quantizable_states(exported.graph) == ("words.weight",)


def test_products_with_weights_are_stored_as_linear_layers() -> None:
    exported = export_model(Products(), (torch.randn(2, 8),))
    assert [node.op for node in exported.graph.nodes] == ["aten.linear.default"] * 3
    assert {name: tuple(tensor.shape) for name, tensor in exported.states.items()} == {
        "first": (6, 8),
        "second": (4, 6),
        "bias": (4,),
        "third": (5, 4),
    }


def test_inputs_by_keyword_in_any_order_keep_their_names() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, *, values: torch.Tensor, mask: torch.Tensor, **others: torch.Tensor) -> Any:
            return self.layer(values) * mask - others["shift"]

    model = Masked()
    inputs = {"shift": torch.randn(3, 1), "mask": torch.ones(3, 1), "values": torch.randn(3, 4)}
    exported = export_model(model, inputs)
    assert [item.name for item in exported.graph.inputs] == list(inputs)
    (actual,) = build(exported.graph)(exported, *inputs.values())
    torch.testing.assert_close(actual, model(**inputs))
    assert all(map(torch.equal, exported.inputs, inputs.values()))


def test_one_tensor_passed_twice_is_two_inputs() -> None:
    model, _ = ZOO["two inputs"]()
    same = torch.randn(2, 8)
    exported = export_model(model, (same, same))
    assert len(exported.graph.inputs) == 2


def test_equal_models_give_equal_bytes() -> None:
    def exported() -> Exported:
        torch.manual_seed(3)
        return export_model(*ZOO["products"]())

    first, second = exported(), exported()
    assert first.graph == second.graph
    assert list(first.states) == list(second.states)
