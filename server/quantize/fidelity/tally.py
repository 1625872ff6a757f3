"""Adds up, batch by batch, how near a model's answers are to those of the float model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.fidelity import LevelFidelity
from server.quantize.fidelity.answers import Answers, compare
from server.quantize.fidelity.figures import decibels, significant, significant_share


class Tally:
    """The sums over the batches so far."""

    def __init__(self) -> None:
        self._samples = 0
        self._cosine = self._signal = self._error = 0.0
        self._choices = self._same_choices = 0
        self._labels = self._hits = 0

    def add(self, answers: Answers, reference: Answers, labels: NDArray[np.int64] | None) -> None:
        """Count a batch.

        Args:
            answers: The model's.
            reference: The float model's, to the same samples.
            labels: int64 [samples], or None.
        """
        difference = compare(answers, reference)
        self._samples += len(difference.cosine)
        self._cosine += float(difference.cosine.sum())
        self._signal += float(difference.signal.sum())
        self._error += float(difference.error.sum())
        if answers.choices is not None and reference.choices is not None:
            self._choices += reference.choices.size
            self._same_choices += int((answers.choices == reference.choices).sum())
        if labels is not None and answers.guesses is not None:
            self._labels += labels.size
            self._hits += int((answers.guesses == labels).sum())

    @property
    def top1(self) -> float | None:
        """Share of the labels that were hit; None without labels."""
        return significant_share(self._hits, self._labels)

    def fidelity(self, level: int, size_bytes: int, weight_sqnr_db: float | None) -> LevelFidelity:
        """The figures of a level, of whose answers at least one was counted."""
        return LevelFidelity(
            level=level,
            size_bytes=size_bytes,
            weight_sqnr_db=weight_sqnr_db,
            output_cosine=significant(self._cosine / self._samples),
            output_sqnr_db=decibels(self._signal, self._error),
            argmax_agreement=significant_share(self._same_choices, self._choices),
            top1=self.top1,
        )
