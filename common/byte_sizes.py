"""Sizes as people read and write them: bytes, KiB, MiB, GiB, always powers of 1024."""

from __future__ import annotations

import re
from typing import Final

from common.errors import ConfigError

_UNIT_BYTES: Final = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SIZE: Final = re.compile(r"([0-9]{1,18})(\.[0-9]{1,6})?\s*([A-Za-z]*)")


def format_bytes(size_bytes: int) -> str:
    """A size for a table, in the largest unit that it fills: ``"512 B"``, ``"12.3 KiB"``, ``"4.20 MiB"``."""
    if size_bytes < _UNIT_BYTES["kib"]:
        return f"{size_bytes} B"
    if size_bytes < _UNIT_BYTES["mib"]:
        return f"{size_bytes / _UNIT_BYTES['kib']:.1f} KiB"
    if size_bytes < _UNIT_BYTES["gib"]:
        return f"{size_bytes / _UNIT_BYTES['mib']:.2f} MiB"
    return f"{size_bytes / _UNIT_BYTES['gib']:.2f} GiB"


def parse_bytes(text: str) -> int:
    """The bytes that a text such as ``"12 MiB"``, ``"1.5GiB"`` or ``"4096"`` stands for.

    Raises:
        ConfigError: It is no size. MB is refused: it means two things.
    """
    match = _SIZE.fullmatch(text.strip())
    whole, fraction, unit = match.groups() if match else ("", "", "?")
    factor = _UNIT_BYTES.get(unit.lower() or "b")
    if factor is None or (fraction and factor == 1):
        raise ConfigError(
            f"{text[:40]!r} is no size.", advice="Write bytes, or a number with KiB, MiB or GiB, e.g. 12MiB."
        )
    return int(whole) * factor + int(float(fraction or 0) * factor)
