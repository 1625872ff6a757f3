"""Small files of /proc and /sys, where anything may be absent or empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 64 * 1024
_MOST: Final = 1024
_DIGITS: Final = 20


def read_text(file: Path) -> str | None:
    """A file's text; None where there is none to be had, as a driver may say of its own file too."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_BYTES).decode("ascii", "replace").strip()
    except OSError:
        return None


def read_integer(file: Path, base: int = 10) -> int | None:
    """A file's one number; None where it is none, or longer than any that a kernel writes."""
    text = read_text(file)
    try:
        return int(text, base) if text and len(text) <= _DIGITS else None
    except ValueError:
        return None


def read_table(file: Path) -> dict[str, int]:
    """Lines such as ``MemTotal:  16 kB`` or ``inactive_file 4096`` as name to number, in the file's unit."""
    lines = (line.split() for line in (read_text(file) or "").splitlines())
    return {
        words[0].rstrip(":"): int(words[1])
        for words in lines
        if len(words) > 1 and words[1].isdigit() and len(words[1]) <= _DIGITS
    }


def folders(parent: Path, pattern: str) -> Iterator[Path]:
    """Sub-folders by name, in order; links count, as most of /sys is."""
    yield from sorted(parent.glob(pattern))[:_MOST]
