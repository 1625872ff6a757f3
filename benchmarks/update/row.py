"""What is measured of one update."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report: a device holds a version in full and fetches the next, but for ``base_*``.

    Attributes:
        pair: Model, and what happened to its weights.
        delta_bytes: What it fetches of weights: deltas, and blobs in full where those save too little.
        entropy_bytes: Order-0 entropy, tensor by tensor, of how the full-bit codes differ.
        float_bytes: Floats that changed, as they are.
        metadata_bytes: Manifest, self-test, and the graph where it changed; also fetched.
        full_bytes: All blobs of the next version's weights.
        changed_blobs_bytes: Those of them that the version before has not.
        patch_from_bytes: ``zstd -19 --long --patch-from``, over all blobs or over all full-bit codes, scales
            and floats uncompressed, whichever is smaller.
        base_delta_bytes, base_entropy_bytes: As those above, of a device that holds and fetches bases alone.
    """

    pair: str
    delta_bytes: int
    entropy_bytes: int
    float_bytes: int
    metadata_bytes: int
    full_bytes: int
    changed_blobs_bytes: int
    patch_from_bytes: int
    base_delta_bytes: int
    base_entropy_bytes: int
