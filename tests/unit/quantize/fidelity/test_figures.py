"""Energies, decibels and sums over batches, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.errors import InvalidInputError
from server.quantize.fidelity import check_min_fidelity
from server.quantize.fidelity.answers import Answers
from server.quantize.fidelity.figures import decibels, energy, significant
from server.quantize.fidelity.tally import Tally
from tests.support.fidelity import block_gains, some_report


@pytest.mark.parametrize(
    ("signal", "error", "expected"),
    [(100.0, 1.0, 20.0), (1.0, 2.0, -3.0103), (5.0, 0.0, None), (0.0, 1.0, -1000.0), (1e300, 1e-300, 1000.0)],
)
def test_decibels(signal: float, error: float, expected: float | None) -> None:
    assert decibels(signal, error) == expected


def test_energy_is_added_up_in_double_precision() -> None:
    assert energy(np.array([[3, -4]], np.int8)) == 25.0
    assert energy(np.full(1000, 1e30, np.float32)) == pytest.approx(1e63)


def test_six_digits_are_kept() -> None:
    assert significant(0.123456789) == 0.123457
    assert significant(1.23456789e-9) == 1.23457e-9


def _answers(values: list[list[float]]) -> Answers:
    array = np.array(values)
    return Answers(array, array.argmax(axis=-1), array.argmax(axis=-1))


def test_a_tally_is_over_all_samples_of_all_batches() -> None:
    tally = Tally()
    tally.add(_answers([[3.0, 4.0], [0.0, 2.0]]), _answers([[3.0, 4.0], [2.0, 0.0]]), np.array([1, 0]))
    tally.add(_answers([[1.0, 0.0]]), _answers([[1.0, 0.0]]), np.array([0]))
    found = tally.fidelity(4, 77, 12.5)
    assert (found.level, found.size_bytes, found.weight_sqnr_db) == (4, 77, 12.5)
    assert found.output_cosine == 0.666667
    assert found.output_sqnr_db == 5.74031  # of (25 + 4 + 1) / 8
    assert found.argmax_agreement == 0.666667
    assert found.top1 == 0.666667


def test_without_choices_and_labels_there_are_no_shares_of_them() -> None:
    tally = Tally()
    tally.add(Answers(np.ones((2, 1)), None, None), Answers(np.ones((2, 1)), None, None), np.array([1, 1]))
    found = tally.fidelity(8, 1, None)
    assert (found.output_cosine, found.output_sqnr_db) == (1.0, None)
    assert (found.argmax_agreement, found.top1) == (None, None)


@pytest.mark.parametrize("bar", [0.0, 0.5, 0.92])
def test_a_version_at_the_bar_passes(bar: float) -> None:
    check_min_fidelity(some_report(), bar)


def test_below_the_bar_figures_and_what_could_be_done_are_told() -> None:
    with pytest.raises(InvalidInputError) as raised:
        check_min_fidelity(some_report(), 0.93)
    error = raised.value
    assert "At 4 bits" in error.message
    assert "0.9200 at 4 bits, 0.9950 at 6 bits, 0.9999 at 8 bits" in error.message
    assert "0.93 is asked for" in error.message
    assert "pin the most sensitive tensors to a higher level: first.weight, norm.weight;" in error.advice
    assert "last.weight" not in error.advice


def test_without_sensitive_blocks_none_is_named() -> None:
    report = replace(some_report(), blocks=(block_gains(0, "w"),))
    with pytest.raises(InvalidInputError) as raised:
        check_min_fidelity(report, 0.99)
    assert "pin" not in raised.value.advice
