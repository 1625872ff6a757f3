"""Names of models and devices: safe in a path, a topic, a URL and a table."""

from __future__ import annotations

import re
from typing import Final

from common.errors import InvalidInputError

_MAX_VERSION: Final = 0x7FFFFFFF
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_name(text: str) -> bool:
    """Whether the text is 1 to 64 characters of [a-z0-9._-] that start with a letter or digit."""
    return _NAME.fullmatch(text) is not None


def check_name(text: str, *, what: str) -> str:
    """The name unchanged.

    Args:
        text: What somebody calls a model or a device.
        what: The kind of thing, for the message, e.g. "model".

    Raises:
        InvalidInputError: It is no name.
    """
    if not is_name(text):
        raise InvalidInputError(
            f"{text[:80]!r} is no {what} name.",
            advice="Use 1 to 64 characters of a-z, 0-9, '.', '_' and '-', starting with a letter or digit.",
        )
    return text


def parse_version_ref(text: str) -> tuple[str, int]:
    """A model and a version number from ``NAME`` or ``NAME:VERSION``; 0 stands for the newest.

    Raises:
        InvalidInputError: It is neither form.
    """
    name, colon, number = text.partition(":")
    check_name(name, what="model")
    if not colon:
        return name, 0
    if not number.isascii() or not number.isdigit() or not 1 <= int(number[:10]) <= _MAX_VERSION:
        raise InvalidInputError(f"{number[:80]!r} is no version number.", advice="Write NAME:1, NAME:2, …")
    return name, int(number)
