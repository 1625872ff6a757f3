"""Errors of weights over parts, blocks and levels; energies by hand."""

from __future__ import annotations

import pytest
import torch

from server.quantize.fidelity.block_reader import BlockReader
from server.quantize.fidelity.weight_errors import (
    PartErrors,
    part_errors,
    tensor_fidelities,
    weight_sensitivity,
    weight_sqnr_db,
)
from tests.support.measuring import measurable, tiny_version

WHOLE = PartErrors("whole", (4, 6, 8), (2, 2), 900.0, (9.0, 0.9, 0.0), (10.0, 1.0, 0.0))
UPPER = PartErrors("split", (4, 6, 8), (2, 2), 60.0, (1.0, 0.1, 0.01), (1.2, 0.12, 0.0))
LOWER = PartErrors("split", (6, 8), (2,), 40.0, (0.4, 0.04), (0.5, 0.0))


def test_a_part_below_its_base_counts_as_at_its_base() -> None:
    assert [LOWER.error_at(level) for level in (4, 6, 8)] == [0.4, 0.4, 0.04]


def test_sqnr_is_over_the_energies_of_all_parts() -> None:
    assert weight_sqnr_db([WHOLE, UPPER, LOWER], 4) == 19.8297  # of 1000 / (9 + 1 + 0.4)
    assert weight_sqnr_db([WHOLE], 8) is None
    assert weight_sqnr_db([], 8) is None


def test_a_split_tensor_has_the_levels_of_its_lowest_part_and_the_energy_of_all() -> None:
    split, whole = tensor_fidelities([LOWER, WHOLE, UPPER], {"split": "floor", "whole": "adaptive"})
    assert (split.name, split.rounding, split.levels, split.shard_bits) == (
        "split",
        "floor",
        (4, 6, 8),
        (2, 2),
    )
    assert split.weight_sqnr_db == (18.5387, 23.0103, 33.0103)  # 100 / 1.4, 100 / 0.5, 100 / 0.05
    assert (whole.rounding, whole.weight_sqnr_db) == ("adaptive", (20.0, 30.0, None))


def test_sensitivity_by_weights_is_a_share_of_each_tensors_energy() -> None:
    found = weight_sensitivity([[WHOLE, UPPER], [], [LOWER]])
    assert found == {
        (0, 4): pytest.approx(10 / 900 + 1.2 / 100),
        (0, 6): pytest.approx(1 / 900 + 0.12 / 100),
        (0, 8): 0.0,
        (2, 6): pytest.approx(0.5 / 100),
        (2, 8): 0.0,
    }


def test_a_tensor_of_zeros_is_no_division_by_zero() -> None:
    zeros = PartErrors("zeros", (4, 8), (4,), 0.0, (0.0, 0.0), (0.0, 0.0))
    assert weight_sensitivity([[zeros]]) == {(0, 4): 0.0, (0, 8): 0.0}
    assert weight_sqnr_db([zeros], 4) is None


def test_energies_are_those_of_the_weights_that_the_blobs_give() -> None:
    with measurable(tiny_version()) as version:
        version.raise_base(0, 6)
        reader = BlockReader(version.levels, version.blobs.__getitem__)
        block = version.blocks[0]
        at = {level: reader.at(block, level).rows for level in (6, 8)}
        assert at[6].keys() == at[8].keys() == set(block.tensors)
        for part, errors in zip(block.tensors, part_errors(block, version.weights, reader), strict=True):
            floats = version.weights.whole(part.name)[part.start : part.stop].double()
            assert (errors.name, errors.levels, errors.shard_bits) == (part.name, (6, 8), (2,))
            assert errors.signal == pytest.approx(float((floats**2).sum()))
            for place, level in enumerate((6, 8)):
                rows = at[level][part].double()
                assert errors.errors[place] == pytest.approx(float(((rows - floats) ** 2).sum()), rel=1e-4)
            drop = ((at[6][part] - at[8][part]).double() ** 2).sum()
            assert errors.drops[0] == pytest.approx(float(drop))
            assert errors.drops[1] == 0.0
            assert torch.equal(reader.at(block, 4).rows[part], at[6][part])
