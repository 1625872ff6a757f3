"""What a device may be given to run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.errors import InvalidInputError

MAX_MODELS: Final = 8


def check_models(models: Sequence[str]) -> None:
    """Nothing, when a device may run these models beside each other.

    Raises:
        InvalidInputError: They are too many, or one of them is named twice.
    """
    twice = sorted({model for model in models if models.count(model) > 1})
    if twice:
        raise InvalidInputError(
            f"{twice[0][:80]} is named twice.", advice="A device runs one version of a model; name one."
        )
    if len(models) > MAX_MODELS:
        raise InvalidInputError(
            f"A device runs at most {MAX_MODELS} models at once, not {len(models)}.",
            advice="Assign fewer; what an assignment does not name, and is not --beside of, goes.",
        )
