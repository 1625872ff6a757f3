"""SHA-256 names of immutable bytes: 32 raw bytes on the wire, 64 hex digits everywhere else."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from common.errors import InvalidInputError

DIGEST_BYTES: Final = 32
_HEX: Final = re.compile(r"[0-9a-f]{64}")


def sha256_hex(data: bytes | memoryview) -> str:
    """The digest of some bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether the text is 64 lower-case hex digits."""
    return _HEX.fullmatch(text) is not None


def to_wire(digest: str) -> bytes:
    """The 32 bytes that a digest stands for.

    Raises:
        InvalidInputError: The text is no digest.
    """
    if not is_digest(digest):
        raise InvalidInputError(f"{digest[:80]!r} is no SHA-256 digest.")
    return bytes.fromhex(digest)


def from_wire(raw: bytes) -> str:
    """The 64 hex digits of a digest received as bytes.

    Raises:
        InvalidInputError: There are not 32 of them.
    """
    if len(raw) != DIGEST_BYTES:
        raise InvalidInputError(f"A digest has {DIGEST_BYTES} bytes, not {len(raw)}.")
    return raw.hex()
