"""What is measured of one model in one mode at one level."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scores:
    """How near a quantized model comes to its 32-bit floats; None where that is not asked of the model.

    Attributes:
        cosine: Mean cosine of its outputs to those of the floats.
        overlap_at_10: Mean share of a sentence's ten nearest neighbours that stay among them.
        top1: Share of right answers.
    """

    cosine: float | None = None
    overlap_at_10: float | None = None
    top1: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report.

    Attributes:
        model: Name of the model.
        mode: Rounding mode of the product, or ``dedicated_*``: a model made for this level alone.
        level: Bits of a code. In a mode of the product it is nested in 8.
        cosine, overlap_at_10, top1: As in ``Scores``.
        bits_per_weight: Wire bits of all that a device needs at this level (codes, scales, offsets and what
            stays float) per quantized weight. Nested: the base.
        entropy_bits_per_weight: Order-0 entropy of each tensor's codes, mean over the weights.
        seconds: From float weights to packed blobs; in a mode of the product, stored ones.
        mparams_per_second: Million quantized weights per second, on all cores.
        peak_rss_bytes: Highest resident memory meanwhile, above what the process held before.
    """

    model: str
    mode: str
    level: int
    cosine: float | None
    overlap_at_10: float | None
    top1: float | None
    bits_per_weight: float
    entropy_bits_per_weight: float
    seconds: float
    mparams_per_second: float
    peak_rss_bytes: int
