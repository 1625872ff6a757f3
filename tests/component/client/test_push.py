from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from common.errors import (
    CapacityError,
    InvalidInputError,
    LinkError,
    NotFoundError,
    UnsupportedModelError,
)
from server.client import Acceptance, FleetClient, Publication, push
from server.client.push import push_exported, push_folder
from server.export import Exported, export_model, save_exported
from tests.support.models import tiny_net
from tests.support.server import running_server


@pytest.fixture(scope="module")
def exported() -> Exported:
    return export_model(*tiny_net())


@pytest.fixture(scope="module")
def saved(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    save_exported(exported, folder)
    return folder


async def test_a_live_model_becomes_a_version_with_its_acceptance_test(tmp_path: Path) -> None:
    model, inputs = tiny_net()
    labels = model(*inputs).argmax(-1)
    steps: list[str] = []
    async with running_server(tmp_path) as server:
        version = await asyncio.to_thread(
            push,
            model,
            inputs,
            name="digits",
            levels=(4, 8),
            server=server.addresses.grpc,
            self_test=(inputs, labels),
            min_agreement=0.5,
            on_progress=lambda step, _done, _total: steps.append(step),
        )
        with FleetClient(server.addresses.grpc) as client:
            detail = await asyncio.to_thread(client.get_version, "digits")
            self_test = await asyncio.to_thread(client.read_blob, detail.manifest.self_test)
    assert (version.ref.model, version.ref.version, list(version.levels)) == ("digits", 1, [4, 8])
    assert detail.version == version
    assert b"labels" in self_test
    assert list(dict.fromkeys(steps)) == [
        "export",
        "receive",
        "quantize",
        "fidelity",
        "self-test",
        "ranges",
        "store",
    ]


async def test_a_saved_model_and_an_exported_one_give_the_same_blobs(
    tmp_path: Path, exported: Exported, saved: Path
) -> None:
    order = Publication("digits")
    async with running_server(tmp_path) as server:
        address = server.addresses.grpc
        await asyncio.to_thread(push_folder, saved, order, server=address)
        await asyncio.to_thread(push_exported, exported, order, server=address)
        with FleetClient(address) as client:
            first = await asyncio.to_thread(client.get_version, "digits", 1)
            second = await asyncio.to_thread(client.get_version, "digits", 2)
    assert first.manifest.blocks == second.manifest.blocks
    assert first.manifest.graph == second.manifest.graph


async def test_what_cannot_be_delivered_names_the_layer_and_publishes_nothing(tmp_path: Path) -> None:
    class Spectrum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(8, 8)

        def forward(self, signal: torch.Tensor) -> torch.Tensor:
            return cast("torch.Tensor", torch.fft.fft(self.mix(signal)).real)

    async with running_server(tmp_path) as server:
        with pytest.raises(UnsupportedModelError, match="fft"):
            await asyncio.to_thread(
                push, Spectrum(), (torch.zeros(2, 8),), name="spectrum", server=server.addresses.grpc
            )
        with FleetClient(server.addresses.grpc) as client:
            assert not await asyncio.to_thread(client.list_versions)


async def test_the_server_is_asked_before_the_model_is_exported() -> None:
    class Unused(nn.Module):
        def forward(self, _signal: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the model was run")

    with pytest.raises(LinkError, match=r"No server answers at 127\.0\.0\.1:1\."):
        await asyncio.to_thread(push, Unused(), (torch.zeros(1),), name="a", server="127.0.0.1:1")


async def test_what_the_server_refuses_comes_back_as_it_meant_it(tmp_path: Path, saved: Path) -> None:
    async with running_server(tmp_path, max_weights_bytes=1000) as server:
        with pytest.raises(CapacityError, match="max_weights_bytes"):
            await asyncio.to_thread(push_folder, saved, Publication("digits"), server=server.addresses.grpc)


def test_a_folder_without_a_model_is_refused(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no graph"):
        push_folder(tmp_path, Publication("digits"))
    for path in saved.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "inputs.safetensors").write_bytes(b"not that")
    with pytest.raises(InvalidInputError, match="is damaged"):
        push_folder(tmp_path, Publication("digits"))


async def test_samples_of_another_shape_are_refused_before_anything_is_sent(
    tmp_path: Path, saved: Path
) -> None:
    _, (image,) = tiny_net()
    acceptance = Acceptance(image[:, :, :4], labels=image[:, 0, 0, 0].long().numpy())
    async with running_server(tmp_path) as server:
        with pytest.raises(InvalidInputError, match="expected"):
            await asyncio.to_thread(
                push_folder, saved, Publication("digits", acceptance=acceptance), server=server.addresses.grpc
            )


async def test_calibration_evaluation_and_options_reach_the_server(tmp_path: Path) -> None:
    model, inputs = tiny_net()
    images = torch.rand(70, 1, 8, 8)
    options: dict[str, Any] = {
        "calibration": images.double(),
        "evaluation": (images, torch.zeros(70, dtype=torch.int32)),
        "pins": {"*": 4, "hidden.*": 8},
        "first_last": 8,
        "budget_bytes": 1 << 20,
        "min_fidelity": 0.01,
    }
    async with running_server(tmp_path) as server:
        address = server.addresses.grpc
        version = await asyncio.to_thread(push, model, inputs, name="digits", server=address, **options)
    assert version.ref.version == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": torch.zeros(2, 1, 8, 7)}, "calibration samples do not fit"),
        ({"calibration": torch.full((2, 1, 8, 8), torch.nan)}, "Sample 0 of the calibration"),
        ({"evaluation": (torch.zeros(2, 1, 8, 8), [1, -2])}, "Label 1 .* is -2"),
    ],
)
async def test_samples_that_cannot_be_used_are_refused_before_anything_is_sent(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    steps: list[str] = []

    def note(step: str, _done: int, _total: int) -> None:
        steps.append(step)

    async with running_server(tmp_path) as server:
        address = server.addresses.grpc
        with pytest.raises(InvalidInputError, match=message):
            await asyncio.to_thread(
                push, *tiny_net(), name="digits", server=address, on_progress=note, **options
            )
    assert set(steps) == {"export"}


async def test_what_is_wrong_with_labels_is_said_before_the_model_is_exported() -> None:
    model, inputs = tiny_net()
    with pytest.raises(InvalidInputError, match="labels in the evaluation samples are float32"):
        push(model, inputs, name="digits", server="127.0.0.1:1", evaluation=(inputs, torch.zeros(4)))
    with pytest.raises(InvalidInputError, match="labels in the acceptance samples are float32"):
        push(model, inputs, name="digits", server="127.0.0.1:1", self_test=(inputs, torch.zeros(4)))
