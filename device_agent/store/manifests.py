"""Manifests on disk, as they crossed the wire: one zstd frame under the digest of what it holds."""

from __future__ import annotations

from pathlib import Path

from common.blob_codec import decompress
from common.digest import sha256_hex
from common.errors import IntegrityError, ManifestError
from common.files import write_atomically
from common.manifest import Manifest, from_json
from device_agent.store.failures import disk_errors
from device_agent.store.listing import digest_sizes
from device_agent.store.records import Release


def open_frame(frame: bytes, release: Release) -> Manifest:
    """The manifest in a frame, which is the release's or none.

    Raises:
        IntegrityError: The frame does not hold what the digest names.
        ManifestError: The content breaks the rules, or is another version's.
    """
    data = decompress(frame, release.manifest_size_bytes)
    actual = sha256_hex(data)
    if actual != release.manifest_digest:
        raise IntegrityError(
            f"The manifest of {release} has other content than its digest says.",
            expected=release.manifest_digest,
            actual=actual,
        )
    manifest = from_json(data)
    if (manifest.model, manifest.version) != (release.model, release.version):
        raise ManifestError(f"The manifest of {release} names {manifest.model}:{manifest.version}.")
    return manifest


class ManifestFolder:
    """Blocking."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "manifests"
        with disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            for left_over in self._folder.glob(".*"):
                left_over.unlink()

    def sizes(self) -> dict[str, int]:
        """Digest to bytes on disk."""
        return digest_sizes(self._folder)

    def put(self, digest: str, frame: bytes) -> None:
        """The frame is on disk, whole.

        Raises:
            CapacityError: The disk does not take it.
        """
        with disk_errors():
            write_atomically(self._folder / digest, frame)

    def read(self, release: Release) -> Manifest | None:
        """The manifest of a release; None when it is not here, or not sound any more."""
        try:
            return open_frame((self._folder / release.manifest_digest).read_bytes(), release)
        except (OSError, IntegrityError, ManifestError):
            return None

    def remove(self, digest: str) -> None:
        """The manifest is gone."""
        with disk_errors():
            (self._folder / digest).unlink(missing_ok=True)
