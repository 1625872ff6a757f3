"""Versions of random codes in a registry and a blob store, as a push leaves them."""

from __future__ import annotations

from server.registry.records import NewVersion, VersionRecord
from server.registry.repository import Registry
from server.storage.port import BlobStore
from tests.support.factories import sizes
from tests.support.fleet import TestVersion


def publish(registry: Registry, store: BlobStore, version: TestVersion) -> VersionRecord:
    """The version is there; it must be the next one of its model."""
    for digest, data in version.blobs.items():
        store.put(digest, data)
    return registry.add_version(version.manifest.model, lambda _: NewVersion(version.manifest, sizes()))
