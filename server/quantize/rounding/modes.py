"""The modes by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from common.errors import InvalidInputError
from server.quantize.rounding.adaptive import Adaptive
from server.quantize.rounding.calibrated import Calibrated
from server.quantize.rounding.floor import Floor
from server.quantize.rounding.port import Rounding

# Name to what makes the mode, told whether part-bit levels shall have refitted scales and offsets. "auto" is
# calibrated where samples say something of a tensor; else ``server.quantize.formats`` compares the others.
MODES: Final[dict[str, Callable[[bool], Rounding]]] = {
    "adaptive": lambda refit: Adaptive(refit=refit),
    "auto": lambda _refit: Calibrated(),
    "calibrated": lambda _refit: Calibrated(),
    "floor": lambda _refit: Floor(),
}


def rounding(name: str, *, refit: bool = False) -> Rounding:
    """The mode of that name.

    Args:
        name: What an operator calls it.
        refit: Whether part-bit levels take the scale and offset that lie nearest to the float weights.

    Raises:
        InvalidInputError: There is none.
    """
    if name not in MODES:
        raise InvalidInputError(
            f"Rounding {name[:80]!r} is not known.", advice=f"Choose one of: {', '.join(sorted(MODES))}."
        )
    return MODES[name](refit)
