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
    """

    name: str
    shape: tuple[int, ...]
    size_bytes: int
    quantized: bool


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """What a block will hold.

    Attributes:
        tensors: Quantized tensors, or rows of one, in the order of use.
        floats: Names of what stays float.
        blob_bytes: One per level: the most that the blob can come to; 0 for the shards of floats alone.
    """

    tensors: tuple[TensorPart, ...]
    floats: tuple[str, ...]
    blob_bytes: tuple[int, ...]

    def __add__(self, other: BlockPlan) -> BlockPlan:
        sizes = tuple(one + two for one, two in zip(self.blob_bytes, other.blob_bytes, strict=True))
        return BlockPlan(self.tensors + other.tensors, self.floats + other.floats, sizes)

    def fits(self, limit_bytes: int) -> bool:
        """Whether no blob exceeds the limit and a manifest can carry the block."""
        tensors = max(len(self.tensors), len(self.floats))
        return max(self.blob_bytes) <= limit_bytes and tensors <= MAX_TENSORS_PER_BLOCK


def plan(
    states: Iterable[State], levels: Sequence[int], max_blob_bytes: int, shard_bits: Sequence[int] = ()
) -> tuple[BlockPlan, ...]:
    """Blocks of neighbouring layers, each row of each tensor in exactly one.

    A quantized tensor and the floats up to the next one stay together. Neighbours are joined while no blob
    exceeds the limit; a tensor of more than half of it gets blocks of its own, split by rows where needed.
    Only a single row or a single float tensor that is larger than the limit exceeds it.

    Args:
        states: The model's tensors in the order in which it uses them, each name once.
        levels: Ascending bit-widths.
        max_blob_bytes: The limit.
        shard_bits: The width of each shard; nothing where it is its step.

    Raises:
        InvalidInputError: The limit is out of range, or the model cannot be cut small enough.
    """
    if not MIN_MAX_BLOB_BYTES <= max_blob_bytes <= MAX_MAX_BLOB_BYTES:
        raise InvalidInputError(
            f"Blobs of {max_blob_bytes} bytes are out of range.",
            advice=f"Choose a limit from {MIN_MAX_BLOB_BYTES} to {MAX_MAX_BLOB_BYTES} bytes.",
        )
    blob_bits = (levels[0], *(step.shard_bits for step in steps_of(levels, shard_bits)))
    blocks = tuple(_blocks(states, blob_bits, max_blob_bytes))
    _check(blocks)
    return blocks


def _blocks(states: Iterable[State], blob_bits: Sequence[int], limit_bytes: int) -> Iterator[BlockPlan]:
    nothing = BlockPlan((), (), (0,) * len(blob_bits))
    block = nothing
    for tensor, floats in _layers(states):
        layer = _floats(floats, blob_bits)
        if tensor is not None:
            layer = _rows(tensor, 0, tensor.shape[0], blob_bits) + layer
        if not layer.fits(limit_bytes // 2):
            yield from [block] if block != nothing else []
            yield from _cut(tensor, floats, blob_bits, limit_bytes)
            block = nothing
        elif (block + layer).fits(limit_bytes):
            block += layer
        else:
            yield block
            block = layer
    yield from [block] if block != nothing else []


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


def _cut(
    tensor: State | None, floats: Sequence[State], blob_bits: Sequence[int], limit_bytes: int
) -> Iterator[BlockPlan]:
    """A large layer in blocks of its own; floats, where they are few, beside the tensor's first rows."""
    nothing = BlockPlan((), (), (0,) * len(blob_bits))
    piece = nothing
    for state in floats:
        alone = _floats([state], blob_bits)
        if piece != nothing and not (piece + alone).fits(limit_bytes // 2):
            yield piece
            piece = nothing
        piece += alone
    if tensor is None:
        yield piece
        return
    room_bytes = limit_bytes - piece.blob_bytes[0]
    if room_bytes < limit_bytes // 2:
        yield piece
        piece, room_bytes = nothing, limit_bytes
    for start, stop in even_runs(
        tensor.shape[0], room_bytes, lambda rows: max(_rows(tensor, 0, rows, blob_bits).blob_bytes)
    ):
        yield piece + _rows(tensor, start, stop, blob_bits)
        piece = nothing


def _rows(state: State, start: int, stop: int, blob_bits: Sequence[int]) -> BlockPlan:
    part = TensorPart(state.name, state.shape, start, stop)
    return BlockPlan((part,), (), part_bytes(part, blob_bits))


def _floats(states: Sequence[State], blob_bits: Sequence[int]) -> BlockPlan:
    size_bytes = sum(float_bytes(state.name, state.size_bytes) for state in states)
    return BlockPlan((), tuple(state.name for state in states), (size_bytes, *(0 for _ in blob_bits[1:])))


def _check(blocks: Sequence[BlockPlan]) -> None:
    if len(blocks) > MAX_BLOCKS:
        raise InvalidInputError(
            f"The model needs {len(blocks)} blocks and {MAX_BLOCKS} are allowed.",
            advice="Push it with a larger block size.",
        )
    for block in blocks:
        if max(block.blob_bytes) > MAX_BLOB_BYTES:
            names = ", ".join([part.name for part in block.tensors] + list(block.floats))
            raise InvalidInputError(
                f"{names[:200]!r} does not fit a blob of {MAX_BLOB_BYTES} bytes and cannot be split by rows."
            )
