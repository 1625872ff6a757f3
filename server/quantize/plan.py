"""Which tensors and rows make up which block.

Depends on names, shapes and order alone, never on values, so two versions of one architecture have the same
boundaries and an unchanged layer keeps its blobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from common.errors import InvalidInputError
from common.manifest import MAX_BLOB_BYTES, MAX_BLOCKS, MAX_TENSORS_PER_BLOCK, TensorPart
from common.nesting import steps_of
from server.quantize.blob_bounds import float_bytes, part_bytes
from server.quantize.format import Format
from server.quantize.row_cut import even_runs

DEFAULT_MAX_BLOB_BYTES: Final = 1024 * 1024
MIN_MAX_BLOB_BYTES: Final = 16 * 1024
MAX_MAX_BLOB_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class State:
    """A tensor of the model, as far as the plan cares.

    Attributes:
        name: Its name in the graph.
        shape: Axis 0 is the output channel where it is quantized.
        size_bytes: As it is stored when it is not quantized.
        quantized: Whether it becomes codes; else it goes into a base as it is.
        form: How it becomes codes; None: as the version's other tensors.
        by_level: Whether it stays float and has another value at each level of its block.
    """

    name: str
    shape: tuple[int, ...]
    size_bytes: int
    quantized: bool
    form: Format | None = None
    by_level: bool = False


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """What a block will hold.

    Attributes:
        tensors: Quantized tensors, or rows of one, in the order of use.
        floats: Names of what stays float.
        blob_bytes: One per level of the block: the most that the blob can come to; 0 for the shards of floats
            alone.
        level_floats: Names of what stays float and is another at each level.
        form: How its tensors become codes; None: as the version's other tensors.
    """

    tensors: tuple[TensorPart, ...]
    floats: tuple[str, ...]
    blob_bytes: tuple[int, ...]
    level_floats: tuple[str, ...] = ()
    form: Format | None = None

    def __add__(self, other: BlockPlan) -> BlockPlan:
        sizes = tuple(one + two for one, two in zip(self.blob_bytes, other.blob_bytes, strict=True))
        return BlockPlan(
            self.tensors + other.tensors,
            self.floats + other.floats,
            sizes,
            self.level_floats + other.level_floats,
            self.form,
        )

    def fits(self, limit_bytes: int) -> bool:
        """Whether no blob exceeds the limit and a manifest can carry the block."""
        tensors = max(len(self.tensors), len(self.floats), len(self.level_floats))
        return max(self.blob_bytes) <= limit_bytes and tensors <= MAX_TENSORS_PER_BLOCK


def plan(
    states: Iterable[State],
    levels: Sequence[int],
    max_blob_bytes: int,
    shard_bits: Sequence[int] = (),
    *,
    liftable: bool = False,
) -> tuple[BlockPlan, ...]:
    """Blocks of neighbouring layers, each row of each tensor in exactly one.

    A quantized tensor and the floats up to the next one stay together. Neighbours of one form are joined
    while no blob exceeds the limit; a tensor of more than half of it gets blocks of its own, split by rows
    where needed. Only a single row or a single float tensor that is larger than the limit exceeds it.

    Args:
        states: The model's tensors in the order in which it uses them, each name once.
        levels: Ascending bit-widths.
        max_blob_bytes: The limit.
        shard_bits: The width of each shard of tensors that have no form of their own; nothing where it is
            its step.
        liftable: Whether a base may come to hold the highest level, and must keep the limit then too.

    Raises:
        InvalidInputError: The limit is out of range, or the model cannot be cut small enough.
    """
    check_block_size(max_blob_bytes)
    cutter = _Cutter(levels, shard_bits, max_blob_bytes, liftable=liftable)
    blocks = tuple(cutter.blocks(states))
    _check(blocks)
    return blocks


def check_block_size(max_blob_bytes: int) -> None:
    """Nothing, when blobs may be that large.

    Raises:
        InvalidInputError: They may not.
    """
    if not MIN_MAX_BLOB_BYTES <= max_blob_bytes <= MAX_MAX_BLOB_BYTES:
        raise InvalidInputError(
            f"Blocks of {max_blob_bytes} bytes are not possible.",
            advice=f"Choose {MIN_MAX_BLOB_BYTES} to {MAX_MAX_BLOB_BYTES}, or 0 for the server's choice.",
        )


class _Cutter:
    """Cuts a model into blocks under one limit."""

    def __init__(
        self, levels: Sequence[int], shard_bits: Sequence[int], limit_bytes: int, *, liftable: bool
    ) -> None:
        self._levels = levels
        self._shard_bits = shard_bits
        self._limit_bytes = limit_bytes
        self._liftable = liftable

    def blocks(self, states: Iterable[State]) -> Iterator[BlockPlan]:
        """All blocks, in order."""
        block: BlockPlan | None = None
        for tensor, floats in _layers(states):
            form = tensor.form if tensor else None
            layer = self._layer(tensor, floats, form)
            if not layer.fits(self._limit_bytes // 2):
                yield from [block] if block else []
                yield from self._cut(tensor, floats, form)
                block = None
            elif block and block.form == form and (block + layer).fits(self._limit_bytes):
                block += layer
            else:
                yield from [block] if block else []
                block = layer
        yield from [block] if block else []

    def _blob_bits(self, form: Format | None) -> tuple[int, ...]:
        """The width of a weight in each blob of a block, its base first."""
        levels = form.levels if form else self._levels
        shard_bits = form.rounding.shard_bits(levels) if form else self._shard_bits
        base = levels[-1] if self._liftable else levels[0]
        return (base, *(step.shard_bits for step in steps_of(levels, shard_bits)))

    def _layer(self, tensor: State | None, floats: Sequence[State], form: Format | None) -> BlockPlan:
        layer = self._floats(floats, form, alone=tensor is None)
        return layer if tensor is None else self._rows(tensor, 0, tensor.shape[0]) + layer

    def _cut(self, tensor: State | None, floats: Sequence[State], form: Format | None) -> Iterator[BlockPlan]:
        """A large layer in blocks of its own; floats, where they are few, beside the tensor's first rows."""
        limit_bytes = self._limit_bytes
        if tensor is None:
            yield from self._float_pieces(floats, form, alone=True)
            return
        beside = self._floats(floats, form, alone=False) if floats else None
        if beside and not beside.fits(limit_bytes // 2):  # what follows levels must stay, if anything can
            followers = [state for state in floats if state.by_level]
            beside = self._floats(followers, form, alone=False) if followers else None
            beside = beside if beside and beside.fits(limit_bytes // 2) else None
            stays = beside.level_floats if beside else ()
            yield from self._float_pieces(
                [state for state in floats if state.name not in stays], form, alone=True
            )
        room_bytes = limit_bytes - max(beside.blob_bytes) if beside else limit_bytes
        for start, stop in even_runs(
            tensor.shape[0], room_bytes, lambda rows: max(self._rows(tensor, 0, rows).blob_bytes)
        ):
            rows = self._rows(tensor, start, stop)
            yield rows + beside if beside else rows
            beside = None

    def _float_pieces(
        self, floats: Sequence[State], form: Format | None, *, alone: bool
    ) -> Iterator[BlockPlan]:
        piece: BlockPlan | None = None
        for state in floats:
            one = self._floats([state], form, alone=alone)
            if piece and not (piece + one).fits(self._limit_bytes // 2):
                yield piece
                piece = None
            piece = piece + one if piece else one
        yield from [piece] if piece else []

    def _rows(self, state: State, start: int, stop: int) -> BlockPlan:
        part = TensorPart(state.name, state.shape, start, stop)
        return BlockPlan((part,), (), part_bytes(part, self._blob_bits(state.form)), form=state.form)

    def _floats(self, states: Sequence[State], form: Format | None, *, alone: bool) -> BlockPlan:
        """Floats of a block; without tensors beside them they are the same at each level."""
        by_level = [state for state in states if state.by_level and not alone]
        same = [state for state in states if state not in by_level]
        everywhere_bytes = sum(float_bytes(state.name, state.size_bytes) for state in by_level)
        base_bytes = everywhere_bytes + sum(float_bytes(state.name, state.size_bytes) for state in same)
        return BlockPlan(
            (),
            tuple(state.name for state in same),
            (base_bytes, *(everywhere_bytes for _ in self._blob_bits(form)[1:])),
            tuple(state.name for state in by_level),
            form,
        )


def _layers(states: Iterable[State]) -> Iterator[tuple[State | None, list[State]]]:
    """Each quantized tensor with the floats up to the next one; the first also with those before it."""
    tensor: State | None = None
    floats: list[State] = []
    for state in states:
        if not state.quantized:
            floats.append(state)
        elif tensor is None:
            tensor = state
        else:
            yield tensor, floats
            tensor, floats = state, []
    if tensor or floats:
        yield tensor, floats


def _check(blocks: Sequence[BlockPlan]) -> None:
    if len(blocks) > MAX_BLOCKS:
        raise InvalidInputError(
            f"The model needs {len(blocks)} blocks and {MAX_BLOCKS} are allowed.",
            advice="Push it with a larger block size.",
        )
    for block in blocks:
        if max(block.blob_bytes) > MAX_BLOB_BYTES:
            names = ", ".join([part.name for part in block.tensors] + [*block.floats, *block.level_floats])
            raise InvalidInputError(
                f"{names[:200]!r} does not fit a blob of {MAX_BLOB_BYTES} bytes and cannot be split by rows."
            )
