"""As many samples as there is room for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from server.export.exported import Exported
from server.export.pipeline import export_model
from server.quantize.calibration.room import affordable
from server.quantize.samples import Samples
from tests.support.graphs import Tensors
from tests.support.zoo import Function

SAMPLES = Samples((np.arange(60, dtype=np.float32).reshape(10, 6),))
WIDE_BYTES = 4 * (6 + 50)  # input and output of the layer


@pytest.fixture(scope="module")
def wide() -> Exported:
    model = nn.Sequential(nn.Linear(6, 50), nn.Flatten(), nn.Linear(50, 2))
    return export_model(model.eval(), (torch.rand(3, 6),))


@pytest.mark.parametrize(
    ("room_bytes", "count"),
    [(0, 1), (WIDE_BYTES, 1), (4 * WIDE_BYTES, 4), (10 * WIDE_BYTES, 10), (1 << 40, 10)],
)
def test_the_first_are_taken_at_least_one(wide: Exported, room_bytes: int, count: int) -> None:
    found = affordable(wide.graph, Tensors(wide.states), SAMPLES, room_bytes)
    assert found.count == count
    np.testing.assert_array_equal(found.inputs[0], SAMPLES.inputs[0][:count])


def test_views_of_one_value_take_its_room_once() -> None:
    model = Function(lambda x, layer: layer(x.unsqueeze(1)).transpose(1, 2).squeeze(2), nn.Linear(6, 50))
    exported = export_model(model.eval(), (torch.rand(3, 6),))
    found = affordable(exported.graph, Tensors(exported.states), SAMPLES, 4 * WIDE_BYTES)
    assert found.count == 4
