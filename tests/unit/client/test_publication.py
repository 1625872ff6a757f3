from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from common.errors import InvalidInputError
from server.client.publication import Acceptance, Evaluation, Labelled, Publication
from server.quantize.order import Pin

ACCEPTANCE = Acceptance([[0.0]], np.zeros(1, np.int64))


def test_the_defaults_are_sound() -> None:
    assert Publication("digits").levels == (4, 6, 8)
    assert Publication("digits", acceptance=ACCEPTANCE, min_agreement=1.0).min_agreement == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Digits"}, "model name"),
        ({"levels": (8, 4)}, "ascend"),
        ({"levels": ()}, "at least one level"),
        ({"rounding": "../floor"}, "rounding mode name"),
        ({"min_agreement": 1.01, "acceptance": ACCEPTANCE}, "no share"),
        ({"min_agreement": math.nan, "acceptance": ACCEPTANCE}, "no share"),
        ({"min_agreement": 0.5}, "needs labels"),
        ({"block_size_bytes": -1}, "not possible"),
        ({"block_size_bytes": 1 << 64}, "not possible"),
        ({"rounding": "calibrated"}, "needs calibration samples"),
        ({"pins": (Pin("*", 7),)}, "names 7 bits"),
        ({"pins": (Pin("*", 8),) * 257}, "257 pins; 256"),
        ({"pins": (Pin("*" * 513, 8),)}, "512 characters"),
        ({"first_last": 5}, "names 5 bits"),
        ({"budget_bytes": -1}, "budget"),
        ({"budget_bytes": 1 << 64}, "budget"),
        ({"min_fidelity": -0.1}, "least fidelity"),
        ({"min_fidelity": math.nan}, "least fidelity"),
    ],
)
def test_what_cannot_be_published_is_refused_at_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Publication(**{"name": "digits", **changes})


def test_options_of_quantizing_are_kept() -> None:
    pins = (Pin("encoder.*", 8), Pin("*.bias", 6))
    publication = Publication(
        "digits", rounding="calibrated", calibration=[[0.0]], pins=pins, first_last=8, budget_bytes=1 << 20
    )
    assert (publication.pins, publication.first_last, publication.budget_bytes) == (pins, 8, 1 << 20)


@pytest.mark.parametrize("pattern", ["", "a\ud800"])
def test_a_pattern_that_cannot_be_sent_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInputError, match="no pattern"):
        Pin(pattern, 8)


@pytest.mark.parametrize("kind", [Acceptance, Evaluation])
@pytest.mark.parametrize("labels", [[1, 2], np.array([1, 2], np.uint8), torch.tensor([1, 2])])
def test_labels_may_be_numbers_arrays_or_tensors(kind: type[Labelled], labels: Any) -> None:
    whole = kind([[0.0]], labels).labels
    assert whole.dtype == np.int64
    assert whole.tolist() == [1, 2]


@pytest.mark.parametrize("kind", [Acceptance, Evaluation])
@pytest.mark.parametrize(
    "labels",
    [[0.5], [1.0], [True], ["1"], [[1]], 1, None, [], torch.tensor([1.0]), np.array([1 << 63], np.uint64)],
)
def test_labels_that_are_no_whole_numbers_are_refused(kind: type[Labelled], labels: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"in the {kind.__name__.lower()} samples"):
        kind([[0.0]], labels)
