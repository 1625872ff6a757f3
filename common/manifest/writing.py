"""Manifest to bytes.

Canonical form: JSON with sorted keys, no spaces, UTF-8. Its SHA-256 names the version on the wire, so equal
content must give equal bytes: what a version or a block does not have is not mentioned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from common.digest import sha256_hex
from common.manifest.limits import FORMAT
from common.manifest.version import BlobRef, Block, Manifest


def to_json(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest."""
    tree: dict[str, object] = {
        "format": FORMAT,
        "model": manifest.model,
        "version": manifest.version,
        "levels": list(manifest.levels),
        "rounding": manifest.rounding,
        "graph": _blob_tree(manifest.graph),
        "self_test": _blob_tree(manifest.self_test),
        "blocks": [_block_tree(block) for block in manifest.blocks],
    }
    if manifest.fidelity is not None:
        tree["fidelity"] = _blob_tree(manifest.fidelity)
    return canonical_json(tree)


def canonical_json(tree: object) -> bytes:
    """JSON with sorted keys, no spaces, no NaN, UTF-8."""
    return json.dumps(
        tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(manifest: Manifest) -> str:
    """The digest that names this manifest on the wire."""
    return sha256_hex(to_json(manifest))


def _block_tree(block: Block) -> dict[str, object]:
    optional: dict[str, Sequence[object]] = {
        "shard_bits": block.shard_bits,
        "level_floats": block.level_floats,
        "gains": block.gains,
    }
    return {
        "tensors": [[part.name, list(part.shape), part.start, part.stop] for part in block.tensors],
        "floats": list(block.floats),
        "blobs": [_blob_tree(ref) for ref in block.blobs],
        "digests": list(block.digests),
        **{key: list(values) for key, values in optional.items() if values},
    }


def _blob_tree(ref: BlobRef) -> list[object]:
    return [ref.digest, ref.size_bytes, ref.raw_size_bytes, ref.coding]
