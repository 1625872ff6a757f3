"""Trained weights on disk, so that a benchmark trains once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from safetensors.torch import load_file, save_file
from torch import nn

from common.files import move_into_place

_CACHE: Final = Path("build/bench/cache")


def trained_once(name: str, sources: Sequence[str], model: nn.Module, train: Callable[[], None]) -> None:
    """Afterwards the model is trained, now or as it was by an earlier run of the same sources.

    Args:
        name: Of the file.
        sources: Files whose text decides what comes out.
        model: Is changed.
        train: Trains it.
    """
    digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources)).hexdigest()[:12]
    file = _CACHE / f"{name}-{digest}.safetensors"
    if file.exists():
        model.load_state_dict(load_file(file))
    else:
        train()
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        save_file(model.state_dict(), unfinished)
        move_into_place(unfinished, file)
    model.eval()
