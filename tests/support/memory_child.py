"""Pages a version of about ten million weights in a process of its own, and prints what its memory did.

``python -m tests.support.memory_child FORM FOLDER``: FORM is ``packed`` or ``bytes``, blobs lie in FOLDER.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Self

from common.manifest import Manifest, TensorPart
from device_agent.residency.pager import Pager
from device_agent.residency.resident import Snapshot
from device_agent.store.mapped import map_file
from tests.support.blocks import random_version
from tests.support.process_memory import anonymous_bytes, resident_bytes

BLOCKS = 10
ROWS, ROW_WEIGHTS = 1024, 1000
BLOCK_WEIGHTS = ROWS * ROW_WEIGHTS
PAIRS = ((4, 8), (8, 4), (4, 6), (6, 8), (8, 6), (6, 4))


class Peak:
    """The most anonymous memory of the process while the context lasts.

    The system's own high-water mark counts maps of files too, so a thread looks as often as it can.
    """

    def __enter__(self) -> Self:
        self.bytes = anonymous_bytes()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()

    def look(self) -> None:
        self.bytes = max(self.bytes, anonymous_bytes())

    def _watch(self) -> None:
        while not self._stop.wait(0.0005):
            self.look()


def main() -> None:
    form, folder = sys.argv[1], Path(sys.argv[2])
    manifest = _write(folder)
    names = {part.name for block in manifest.blocks for part in block.tensors} if form == "bytes" else set()

    def read(digest: str) -> memoryview:
        return map_file(folder / digest)

    def prepare(snapshot: Snapshot, _: object) -> Snapshot:
        """The moment of most memory: a block's old state is there, and its new one is whole."""
        peak.look()
        return snapshot

    with Peak() as peak:
        pager = Pager(manifest, read, manifest.nearest(4), unpacked=names, prepare=prepare)
        pager.set_levels(manifest.nearest(8))
        pager.set_levels(manifest.nearest(4))
    rows = []
    for low, high in PAIRS:
        pager.set_levels(manifest.nearest(low))
        before_bytes, before_anonymous_bytes = resident_bytes(), anonymous_bytes()
        held_bytes = pager.snapshot.size_bytes
        with Peak() as peak:
            pager.set_levels(manifest.nearest(high))
        rows.append(
            {
                "from": low,
                "to": high,
                "grown_bytes": resident_bytes() - before_bytes,
                "held_grown_bytes": pager.snapshot.size_bytes - held_bytes,
                "peak_bytes": peak.bytes - max(before_anonymous_bytes, anonymous_bytes()),
                "block_bytes": max(block.size_bytes for block in pager.snapshot.blocks),
            }
        )
    json.dump({"rows": rows, "in_use": _in_use(pager, manifest)}, sys.stdout)


def _in_use(pager: Pager, manifest: Manifest) -> dict[str, int]:
    """Memory after a page-out that a request outlives, and after that request."""
    pager.set_levels(manifest.nearest(8))
    request = [pager.snapshot]
    before_bytes = resident_bytes()
    pager.set_levels(manifest.nearest(4))
    during_bytes = resident_bytes() - before_bytes
    request.clear()
    deadline = time.monotonic() + 20
    while resident_bytes() - before_bytes > during_bytes - (1 << 20) and time.monotonic() < deadline:
        time.sleep(0.01)
    return {"during": during_bytes, "after": resident_bytes() - before_bytes}


def _write(folder: Path) -> Manifest:
    parts = [TensorPart(f"t{index}", (ROWS, ROW_WEIGHTS), 0, ROWS) for index in range(BLOCKS)]
    version = random_version((4, 6, 8), [([part], {}) for part in parts])
    for digest, data in version.blobs.items():
        (folder / digest).write_bytes(data)
    return version.manifest


if __name__ == "__main__":
    main()
