"""The manifest: names every blob of a version, and what the assembled codes must be."""

from common.manifest.limits import (
    FORMAT,
    MAX_BLOB_BYTES,
    MAX_BLOCKS,
    MAX_DIMENSIONS,
    MAX_ELEMENTS,
    MAX_GAIN,
    MAX_TENSORS_PER_BLOCK,
)
from common.manifest.reading import from_json
from common.manifest.version import BlobRef, Block, Manifest, TensorPart
from common.manifest.writing import canonical_json, digest_of, to_json

__all__ = [
    "FORMAT",
    "MAX_BLOB_BYTES",
    "MAX_BLOCKS",
    "MAX_DIMENSIONS",
    "MAX_ELEMENTS",
    "MAX_GAIN",
    "MAX_TENSORS_PER_BLOCK",
    "BlobRef",
    "Block",
    "Manifest",
    "TensorPart",
    "canonical_json",
    "digest_of",
    "from_json",
    "to_json",
]
