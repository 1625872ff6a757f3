from __future__ import annotations

import math
from typing import Any

import pytest

from common.errors import InvalidInputError
from server.client.publication import Acceptance, Publication

ACCEPTANCE = Acceptance([[0.0]], labels=None)  # type: ignore[arg-type]


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
    ],
)
def test_what_cannot_be_published_is_refused_at_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Publication(**{"name": "digits", **changes})
