"""What a folder of files named by digest holds, safe to ask for while files come and go."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from common.digest import is_digest
from device_agent.store.failures import disk_errors


def digest_sizes(folder: Path) -> dict[str, int]:
    """Digest to bytes on disk; a file that goes away meanwhile is left out.

    Raises:
        CapacityError: The disk does not tell.
    """
    sizes: dict[str, int] = {}
    with disk_errors(), os.scandir(folder) as entries:
        for entry in entries:
            if is_digest(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    sizes[entry.name] = entry.stat().st_size
    return sizes
