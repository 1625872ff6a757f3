"""Making one delta: blobs of two blocks out of the store, the delta into it, a row that names it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from common.block_codec import Content, decode_blobs
from common.delta import encode_delta
from common.digest import sha256_hex
from common.errors import IntegrityError, NotFoundError
from common.manifest import Manifest
from server.delivery.delta_pair import DeltaPair, Place
from server.registry.records import DeltaRecord
from server.registry.repository import Registry
from server.storage.port import BlobStore

# What a delta must save to be worth a device's reading, decoding and coding anew.
LEAST_SAVING: Final = 0.05
_log = logging.getLogger(__name__)


class DeltaMaker:
    """Makes deltas, holding the blobs of one block of each version in memory."""

    def __init__(self, registry: Registry, store: BlobStore) -> None:
        self._registry = registry
        self._store = store

    def make(self, pair: DeltaPair, place: Place) -> DeltaRecord:
        """What is known of a place from now on; nothing is remembered where the store is damaged.

        Raises:
            NotFoundError: One of the versions is gone.
            CapacityError: The store is full.
            LinkError: The store or the registry is away.
        """
        nothing = DeltaRecord(pair.held_digest, pair.wanted_digest, place.block, place.first, place.last)
        try:
            data = self._encoded(pair, place)
        except (IntegrityError, NotFoundError) as error:
            _log.error("No delta of %s:%d can be made: %s", pair.wanted.model, pair.wanted.version, error)
            return nothing
        full_bytes = sum(ref.size_bytes for ref in pair.fresh(place))
        if data is None or len(data) > (1 - LEAST_SAVING) * full_bytes:
            return self._registry.record_delta(nothing)
        digest = sha256_hex(data)
        self._store.put(digest, data)
        return self._registry.record_delta(replace(nothing, delta_digest=digest, size_bytes=len(data)))

    def _encoded(self, pair: DeltaPair, place: Place) -> bytes | None:
        wanted = self._contents(pair.wanted, place.block, place.last)
        held = self._contents(pair.held, pair.blocks[place.block], place.last)
        return encode_delta(held, wanted, pair.span(place))

    def _contents(self, manifest: Manifest, at: int, last: int) -> list[Content]:
        return decode_blobs(manifest.blocks[at], manifest.levels, self._store.read, last + 1)
