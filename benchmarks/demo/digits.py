"""Handwritten digits of scikit-learn (1797 grey images of 8x8), split once and for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

CLASSES: Final = 10
_HELD_OUT: Final = 450
_ACCEPTANCE: Final = 64
_COLLECTED_LATER: Final = 120
_SEED: Final = 20260101
_BRIGHTEST: Final = 16.0


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Images with what they show.

    Attributes:
        images: float32 [samples, 1, 8, 8], values in [0, 1], ink is bright.
        labels: int64 [samples], 0..9.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Disjoint parts of the data set.

    Attributes:
        first: What version 1 learns from.
        later: What was collected since; version 2 learns from it too.
        acceptance: What a device must answer well before it runs a version.
        held_out: What accuracy is measured on; nothing else sees it.
    """

    first: Samples
    later: Samples
    acceptance: Samples
    held_out: Samples


def load() -> Split:
    """The same split on every machine."""
    images, labels = load_digits(return_X_y=True)
    scaled = (images / _BRIGHTEST).astype(np.float32).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(_SEED).permutation(len(labels))
    ends = np.cumsum([_HELD_OUT, _ACCEPTANCE, _COLLECTED_LATER])
    held_out, acceptance, later, first = (
        Samples(scaled[part], labels[part].astype(np.int64)) for part in np.split(order, ends)
    )
    return Split(first, later, acceptance, held_out)


def join(one: Samples, other: Samples) -> Samples:
    """The samples of both."""
    return Samples(np.concatenate([one.images, other.images]), np.concatenate([one.labels, other.labels]))


def with_shuffled_labels(samples: Samples, *, seed: int) -> Samples:
    """The same images with labels that belong to others: a data set gone wrong."""
    labels = np.random.default_rng(seed).permutation(samples.labels)
    return Samples(samples.images, labels)
