"""What tests look at in a snapshot."""

from __future__ import annotations

import numpy as np

from device_agent.inference.dequantize import Dequantizer
from device_agent.residency.codes import is_unpacked
from device_agent.residency.resident import Snapshot
from tests.support.blocks import RandomVersion


def assert_weights(version: RandomVersion, snapshot: Snapshot) -> None:
    """Each part is what its own level says; a tensor's parts may be at different levels."""
    for name in version.codes:
        parts = snapshot.parts(name)
        weight = Dequantizer().weight(parts, highest_level=snapshot.levels[-1])
        rows = weight.reshape(weight.shape[0], -1).numpy()
        for resident in parts:
            part = resident.part
            expected = version.expected(name, resident.codes.level)[part.start : part.stop]
            np.testing.assert_array_equal(rows[part.start : part.stop], expected)
    assert_floats(version, snapshot)


def assert_floats(version: RandomVersion, snapshot: Snapshot) -> None:
    """Each float of each level is there for all levels from its block's base up to its level."""
    for block, resident in zip(version.manifest.blocks, snapshot.blocks, strict=True):
        assert set(resident.level_floats) == set(block.level_floats)
        for name in block.level_floats:
            assert len(resident.level_floats[name]) == len(resident.levels)
            for level in version.manifest.levels:
                at = min(max(level, resident.levels[0]), resident.level)
                np.testing.assert_array_equal(
                    snapshot.float_value(name, level), version.level_floats[name, at]
                )
        for name in block.floats:
            np.testing.assert_array_equal(snapshot.float_value(name, 2), version.floats[name])


def state_of(snapshot: Snapshot) -> list[object]:
    """Everything that a snapshot holds, comparable."""
    return [
        (
            block.levels,
            block.digest,
            [
                (
                    part.part,
                    part.levels,
                    part.codes.unsigned().tobytes(),
                    [(one.scale.tobytes(), one.offset.tobytes()) for one in part.affines],
                    [carry and carry.unsigned().tobytes() for carry in part.carries],
                )
                for part in block.parts
            ],
            {name: value.tobytes() for name, value in block.floats.items()},
            {name: [value.tobytes() for value in values] for name, values in block.level_floats.items()},
        )
        for block in snapshot.blocks
    ]


def forms_of(snapshot: Snapshot) -> dict[str, set[bool]]:
    """Tensor name to whether its parts take a byte a weight."""
    return {name: {is_unpacked(part.codes) for part in snapshot.parts(name)} for name in snapshot.tensors}
