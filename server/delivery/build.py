"""From received parts to a registered version. Blocking."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from common.channel import MAX_MANIFEST_BYTES, MAX_MESSAGE_BYTES
from common.errors import ConflictError, InvalidInputError, ManifestError, NotFoundError
from common.graph.codec import from_zstd
from common.graph.ops import check_ops
from common.manifest import BlobRef, from_json, to_json
from server.delivery.agreement import check_weights
from server.delivery.fetch import manifest_frame
from server.delivery.order import Part, PushOrder
from server.quantize.held_version import HeldVersion
from server.quantize.pipeline import quantize
from server.quantize.quantized import Quantized
from server.quantize.rounding import rounding
from server.quantize.samples import Samples, read_samples
from server.quantize.workers import Workers
from server.registry.records import NewVersion, VersionRecord
from server.registry.repository import Registry
from server.storage.port import BlobStore

_ENVELOPE_BYTES: Final = 64 * 1024
_LOOKING: Final = 16  # at once: an object store takes tens of milliseconds for each of thousands


class Building:
    """Quantizes into the store, and registers the result.

    Args:
        registry: Where the version goes.
        store: Where its blobs go.
        workers: Who quantizes; None: this process' cores.
    """

    def __init__(self, registry: Registry, store: BlobStore, workers: Workers | None = None) -> None:
        self._registry = registry
        self._store = store
        self._workers = workers

    def check(self, order: PushOrder) -> None:
        """Nothing, when the order asks for what can be done.

        Raises:
            InvalidInputError: It does not.
        """
        rounding(order.rounding)

    def build(self, order: PushOrder, folder: Path, report: Callable[[str, int, int], None]) -> VersionRecord:
        """The version is in the registry, and all its blobs in the store.

        Args:
            order: What was asked for.
            folder: Holds a file for each part that was announced.
            report: Told of progress; its error ends the work.

        Raises:
            InvalidInputError: A part is damaged, or the parts do not belong together.
            UnsupportedModelError: An operator cannot be delivered.
            CapacityError: The store is full.
            LinkError: The workers are out of reach.
        """
        weights = folder / Part.WEIGHTS.value
        graph = from_zstd((folder / Part.GRAPH.value).read_bytes())
        check_ops(graph)
        check_weights(graph, weights)
        quantized = quantize(
            graph,
            weights,
            read_samples(folder / Part.SAMPLES.value),
            order.quantization(),
            calibration=_optional_samples(order, folder, Part.CALIBRATION),
            evaluation=_optional_samples(order, folder, Part.EVALUATION),
            sink=self._put,
            report=report,
            workers=self._workers,
            held=None if order.fresh else self._version_before(order.model),
        )
        report("store", 0, 1)
        self._check_all_there(quantized)
        return self._registry.add_version(order.model, lambda number: _new_version(order, quantized, number))

    def _version_before(self, model: str) -> HeldVersion | None:
        """The newest version of the model, if there is one that this release can read."""
        try:
            digest = self._registry.get_version(model).manifest_digest
            return HeldVersion(from_json(self._registry.get_manifest(digest)), self._store.read)
        except (NotFoundError, ManifestError):
            return None

    def _check_all_there(self, quantized: Quantized) -> None:
        """Nothing, when no garbage collection ran ahead of a push that took longer than its grace."""
        refs = [
            quantized.graph,
            quantized.self_test,
            *([quantized.fidelity] if quantized.fidelity else []),
            *(ref for block in quantized.blocks for ref in block.blobs),
        ]
        try:
            with ThreadPoolExecutor(_LOOKING) as pool:
                for _ in pool.map(self._store.size_bytes, {ref.digest for ref in refs}):
                    pass
        except NotFoundError as error:
            raise ConflictError(
                "Garbage collection took a blob of this push away before the version was registered.",
                advice="Push again, and set gc_grace_seconds above what a push takes.",
            ) from error

    def _put(self, ref: BlobRef, data: bytes) -> None:
        self._store.put(ref.digest, data)


def _optional_samples(order: PushOrder, folder: Path, part: Part) -> Samples | None:
    if part not in order.parts:
        return None
    return read_samples(folder / part.value, what=f"{part.name.lower()} samples")


def _new_version(order: PushOrder, quantized: Quantized, number: int) -> NewVersion:
    manifest = quantized.manifest(order.model, number)
    data = to_json(manifest)
    frame = manifest_frame(data)
    if len(data) > MAX_MANIFEST_BYTES or len(frame) > MAX_MESSAGE_BYTES - _ENVELOPE_BYTES:
        raise InvalidInputError(
            f"The manifest of {len(manifest.blocks)} blocks is too large to be sent.",
            advice="Push with larger blocks.",
        )
    metadata_bytes = quantized.sizes.metadata_bytes + len(frame)
    return NewVersion(manifest, replace(quantized.sizes, metadata_bytes=metadata_bytes))
