"""The manifest: names every blob of a version, and what the assembled codes must be.

Canonical form: JSON with sorted keys, no spaces, UTF-8. Its SHA-256 names the version on the wire, so equal
content must give equal bytes, and a device refuses bytes that are not in canonical form.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from common.digest import is_digest, sha256_hex
from common.errors import InvalidInputError, ManifestError
from common.names import is_name
from common.nesting import Step, check_levels, steps_of

FORMAT: Final = 1
MAX_BLOB_BYTES: Final = 64 * 1024 * 1024
MAX_BLOCKS: Final = 65_536
MAX_TENSORS_PER_BLOCK: Final = 4096
MAX_DIMENSIONS: Final = 8
MAX_ELEMENTS: Final = 1 << 34
_CODINGS: Final = ("raw", "zstd")


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob as it crosses the wire.

    Attributes:
        digest: SHA-256 of the wire bytes, 64 hex digits.
        size_bytes: Length of the wire bytes.
        raw_size_bytes: Length after decoding; a decoder refuses to yield more.
        coding: "raw", or "zstd" for one zstd frame.
    """

    digest: str
    size_bytes: int
    raw_size_bytes: int
    coding: str


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A quantized tensor, or some of its output rows, in a block.

    Attributes:
        name: The parameter's name in the graph.
        shape: The whole tensor's shape; axis 0 is the output channel.
        start, stop: The rows that this block holds.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Output channels in this block."""
        return self.stop - self.start

    @property
    def row_weights(self) -> int:
        """Weights in one output channel."""
        return math.prod(self.shape[1:])

    @property
    def weights(self) -> int:
        """Weights in this block."""
        return self.rows * self.row_weights


@dataclass(frozen=True, slots=True)
class Block:
    """The unit of paging.

    Attributes:
        tensors: Quantized tensors, in the order of their codes in the blobs.
        floats: Names of values that stay float; they are in the base blob.
        blobs: One per level: the base, then the shards. A block without quantized tensors has a base alone.
        codes_digests: One per blob: SHA-256 of the int8 codes at that level, tensors in order, C order.
        shard_bits: One per shard: the width of its values. Nothing where each is as wide as its step.
    """

    tensors: tuple[TensorPart, ...]
    floats: tuple[str, ...]
    blobs: tuple[BlobRef, ...]
    codes_digests: tuple[str, ...]
    shard_bits: tuple[int, ...] = ()

    @property
    def weights(self) -> int:
        """Quantized weights in this block."""
        return sum(part.weights for part in self.tensors)

    def steps(self, levels: Sequence[int]) -> tuple[Step, ...]:
        """What lies between the version's levels in this block: one per shard."""
        return steps_of(levels[: len(self.blobs)], self.shard_bits)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version, whole; ``rounding`` tells people how its codes were made, and nothing depends on it."""

    model: str
    version: int
    levels: tuple[int, ...]
    rounding: str
    graph: BlobRef
    self_test: BlobRef
    blocks: tuple[Block, ...]

    def blob_refs(self) -> Iterator[BlobRef]:
        """Every blob that the version names, metadata first; a blob may come twice."""
        yield self.graph
        yield self.self_test
        for block in self.blocks:
            yield from block.blobs


def to_json(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest."""
    tree = {
        "format": FORMAT,
        "model": manifest.model,
        "version": manifest.version,
        "levels": list(manifest.levels),
        "rounding": manifest.rounding,
        "graph": _blob_tree(manifest.graph),
        "self_test": _blob_tree(manifest.self_test),
        "blocks": [
            {
                "tensors": [[part.name, list(part.shape), part.start, part.stop] for part in block.tensors],
                "floats": list(block.floats),
                "blobs": [_blob_tree(ref) for ref in block.blobs],
                "codes": list(block.codes_digests),
            }
            | ({"shard_bits": list(block.shard_bits)} if block.shard_bits else {})
            for block in manifest.blocks
        ],
    }
    return canonical_json(tree)


def canonical_json(tree: object) -> bytes:
    """JSON with sorted keys, no spaces, no NaN, UTF-8."""
    return json.dumps(
        tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(manifest: Manifest) -> str:
    """The digest that names this manifest on the wire."""
    return sha256_hex(to_json(manifest))


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


def _blob_tree(ref: BlobRef) -> list[object]:
    return [ref.digest, ref.size_bytes, ref.raw_size_bytes, ref.coding]


def _manifest(tree: object) -> Manifest:
    fields = _object(
        tree, {"format", "model", "version", "levels", "rounding", "graph", "self_test", "blocks"}
    )
    if fields["format"] != FORMAT:
        raise ManifestError(
            f"Format {fields['format']!r} is not known; this side reads {FORMAT}.", advice="Update the agent."
        )
    if not isinstance(fields["model"], str) or not is_name(fields["model"]):
        raise ManifestError("'model' is no name.")
    if not isinstance(fields["rounding"], str) or not is_name(fields["rounding"]):
        raise ManifestError("'rounding' is no name.")
    levels = check_levels([_integer(level, 0, 255) for level in _list(fields["levels"], 8)])
    return Manifest(
        model=fields["model"],
        version=_integer(fields["version"], 1, 0x7FFFFFFF),
        levels=levels,
        rounding=fields["rounding"],
        graph=_blob(fields["graph"]),
        self_test=_blob(fields["self_test"]),
        blocks=tuple(_block(item, levels) for item in _list(fields["blocks"], MAX_BLOCKS)),
    )


def _block(tree: object, levels: Sequence[int]) -> Block:
    level_count = len(levels)
    fields = _object(tree, {"tensors", "floats", "blobs", "codes"}, optional={"shard_bits"})
    tensors = tuple(_part(item) for item in _list(fields["tensors"], MAX_TENSORS_PER_BLOCK))
    floats = tuple(_text(item) for item in _list(fields["floats"], MAX_TENSORS_PER_BLOCK))
    blobs = tuple(_blob(item) for item in _list(fields["blobs"], level_count))
    codes = tuple(_digest(item) for item in _list(fields["codes"], level_count))
    expected = level_count if tensors else 1
    if len(blobs) != expected or len(codes) != expected:
        raise ManifestError(
            f"A block names {len(blobs)} blobs and {len(codes)} code digests where {expected} belong."
        )
    return Block(tensors, floats, blobs, codes, _shard_bits(fields, levels[:expected]))


def _shard_bits(fields: Mapping[str, Any], levels: Sequence[int]) -> tuple[int, ...]:
    if "shard_bits" not in fields:
        return ()
    widths = tuple(_integer(width, 1, 8) for width in _list(fields["shard_bits"], len(levels)))
    if not any(step.carry_bits for step in steps_of(levels, widths)):
        raise ManifestError("A block states widths of shards that are those of its steps.")
    return widths


def _part(tree: object) -> TensorPart:
    items = _list(tree, 4)
    if len(items) != 4:  # noqa: PLR2004
        raise ManifestError("A tensor part has four fields.")
    shape = tuple(_integer(size, 1, MAX_ELEMENTS) for size in _list(items[1], MAX_DIMENSIONS))
    if not shape or math.prod(shape) > MAX_ELEMENTS:
        raise ManifestError("A tensor's shape is empty or too large.")
    start, stop = _integer(items[2], 0, shape[0]), _integer(items[3], 0, shape[0])
    if start >= stop:
        raise ManifestError("A tensor part holds no rows.")
    return TensorPart(_text(items[0]), shape, start, stop)


def _blob(tree: object) -> BlobRef:
    items = _list(tree, 4)
    if len(items) != 4 or items[3] not in _CODINGS:  # noqa: PLR2004
        raise ManifestError("A blob has four fields, the last 'raw' or 'zstd'.")
    ref = BlobRef(
        _digest(items[0]),
        _integer(items[1], 1, MAX_BLOB_BYTES),
        _integer(items[2], 1, MAX_BLOB_BYTES),
        str(items[3]),
    )
    if ref.coding == "raw" and ref.size_bytes != ref.raw_size_bytes:
        raise ManifestError("A raw blob states two sizes.")
    return ref


def _object(tree: object, keys: set[str], *, optional: AbstractSet[str] = frozenset()) -> Mapping[str, Any]:
    if not isinstance(tree, dict) or set(tree) - optional != keys:
        raise ManifestError(f"An object with the keys {sorted(keys)} was expected.")
    return tree


def _list(tree: object, limit: int) -> list[Any]:
    if not isinstance(tree, list) or len(tree) > limit:
        raise ManifestError(f"A list of at most {limit} items was expected.")
    return tree


def _integer(tree: object, low: int, high: int) -> int:
    if not isinstance(tree, int) or isinstance(tree, bool) or not low <= tree <= high:
        raise ManifestError(f"An integer in {low}..{high} was expected.")
    return tree


def _text(tree: object) -> str:
    if not isinstance(tree, str) or not 1 <= len(tree) <= 512 or not tree.isprintable():  # noqa: PLR2004
        raise ManifestError("A text of 1 to 512 printable characters was expected.")
    return tree


def _digest(tree: object) -> str:
    if not isinstance(tree, str) or not is_digest(tree):
        raise ManifestError("A SHA-256 digest was expected.")
    return tree
