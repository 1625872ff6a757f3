from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from common.errors import InvalidInputError, NotFoundError, UnsupportedModelError
from server.export import export_model, load_exported, save_exported
from server.export.files import GRAPH_FILE, INPUTS_FILE, WEIGHTS_FILE
from tests.support.zoo import Function

X = torch.randn(2, 4)


class Spectrum(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return torch.fft.rfft(x).abs()


class Counting(nn.Module):
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> Any:
        self.calls += 1
        return self.layer(x) * self.calls


def _layer(function: Callable[..., Any]) -> nn.Module:
    return Function(function, nn.Linear(4, 4))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Sequential(Spectrum())), r"'aten\.\w+\.\w+' in layer '1\.0'"),
        (_layer(lambda x, layer: layer(torch.rand_like(x))), r"'aten\.rand_like\.default'"),
        (_layer(lambda x, layer: layer(x) if x.sum() > 0 else x), "cannot follow the model"),
        (_layer(lambda x, layer: layer(x).reshape(2, 4)), "at batch size 2, but not at 3"),
        (_layer(lambda x, layer: (layer(x), x.shape[0])), "is no tensor"),
        (_layer(lambda x, layer: layer(x) * x.shape[0] if x.shape[0] > 2 else layer(x)), "batch size"),
        (Counting(), "changes 'calls' while it answers"),
    ],
)
def test_what_cannot_be_delivered_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        export_model(model, (X,))


@pytest.mark.parametrize(
    "model",
    [
        nn.Identity(),
        nn.ReLU(),
        nn.Sequential(),
        Function(lambda x: x + torch.ones(4)),
        _layer(lambda x, _: x + 1),
    ],
)
def test_an_empty_model_is_refused(model: nn.Module) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        export_model(model, (X,))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    last = nn.Linear(4, 4)
    with torch.no_grad():
        last.weight[2, 1] = value
    model = nn.Sequential(nn.Linear(4, 4), last)
    with pytest.raises(InvalidInputError, match=r"'1\.weight' holds 1 values that are NaN or infinite"):
        export_model(model, (X,))


def test_statistics_that_are_no_numbers_are_named() -> None:
    norm = nn.BatchNorm1d(2)
    assert norm.running_var is not None
    norm.running_var[0] = float("inf")
    model = nn.Sequential(nn.Conv1d(2, 2, 1), norm)
    with pytest.raises(InvalidInputError, match=r"'1\.running_var'"):
        export_model(model, (torch.randn(2, 2, 4),))


def test_weights_without_values_are_refused() -> None:
    with pytest.raises(InvalidInputError):
        export_model(nn.Linear(4, 4, device="meta"), (X,))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "at least one"),
        ({}, "at least one"),
        ((3,), "'input' is a int, no tensor"),
        ((torch.tensor(1.0),), "axis 0 is the batch"),
        ((torch.ones(0, 4),), "axis 0 is the batch"),
        ((torch.ones(2, 4, dtype=torch.complex64),), "is complex64"),
        ((torch.ones(2, 4), torch.ones(2, 4)), "takes 1 inputs by position, not 2"),
        ((torch.ones(2, 5),), "fails on its example inputs"),
        ({"wrong": torch.ones(2, 4)}, "fails on its example inputs"),
    ],
)
def test_example_inputs_that_do_not_fit_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        export_model(nn.Linear(4, 4), inputs)


def test_example_inputs_of_several_batch_sizes_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"batch sizes .* differ"):
        export_model(nn.Bilinear(4, 4, 4), (torch.ones(2, 4), torch.ones(3, 4)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_exported(export_model(nn.Linear(4, 4), (X,)), folder)
    return folder


def _copy(saved: Path, folder: Path) -> Path:
    for name in (GRAPH_FILE, WEIGHTS_FILE, INPUTS_FILE):
        (folder / name).write_bytes((saved / name).read_bytes())
    return folder


@pytest.mark.parametrize("name", [GRAPH_FILE, WEIGHTS_FILE, INPUTS_FILE])
def test_a_missing_or_cut_file_is_named(name: str, saved: Path, tmp_path: Path) -> None:
    folder = _copy(saved, tmp_path)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidInputError):
        load_exported(folder)
    (folder / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        load_exported(folder)


def test_tensors_that_are_not_the_graphs_are_refused(saved: Path, tmp_path: Path) -> None:
    folder = _copy(saved, tmp_path)
    safetensors.torch.save_file({"weight": torch.ones(4, 5), "bias": torch.ones(4)}, folder / WEIGHTS_FILE)
    with pytest.raises(InvalidInputError, match=r"'weight' is float32 \[4, 5\] where"):
        load_exported(folder)
    folder = _copy(saved, tmp_path)
    safetensors.torch.save_file({"other": torch.ones(2, 4)}, folder / INPUTS_FILE)
    with pytest.raises(InvalidInputError, match="does not hold the graph's inputs"):
        load_exported(folder)


def test_a_model_that_cannot_be_followed_is_told_by_the_error_alone(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UnsupportedModelError, match="cannot follow"):
        export_model(_layer(lambda x, layer: layer(x) if x.sum() > 0 else x), (X,))
    assert capfd.readouterr() == ("", "")
