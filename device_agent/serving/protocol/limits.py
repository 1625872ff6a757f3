"""What a client may ask for at most, over either transport."""

from __future__ import annotations

from typing import Final

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
# JSON in memory is up to ten times its text: long values are better sent as bytes.
MAX_JSON_BYTES: Final = 16 * 1024 * 1024
MAX_JSON_BRACKETS: Final = 1_000_000
MAX_ROWS: Final = 1024
MAX_TENSORS: Final = 64
MAX_DIMENSIONS: Final = 8
MAX_SIZE: Final = 1 << 31
MAX_NAME_CHARACTERS: Final = 256
MAX_ID_CHARACTERS: Final = 256
