"""How large a manifest and what it names may be."""

from __future__ import annotations

from typing import Final

FORMAT: Final = 2
MAX_BLOB_BYTES: Final = 64 * 1024 * 1024
MAX_BLOCKS: Final = 65_536
MAX_TENSORS_PER_BLOCK: Final = 4096
MAX_DIMENSIONS: Final = 8
MAX_ELEMENTS: Final = 1 << 34
MAX_GAIN: Final = 10**9
MAX_TEXT_LENGTH: Final = 512
