"""Hessians from a graph: what the layers of a live model saw, multiplied out."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.models.mobilenet import InvertedResidual
from benchmarks.quantize.dedicated.calibration import columns_of, hessians, layers_of
from server.export import export_model


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=3, bias=False),
        InvertedResidual(6, 6, 1),
        nn.Flatten(),
        nn.Linear(6 * 16, 4),
    ).eval()


def test_columns_times_weights_are_the_outputs() -> None:
    model, images = net(), torch.randn(5, 2, 8, 8)
    exported = export_model(model, images[:2])
    layers = {layer.weight: layer for layer in layers_of(exported.graph)}
    assert set(layers) == {name for name in exported.states if exported.states[name].ndim > 1}
    with torch.no_grad():
        seen = model[:2](images)  # type: ignore[index]
        wanted = model[2](seen)  # type: ignore[index]
    weight = exported.states["2.weight"]
    columns = columns_of(exported.graph.nodes[layers["2.weight"].node], seen, weight)
    outputs = weight.reshape(3, 2, -1) @ columns
    torch.testing.assert_close(outputs.view(6, 5, 4, 4).transpose(0, 1), wanted, rtol=1e-4, atol=1e-5)


def test_hessians_are_means_over_all_samples_of_all_batches() -> None:
    model, images = net(), torch.randn(37, 2, 8, 8)
    exported = export_model(model, images[:2])
    found = hessians(exported.graph, exported, [images])
    with torch.no_grad():
        seen = model[:5](images)  # type: ignore[index]
    torch.testing.assert_close(found["5.weight"][0], seen.T @ seen / 37, rtol=1e-3, atol=1e-4)
    assert found["2.weight"].shape == (3, 18, 18)
    assert found["3.layers.3.weight"].shape == (36, 9, 9)
