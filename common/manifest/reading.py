"""Bytes to manifest; a device refuses whatever is not in canonical form and within bounds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.errors import InvalidInputError, ManifestError
from common.manifest.fields import digest, integer, items, keyed, shape, text
from common.manifest.limits import (
    FORMAT,
    MAX_BLOB_BYTES,
    MAX_BLOCKS,
    MAX_GAIN,
    MAX_TENSORS_PER_BLOCK,
)
from common.manifest.version import BlobRef, Block, Manifest, TensorPart
from common.manifest.writing import to_json
from common.names import is_name
from common.nesting import MAX_LEVEL, check_levels, steps_of

_CODINGS: Final = ("raw", "zstd", "block")
_VERSION_KEYS: Final = frozenset(
    {"format", "model", "version", "levels", "rounding", "graph", "self_test", "blocks"}
)
_BLOCK_KEYS: Final = frozenset({"tensors", "floats", "blobs", "digests"})
_BLOCK_OPTIONS: Final = frozenset({"shard_bits", "level_floats", "gains"})


def from_json(data: bytes) -> Manifest:
    """The manifest that canonical bytes stand for.

    Raises:
        ManifestError: The bytes are not canonical, or structure, types or limits are violated.
    """
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"The manifest is no JSON: {error}.") from error
    try:
        manifest = _manifest(tree)
    except InvalidInputError as error:
        raise ManifestError(f"The manifest is not valid: {error.message}") from error
    if to_json(manifest) != data:
        raise ManifestError("The manifest is not in canonical form.")
    return manifest


def _manifest(tree: object) -> Manifest:
    fields = keyed(tree, _VERSION_KEYS, optional={"fidelity"})
    if fields["format"] != FORMAT:
        raise ManifestError(
            f"Format {fields['format']!r} is not known; this side reads {FORMAT}.", advice="Update the agent."
        )
    if not isinstance(fields["model"], str) or not is_name(fields["model"]):
        raise ManifestError("'model' is no name.")
    if not isinstance(fields["rounding"], str) or not is_name(fields["rounding"]):
        raise ManifestError("'rounding' is no name.")
    levels = check_levels([integer(level, 0, 255) for level in items(fields["levels"], MAX_LEVEL)])
    return Manifest(
        model=fields["model"],
        version=integer(fields["version"], 1, 0x7FFFFFFF),
        levels=levels,
        rounding=fields["rounding"],
        graph=_blob(fields["graph"]),
        self_test=_blob(fields["self_test"]),
        blocks=tuple(_block(item, levels) for item in items(fields["blocks"], MAX_BLOCKS)),
        fidelity=_blob(fields["fidelity"]) if "fidelity" in fields else None,
    )


def _block(tree: object, levels: Sequence[int]) -> Block:
    fields = keyed(tree, _BLOCK_KEYS, optional=_BLOCK_OPTIONS)
    tensors = tuple(_part(item) for item in items(fields["tensors"], MAX_TENSORS_PER_BLOCK))
    floats = tuple(text(item) for item in items(fields["floats"], MAX_TENSORS_PER_BLOCK))
    blobs = tuple(_blob(item) for item in items(fields["blobs"], len(levels)))
    digests = tuple(digest(item) for item in items(fields["digests"], len(levels)))
    most = len(levels) if tensors else 1
    if not 1 <= len(blobs) == len(digests) <= most:
        raise ManifestError(
            f"A block names {len(blobs)} blobs and {len(digests)} digests where 1 to {most} each belong."
        )
    block = Block(tensors, floats, blobs, digests)
    return Block(
        tensors,
        floats,
        blobs,
        digests,
        _shard_bits(fields, block.levels(levels)),
        _level_floats(fields, block),
        _gains(fields, block),
    )


def _shard_bits(fields: Mapping[str, Any], levels: Sequence[int]) -> tuple[int, ...]:
    if "shard_bits" not in fields:
        return ()
    widths = tuple(integer(width, 1, MAX_LEVEL) for width in items(fields["shard_bits"], len(levels)))
    if not any(step.carry_bits for step in steps_of(levels, widths)):
        raise ManifestError("A block states widths of shards that are those of its steps.")
    return widths


def _level_floats(fields: Mapping[str, Any], block: Block) -> tuple[str, ...]:
    listed = items(fields.get("level_floats", []), MAX_TENSORS_PER_BLOCK)
    names = tuple(text(item) for item in listed)
    if "level_floats" in fields and not (names and block.tensors):
        raise ManifestError("A block states that floats follow its levels, and has no such floats or levels.")
    if len({*block.floats, *names}) != len(block.floats) + len(names):
        raise ManifestError("A block names a float twice.")
    return names


def _gains(fields: Mapping[str, Any], block: Block) -> tuple[int, ...]:
    if "gains" not in fields:
        return ()
    shards = len(block.blobs) - 1
    gains = tuple(integer(gain, 0, MAX_GAIN) for gain in items(fields["gains"], shards))
    if not gains or len(gains) != shards:
        raise ManifestError(f"A block states {len(gains)} gains for {shards} shards.")
    return gains


def _part(tree: object) -> TensorPart:
    fields = items(tree, 4)
    if len(fields) != 4:  # noqa: PLR2004
        raise ManifestError("A tensor part has four fields.")
    whole = shape(fields[1])
    start, stop = integer(fields[2], 0, whole[0]), integer(fields[3], 0, whole[0])
    if start >= stop:
        raise ManifestError("A tensor part holds no rows.")
    return TensorPart(text(fields[0]), whole, start, stop)


def _blob(tree: object) -> BlobRef:
    fields = items(tree, 4)
    if len(fields) != 4 or fields[3] not in _CODINGS:  # noqa: PLR2004
        raise ManifestError("A blob has four fields, the last 'raw', 'zstd' or 'block'.")
    ref = BlobRef(
        digest(fields[0]),
        integer(fields[1], 1, MAX_BLOB_BYTES),
        integer(fields[2], 1, MAX_BLOB_BYTES),
        str(fields[3]),
    )
    if ref.coding == "raw" and ref.size_bytes != ref.raw_size_bytes:
        raise ManifestError("A raw blob states two sizes.")
    return ref
