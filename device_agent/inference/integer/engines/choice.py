"""Which engine runs layers in integers here."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Final

from common.errors import ConfigError
from device_agent.inference.integer.engines.onednn import OneDnn
from device_agent.inference.integer.engines.packed import Packed
from device_agent.inference.integer.engines.port import Engine

AUTO: Final = "auto"
NONE: Final = "none"

_ARM: Final = frozenset({"aarch64", "arm64", "armv7l", "armv8l"})
_MAKERS: Final[Mapping[str, tuple[Callable[[], bool], Callable[[], Engine]]]] = {
    "onednn": (OneDnn.is_here, OneDnn),
    "qnnpack": (lambda: Packed.is_here("qnnpack"), lambda: Packed("qnnpack")),
    "fbgemm": (lambda: Packed.is_here("fbgemm"), lambda: Packed("fbgemm")),
}


def engines_here() -> tuple[str, ...]:
    """Names of the engines that run on this machine, and give right answers on it."""
    return tuple(name for name, (is_here, _) in _MAKERS.items() if is_here())


def choose_engine(name: str) -> Engine | None:
    """The engine of a name.

    "auto" is oneDNN where it is here, else QNNPACK on ARM, else none: on x86 without VNNI, FBGEMM's sums
    saturate and QNNPACK is slower than floats.

    Args:
        name: "auto", "none", or an engine's own.

    Returns:
        The engine; None for floats alone.

    Raises:
        ConfigError: The engine that was named is unknown or not here; the advice says which are.
    """
    here = engines_here()
    if name == AUTO:
        name = _best(here)
    if name == NONE:
        return None
    if name not in here:
        raise ConfigError(
            f"There is no engine {name!r:.40} for integer kernels here.",
            advice=f"Set it to {', '.join((AUTO, *here))} or {NONE}.",
        )
    return _MAKERS[name][1]()


def _best(here: tuple[str, ...]) -> str:
    if "onednn" in here:
        return "onednn"
    return "qnnpack" if "qnnpack" in here and platform.machine().lower() in _ARM else NONE
