"""A fidelity report as canonical JSON in one zstd frame, and back within bounds.

Keys are the fields of ``common.fidelity``; what can be computed from others is not in it.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from itertools import pairwise
from typing import Any, Final, get_args

from common.blob_codec import decode_bytes, encode_bytes
from common.errors import IntegrityError, InvalidInputError
from common.fidelity import (
    BlockSensitivity,
    FidelityReport,
    LevelFidelity,
    SampleKind,
    SensitivityKind,
    ShardGain,
    TensorFidelity,
)
from common.json_values import integer, items_of, object_of, real, text, word
from common.manifest import MAX_BLOCKS, MAX_TENSORS_PER_BLOCK, BlobRef, canonical_json
from common.nesting import MAX_LEVEL, check_levels

FORMAT: Final = 1
MAX_JSON_BYTES: Final = 32 * 1024 * 1024
MAX_DECIBELS: Final = 1000.0
_MAX_TENSORS: Final = 1 << 20


def encode(report: FidelityReport) -> tuple[bytes, BlobRef]:
    """The blob of a report.

    Raises:
        InvalidInputError: It contradicts itself, or is larger than a report may be.
    """
    data = to_json(report)
    if from_json(data) != report:
        raise InvalidInputError("The fidelity report does not come back as it went.")
    return encode_bytes(data, compress=True)


def decode(data: bytes | memoryview, ref: BlobRef) -> FidelityReport:
    """The report in a blob.

    Raises:
        IntegrityError: The bytes are not what ``ref`` names, or state a size that no report has.
        InvalidInputError: They hold no report.
    """
    if ref.raw_size_bytes > MAX_JSON_BYTES:
        raise IntegrityError(f"A fidelity report of {ref.raw_size_bytes} bytes exceeds {MAX_JSON_BYTES}.")
    return from_json(decode_bytes(data, ref))


def to_tree(report: FidelityReport) -> dict[str, Any]:
    """The report as JSON values."""
    return asdict(report)


def to_json(report: FidelityReport) -> bytes:
    """The canonical bytes of a report."""
    return canonical_json({"format": FORMAT, **to_tree(report)})


def from_json(data: bytes | memoryview) -> FidelityReport:
    """The report that canonical bytes stand for.

    Raises:
        InvalidInputError: The bytes are not canonical, or structure, types or limits are violated.
    """
    if len(data) > MAX_JSON_BYTES:
        raise InvalidInputError(f"The fidelity report has more than {MAX_JSON_BYTES} bytes.")
    raw = bytes(data)
    try:
        tree = json.loads(raw)
        report = _report(tree)
        canonical = to_json(report) == raw
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"The fidelity report is no JSON: {str(error)[:200]}.") from error
    if not canonical:
        raise InvalidInputError("The fidelity report is not in canonical form.")
    return report


def _report(tree: object) -> FidelityReport:
    items = object_of(tree, {"format"} | {field.name for field in fields(FidelityReport)})
    if items["format"] != FORMAT:
        raise InvalidInputError(
            f"Format {items['format']!r:.40} of a fidelity report is not known; this side reads {FORMAT}.",
            advice="Update this side.",
        )
    levels = tuple(_level(item) for item in items_of(items["levels"], MAX_LEVEL))
    widths = check_levels([fidelity.level for fidelity in levels])
    blocks = tuple(_block(item, widths) for item in items_of(items["blocks"], MAX_BLOCKS))
    if any(low.block >= high.block for low, high in pairwise(blocks)):
        raise InvalidInputError("The blocks of a fidelity report are not in order.")
    return FidelityReport(
        samples=integer(items["samples"], least=1),
        sample_kind=word(items["sample_kind"], get_args(SampleKind)),
        fp32_top1=_share(items["fp32_top1"]),
        levels=levels,
        sensitivity=word(items["sensitivity"], get_args(SensitivityKind)),
        sensitivity_samples=integer(items["sensitivity_samples"]),
        blocks=blocks,
        tensors=tuple(_tensor(item, widths) for item in items_of(items["tensors"], _MAX_TENSORS)),
    )


def _level(tree: object) -> LevelFidelity:
    items = object_of(tree, {field.name for field in fields(LevelFidelity)})
    return LevelFidelity(
        level=integer(items["level"], most=MAX_LEVEL),
        size_bytes=integer(items["size_bytes"]),
        weight_sqnr_db=_decibels(items["weight_sqnr_db"]),
        output_cosine=real(items["output_cosine"], -1.0, 1.0),
        output_sqnr_db=_decibels(items["output_sqnr_db"]),
        argmax_agreement=_share(items["argmax_agreement"]),
        top1=_share(items["top1"]),
    )


def _block(tree: object, levels: tuple[int, ...]) -> BlockSensitivity:
    items = object_of(tree, {field.name for field in fields(BlockSensitivity)})
    shards = tuple(_shard(item) for item in items_of(items["shards"], MAX_LEVEL))
    block = BlockSensitivity(
        block=integer(items["block"], most=MAX_BLOCKS - 1),
        first_tensor=text(items["first_tensor"]),
        tensors=integer(items["tensors"], least=1, most=MAX_TENSORS_PER_BLOCK),
        base_level=integer(items["base_level"], most=MAX_LEVEL),
        shards=shards,
    )
    _check_top(levels, (block.base_level, *(shard.level for shard in shards)))
    return block


def _shard(tree: object) -> ShardGain:
    items = object_of(tree, {field.name for field in fields(ShardGain)})
    return ShardGain(
        level=integer(items["level"], most=MAX_LEVEL),
        size_bytes=integer(items["size_bytes"], least=1),
        gain=real(items["gain"], 0.0, math.inf),
    )


def _tensor(tree: object, levels: tuple[int, ...]) -> TensorFidelity:
    items = object_of(tree, {field.name for field in fields(TensorFidelity)})
    tensor = TensorFidelity(
        name=text(items["name"]),
        rounding=text(items["rounding"]),
        levels=tuple(integer(item, most=MAX_LEVEL) for item in items_of(items["levels"], MAX_LEVEL)),
        weight_sqnr_db=tuple(_decibels(item) for item in items_of(items["weight_sqnr_db"], MAX_LEVEL)),
        shard_bits=tuple(integer(item, least=1, most=8) for item in items_of(items["shard_bits"], MAX_LEVEL)),
    )
    _check_top(levels, tensor.levels)
    if not len(tensor.levels) == len(tensor.weight_sqnr_db) == len(tensor.shard_bits) + 1:
        raise InvalidInputError(f"Tensor {tensor.name!r:.80} has more or fewer figures than levels.")
    return tensor


def _check_top(levels: tuple[int, ...], own: tuple[int, ...]) -> None:
    """A tensor or block has some of the version's levels, always the highest ones."""
    if not own or own != levels[-len(own) :]:
        raise InvalidInputError(f"Levels {list(own)} are not the highest of {list(levels)}.")


def _share(tree: object) -> float | None:
    return None if tree is None else real(tree, 0.0, 1.0)


def _decibels(tree: object) -> float | None:
    return None if tree is None else real(tree, -MAX_DECIBELS, MAX_DECIBELS)
