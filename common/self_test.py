"""The self-test that travels with a version: what a device must answer before it may switch to it.

Numeric expectations are what the server computed from the very codes that it sends, so a device that rebuilt
the model rightly repeats them but for the order of float additions. Labels are the operator's acceptance
test: the share of them that the outputs hit must reach ``min_agreement``.

Container: ``common.blob_codec``, keys ``input/N``, ``expected/LEVEL/OUTPUT`` (F32 [rows, <= 1024]),
``labels`` (I64 [samples], optional), ``min_agreement`` and ``tolerance`` (F64 [1]).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import decode_arrays, encode_arrays
from common.errors import IntegrityError, InvalidInputError, SelfTestError
from common.manifest import BlobRef

MAX_SAMPLES: Final = 64
MAX_PREFIX: Final = 1024
MAX_BYTES: Final = 4 * 1024 * 1024
# On ResNet-18 and MiniLM other kernels move outputs by at most 1e-5 of their norm, one level by some 7e-2.
TOLERANCE: Final = 1e-3
_MAX_ARRAYS: Final = 64
_DISCRETE_TOLERANCE: Final = 0.1  # an argmax inside the model may tip over at a tie


@dataclass(frozen=True, slots=True, eq=False)
class SelfTest:
    """Inputs with what the model answers to them.

    Attributes:
        inputs: One array per model input, axis 0 the samples, equally many in all.
        expected: Level to one float32 array [rows, values] per model output: of the first ``rows`` samples
            the first ``values`` values (see ``rows_of``). Equal shapes at all levels.
        labels: int64 [samples], what the argmax of the first output should be; None without acceptance test.
        min_agreement: Least share of labels that must be hit, 0..1.
        tolerance: Largest ``norm(actual - expected) / norm(expected)`` of an output, above 0.
    """

    inputs: tuple[NDArray[Any], ...]
    expected: Mapping[int, tuple[NDArray[np.float32], ...]]
    labels: NDArray[np.int64] | None = None
    min_agreement: float = 0.0
    tolerance: float = TOLERANCE

    @property
    def samples(self) -> int:
        """How many samples every input has."""
        return len(self.inputs[0])


def rows_of(output: NDArray[Any], samples: int) -> NDArray[np.float32]:
    """An output with one row per sample: float32 [samples, values], or [1, values] where it has no batch."""
    rows = samples if output.ndim and len(output) == samples else 1
    return output.reshape(rows, -1).astype(np.float32)


def encode(self_test: SelfTest) -> tuple[bytes, BlobRef]:
    """The blob of a self-test.

    Raises:
        InvalidInputError: It breaks a limit or contradicts itself.
    """
    fault = _fault(self_test)
    if fault:
        raise InvalidInputError(f"The self-test cannot be sent: {fault}.", advice="Give fewer samples.")
    arrays: dict[str, NDArray[Any]] = {f"input/{i}": array for i, array in enumerate(self_test.inputs)}
    for level, outputs in self_test.expected.items():
        arrays |= {f"expected/{level}/{i}": array for i, array in enumerate(outputs)}
    if self_test.labels is not None:
        arrays["labels"] = self_test.labels
    arrays["min_agreement"] = np.array([self_test.min_agreement], np.float64)
    arrays["tolerance"] = np.array([self_test.tolerance], np.float64)
    return encode_arrays(arrays, compress=True)


def decode(data: bytes | memoryview, ref: BlobRef, levels: Sequence[int]) -> SelfTest:
    """The self-test of a blob.

    Args:
        data: The blob's wire bytes.
        ref: What the manifest says of the blob.
        levels: The version's levels; the self-test must have expectations for each, and no others.

    Raises:
        IntegrityError: The bytes are not what ``ref`` names, or no self-test within its limits.
    """
    if ref.raw_size_bytes > 2 * MAX_BYTES:
        raise IntegrityError(f"The self-test states {ref.raw_size_bytes} bytes; {2 * MAX_BYTES} are allowed.")
    arrays = decode_arrays(data, ref)
    self_test = SelfTest(
        inputs=_series(arrays, "input/"),
        expected={level: _series(arrays, f"expected/{level}/") for level in levels},
        labels=arrays.pop("labels", None),
        min_agreement=_number(arrays, "min_agreement"),
        tolerance=_number(arrays, "tolerance"),
    )
    fault = _fault(self_test) or (arrays and f"{min(arrays)[:80]!r} does not belong in it")
    if fault:
        raise IntegrityError(f"Blob {ref.digest[:12]} is no self-test: {fault}.")
    return self_test


def check(self_test: SelfTest, level: int, outputs: Sequence[NDArray[Any]]) -> None:
    """Nothing, when the outputs are what the self-test asks for.

    Args:
        self_test: What the version came with.
        level: The level at which every block ran.
        outputs: The model's outputs for ``self_test.inputs``.

    Raises:
        SelfTestError: They are not; says what was expected and what was seen.
    """
    expected = self_test.expected[level]
    if len(outputs) != len(expected):
        raise SelfTestError(
            f"Self-test at {level} bits: {len(outputs)} outputs where {len(expected)} are expected.",
            expected=str(len(expected)),
            actual=str(len(outputs)),
        )
    for index, (output, wanted) in enumerate(zip(outputs, expected, strict=True)):
        limit = self_test.tolerance if output.dtype.kind == "f" else _DISCRETE_TOLERANCE
        error = _error(output, wanted, self_test.samples)
        if not error <= limit:
            raise SelfTestError(
                f"Self-test at {level} bits: output {index} is off by {error:.2g}; {limit:.2g} is allowed.",
                expected=f"{limit:.2g}",
                actual=f"{error:.2g}",
            )
    _check_labels(self_test, level, outputs)


def agreement(self_test: SelfTest, outputs: Sequence[NDArray[Any]]) -> float | None:
    """The share of the labels that outputs hit; None for a self-test without labels."""
    if self_test.labels is None:
        return None
    seen = outputs[0] if outputs[0].dtype.kind in "iu" else outputs[0].argmax(axis=-1)
    return float((seen == self_test.labels).mean()) if seen.shape == self_test.labels.shape else 0.0


def _check_labels(self_test: SelfTest, level: int, outputs: Sequence[NDArray[Any]]) -> None:
    hit = agreement(self_test, outputs)
    if hit is not None and hit < self_test.min_agreement:
        wanted = f"{self_test.min_agreement:.2f}"
        raise SelfTestError(
            f"Self-test at {level} bits: label agreement {hit:.2f} where {wanted} is asked.",
            expected=wanted,
            actual=f"{hit:.2f}",
        )


def _error(output: NDArray[Any], wanted: NDArray[np.float32], samples: int) -> float:
    """How far an output is from its expectation; infinite where shapes or non-finite values differ."""
    rows = rows_of(output, samples)
    if len(rows) < len(wanted) or rows.shape[1] < wanted.shape[1]:
        return math.inf
    actual = rows[: len(wanted), : wanted.shape[1]]
    if output.dtype.kind != "f":
        return share_apart(actual, wanted)
    return norm_apart(actual, wanted)


def share_apart(actual: NDArray[Any], wanted: NDArray[Any]) -> float:
    """The share of values that differ."""
    return float((actual != wanted).mean()) if wanted.size else 0.0


def norm_apart(actual: NDArray[Any], wanted: NDArray[Any]) -> float:
    """``norm(actual - wanted) / norm(wanted)``; infinite where non-finite values differ."""
    finite = np.isfinite(wanted)
    if not np.array_equal(actual[~finite], wanted[~finite]) or not np.isfinite(actual[finite]).all():
        return math.inf
    norm = float(np.linalg.norm(wanted[finite].astype(np.float64)))
    return float(np.linalg.norm(actual[finite].astype(np.float64) - wanted[finite])) / (norm or 1.0)


def _series(arrays: dict[str, NDArray[Any]], prefix: str) -> tuple[NDArray[Any], ...]:
    """Takes the arrays ``prefix0``, ``prefix1``… out of ``arrays``."""
    series: list[NDArray[Any]] = []
    while len(series) < _MAX_ARRAYS and (array := arrays.pop(f"{prefix}{len(series)}", None)) is not None:
        series.append(array)
    return tuple(series)


def _number(arrays: dict[str, NDArray[Any]], name: str) -> float:
    array = arrays.pop(name, np.array([math.nan]))
    return float(array[0]) if array.shape == (1,) and array.dtype == np.float64 else math.nan


def _fault(self_test: SelfTest) -> str:
    """What is wrong with a self-test; empty when it is sound."""
    inputs, labels = self_test.inputs, self_test.labels
    expected = [array for outputs in self_test.expected.values() for array in outputs]
    shapes = {tuple(array.shape for array in outputs) for outputs in self_test.expected.values()}
    if not inputs or len(inputs) > _MAX_ARRAYS or len({array.shape[:1] for array in inputs}) != 1:
        return "its inputs do not have one common number of samples"
    if not inputs[0].shape or not 1 <= self_test.samples <= MAX_SAMPLES:
        return f"it needs 1 to {MAX_SAMPLES} samples"
    if len(shapes) != 1 or not expected or any(not _is_expectation(array) for array in expected):
        return f"its expectations are not float32 [samples, up to {MAX_PREFIX}] for every output and level"
    if labels is not None and (labels.dtype != np.int64 or labels.shape != (self_test.samples,)):
        return "its labels are not one int64 per sample"
    if not 0 <= self_test.min_agreement <= 1 or not 0 < self_test.tolerance < math.inf:
        return "its agreement is not within 0..1, or its tolerance not above 0"
    size_bytes = sum(array.nbytes for array in (*inputs, *expected))
    return f"it has {size_bytes} bytes and {MAX_BYTES} are allowed" if size_bytes > MAX_BYTES else ""


def _is_expectation(array: NDArray[Any]) -> bool:
    return (
        array.dtype == np.float32
        and array.ndim == 2  # noqa: PLR2004
        and 1 <= len(array) <= MAX_SAMPLES
        and array.shape[1] <= MAX_PREFIX
        and not np.isnan(array).any()
    )
