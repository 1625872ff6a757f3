"""A version's fidelity report as tables, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from common import fidelity_codec
from common.byte_sizes import format_bytes
from common.fidelity import (
    LEAST_COSINE,
    TOP1_ROOM,
    BlockSensitivity,
    FidelityReport,
    ShardGain,
    TensorFidelity,
)
from server.cli.output import print_line, print_table, printable, table
from server.cli.wording import count, level_list

_MOST_SENSITIVE: Final = 8
_MIB: Final = 1 << 20
_NOTHING: Final = "-"


def fidelity_json(report: FidelityReport | None) -> dict[str, Any] | None:
    """All of the report, with what follows from it; None where a version has none."""
    if report is None:
        return None
    return {**fidelity_codec.to_tree(report), "serving_level": report.serving_level}


def print_fidelity(report: FidelityReport | None, *, every: bool) -> None:
    """What each level is worth and which blocks gain most; with ``every``, all blocks and tensors."""
    if report is None:
        print_line("\nno fidelity report")
        return
    print_line(f"\nfidelity to the model as pushed, on {_samples(report)}")
    _print_levels(report)
    print_line(_verdict(report))
    _print_blocks(report, every=every)
    if every:
        _print_tensors(report.tensors)


def _samples(report: FidelityReport) -> str:
    return count(report.samples, f"{report.sample_kind} sample")


def _print_levels(report: FidelityReport) -> None:
    grid = table("LEVEL", ">SIZE", ">COSINE", ">SQNR", ">SAME ARGMAX", ">TOP-1", ">SQNR OF WEIGHTS")
    for found in report.levels:
        grid.add_row(
            f"{found.level} bits",
            format_bytes(found.size_bytes),
            f"{found.output_cosine:.4f}",
            _decibels(found.output_sqnr_db),
            _share(found.argmax_agreement),
            _share(found.top1),
            _decibels(found.weight_sqnr_db),
        )
    if report.fp32_top1 is not None:
        grid.add_row("floats", *[_NOTHING] * 4, _share(report.fp32_top1), _NOTHING)
    print_table(grid)


def _verdict(report: FidelityReport) -> str:
    by_labels = report.fp32_top1 is not None
    rule = (
        f"a top-1 within {100 * TOP1_ROOM:g} points of the floats'"
        if by_labels
        else f"a cosine of at least {LEAST_COSINE:g}"
    )
    if report.serving_level is None:
        return f"worth serving at no level: that takes {rule}, and full-bit falls short of it"
    return f"worth serving from {report.serving_level} bits, by {rule} there and above"


def _print_blocks(report: FidelityReport, *, every: bool) -> None:
    blocks = sorted(report.blocks, key=lambda block: block.gain_per_byte, reverse=True)
    shown = blocks if every else [block for block in blocks if block.shards][:_MOST_SENSITIVE]
    if not shown:
        return
    print_line(f"\n{_what_gains_are(report)}; most per byte first")
    above = [found.level for found in report.levels[1:]]
    grid = table(">BLOCK", *(title for level in above for title in (f">TO {level}", ">PER MiB")), "HOLDS")
    for block in shown:
        grid.add_row(str(block.block), *_gain_cells(block, above), holds(block))
    print_table(grid)
    if len(shown) < len(blocks):
        print_line(f"{len(shown)} of {count(len(blocks), 'block')}; all with --blocks")


def _what_gains_are(report: FidelityReport) -> str:
    if report.sensitivity == "weights":
        return "error in a block's weights that its shards take out (runs would have taken too long)"
    samples = count(report.sensitivity_samples, "sample")
    return f"error in the outputs that each block's shards take out, on {samples}"


def _gain_cells(block: BlockSensitivity, levels: Sequence[int]) -> list[str]:
    by_level: dict[int, ShardGain] = {shard.level: shard for shard in block.shards}
    cells = []
    for level in levels:
        shard = by_level.get(level)
        cells += [_gain(shard.gain), _gain(shard.gain_per_byte * _MIB)] if shard else [_NOTHING] * 2
    return cells


def _print_tensors(tensors: Sequence[TensorFidelity]) -> None:
    print_line("")
    grid = table("TENSOR", "ROUNDING", "LEVELS", ">BITS OF SHARDS", ">SQNR OF WEIGHTS")
    for tensor in tensors:
        grid.add_row(
            printable(tensor.name),
            printable(tensor.rounding),
            level_list(tensor.levels),
            level_list(tensor.shard_bits) or _NOTHING,
            ", ".join(_decibels(value) for value in tensor.weight_sqnr_db),
        )
    print_table(grid)


def holds(block: BlockSensitivity) -> str:
    """What is in a block: its first tensor, and how many more."""
    rest = f" and {block.tensors - 1} more" if block.tensors > 1 else ""
    return f"{printable(block.first_tensor)}{rest}"


def _gain(share: float) -> str:
    """A share of energy to two digits: "12%", "0.034%"; it can be far above 100%."""
    percent = 100 * share
    if not percent:
        return "0%"
    if percent < 1e-4:  # noqa: PLR2004 - below it nothing shows in any output
        return "<0.0001%"
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.2g}%"  # noqa: PLR2004 - two digits


def _share(value: float | None) -> str:
    return _NOTHING if value is None else f"{100 * value:.1f}%"


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f} dB"
