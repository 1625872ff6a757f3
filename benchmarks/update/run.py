"""Measures pairs of versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.quantize.tasks.digit_nets import RESNET18
from benchmarks.quantize.tasks.minilm import NAME as MINILM
from benchmarks.update.entropy import changed_float_bytes, difference_bytes
from benchmarks.update.fetched import changed_bytes, delta_bytes, full_bytes, metadata_bytes
from benchmarks.update.fidelity import Fidelity, fidelity
from benchmarks.update.pairs.digits import resnet_pairs
from benchmarks.update.pairs.pair import Pair
from benchmarks.update.pairs.quick import NAME, quick_pairs
from benchmarks.update.pairs.sentences import minilm_pairs
from benchmarks.update.patch import patch_from_bytes
from benchmarks.update.row import Row
from benchmarks.update.version import Version, make_version

MODELS: Final[Mapping[str, Callable[[], Iterator[Pair]]]] = {RESNET18: resnet_pairs, MINILM: minilm_pairs}
QUICK: Final[Mapping[str, Callable[[], Iterator[Pair]]]] = {NAME: quick_pairs}


@dataclass(frozen=True, slots=True)
class Measured:
    """A row, and what the update's fidelity is where that was asked for."""

    row: Row
    fidelity: tuple[Fidelity, ...] = ()


def measure(
    models: Mapping[str, Callable[[], Iterator[Pair]]],
    rounding: str,
    say: Callable[[str], None],
    *,
    with_fidelity: bool = False,
) -> Iterator[Measured]:
    """One row after the other."""
    for model, pairs in models.items():
        say(f"{model}: loading")
        before: Version | None = None
        for pair in pairs():
            say(f"{pair.name}: quantizing")
            before = before or make_version(pair.before, None, rounding)
            after = make_version(pair.after, before, rounding)
            if after.kept_rows:
                say(f"{pair.name}: {after.kept_rows[0]} of {after.kept_rows[1]} rows keep their scale")
            found = tuple(fidelity(pair, after, rounding)) if with_fidelity else ()
            yield Measured(_row(pair.name, before, after), found)


def _row(name: str, before: Version, after: Version) -> Row:
    lowest, full = after.manifest.levels[0], after.manifest.levels[-1]
    return Row(
        pair=name,
        delta_bytes=delta_bytes(before, after),
        entropy_bytes=difference_bytes(before, after, full),
        float_bytes=changed_float_bytes(before, after),
        metadata_bytes=metadata_bytes(before, after),
        full_bytes=full_bytes(after),
        changed_blobs_bytes=changed_bytes(before, after),
        patch_from_bytes=patch_from_bytes(before, after),
        base_delta_bytes=delta_bytes(before, after, 1),
        base_entropy_bytes=difference_bytes(before, after, lowest),
    )
