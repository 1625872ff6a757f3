"""Blobs on disk: a partial file grows at its end, and gets its name once its digest is right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.digest import is_digest, sha256_hex
from common.errors import IntegrityError, NotFoundError
from common.files import fsync_folder
from common.manifest import BlobRef
from device_agent.store.failures import disk_errors
from device_agent.store.listing import digest_sizes
from device_agent.store.mapped import map_file

_MODE: Final = 0o600
_UNNAMED: Final = "."


class BlobFolder:
    """Two folders: ``blobs`` holds verified blobs by digest, ``partial`` what is on its way.

    Blocking. A blob in ``blobs`` was verified and synced before it came there.
    """

    def __init__(self, root: Path) -> None:
        self._whole = root / "blobs"
        self._partial = root / "partial"
        with disk_errors():
            for folder in (self._whole, self._partial):
                folder.mkdir(parents=True, exist_ok=True)
        self._present = set(digest_sizes(self._whole))
        for digest in self._present & set(digest_sizes(self._partial)):
            self._path(self._partial, digest).unlink()
        for left_over in self._partial.glob(f"{_UNNAMED}*"):
            left_over.unlink()

    @property
    def present(self) -> frozenset[str]:
        """Digests of all whole blobs."""
        return frozenset(self._present)

    def has(self, digest: str) -> bool:
        """Whether the blob is whole; needs no disk."""
        return digest in self._present

    def sizes(self) -> dict[str, int]:
        """Digest to bytes on disk, of whole and of partial blobs."""
        return {**digest_sizes(self._partial), **digest_sizes(self._whole)}

    def partial(self) -> dict[str, int]:
        """Digest to bytes on disk of the blobs that are not whole."""
        return digest_sizes(self._partial)

    def size_bytes(self, digest: str) -> int:
        """Bytes of a blob that are on disk, whole or partial; 0 when there are none."""
        for folder in (self._whole, self._partial):
            try:
                return self._path(folder, digest).stat().st_size
            except FileNotFoundError:
                continue
        return 0

    def read(self, digest: str) -> memoryview:
        """A whole blob's bytes, mapped: they take no memory of the process's own.

        They stay readable when the blob is removed meanwhile. See ``device_agent.store.mapped``.

        Raises:
            NotFoundError: It is not here.
            IntegrityError: The disk does not give it.
        """
        try:
            return map_file(self._path(self._whole, digest))
        except FileNotFoundError as error:
            raise NotFoundError(f"Blob {digest[:12]} is not in the store.") from error
        except OSError as error:
            raise IntegrityError(f"Blob {digest[:12]} cannot be read: {error.strerror}.") from error

    def append(self, digest: str, data: bytes) -> int:
        """The partial blob has the bytes at its end; its new size.

        Raises:
            CapacityError: The disk does not take them all; some may be there.
        """
        with disk_errors():
            return _write(self._path(self._partial, digest), data, os.O_APPEND)

    def finish(self, refs: Sequence[BlobRef]) -> dict[str, IntegrityError]:
        """The partial blobs are whole, verified, synced and named; again where a last time broke off.

        Returns:
            Digest to what is the matter, for those whose bytes are not what ``refs`` name; they are gone.

        Raises:
            CapacityError: The disk fails; those that got their names are found by the next try.
        """
        wrong: dict[str, IntegrityError] = {}
        with disk_errors():
            for ref in refs:
                error = self._finish(ref)
                if error is not None:
                    wrong[ref.digest] = error
            if len(wrong) < len(refs):
                fsync_folder(self._whole)
        self._present |= {ref.digest for ref in refs if ref.digest not in wrong}
        return wrong

    def _finish(self, ref: BlobRef) -> IntegrityError | None:
        path, whole = self._path(self._partial, ref.digest), self._path(self._whole, ref.digest)
        if not path.exists() and whole.exists():
            path = whole
        with path.open("rb") as file:
            data = file.read()
            actual = sha256_hex(data)
            if actual == ref.digest and len(data) == ref.size_bytes:
                os.fsync(file.fileno())
                path.replace(whole)
                return None
        path.unlink()
        return IntegrityError(
            f"Blob {ref.digest[:12]} arrived with other content than its name says.",
            expected=ref.digest,
            actual=actual,
            advice="Look for a fault on the way, or push the version again.",
        )

    def put_whole(self, ref: BlobRef, data: bytes) -> None:
        """A blob that was made here is whole, synced and named; a partial one of the same name is gone.

        Args:
            ref: Its reference.
            data: Its bytes, which the caller has verified.

        Raises:
            CapacityError: The disk does not take it; a partial blob stays as it was.
        """
        partial = self._path(self._partial, ref.digest)
        unnamed = partial.with_name(f"{_UNNAMED}{ref.digest}")
        with disk_errors():
            _write(unnamed, data, os.O_TRUNC, sync=True)
            unnamed.replace(self._path(self._whole, ref.digest))
            # From here on it is whole; if its name does not last, it is missing at the next start.
            self._present.add(ref.digest)
            partial.unlink(missing_ok=True)
            fsync_folder(self._whole)

    def verify(self, ref: BlobRef) -> bool:
        """Whether a whole blob still is what its name says; a size that a manifest makes up is no rot."""
        try:
            return sha256_hex(self.read(ref.digest)) == ref.digest
        except (NotFoundError, IntegrityError):
            return False

    def remove(self, digest: str) -> None:
        """Nothing of the blob is left."""
        self._present.discard(digest)
        with disk_errors():
            for folder in (self._whole, self._partial):
                self._path(folder, digest).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Room on the disk."""
        return shutil.disk_usage(self._whole).free

    @staticmethod
    def _path(folder: Path, digest: str) -> Path:
        if not is_digest(digest):
            raise ValueError(f"{digest!r:.80} is no digest")
        return folder / digest


def _write(path: Path, data: bytes, mode: int, *, sync: bool = False) -> int:
    """The file has the bytes, appended or in the place of others; its size now."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | mode, _MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        if sync:
            os.fsync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)
