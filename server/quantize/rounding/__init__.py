"""Rounding modes: how a tensor's weights come to be codes at several levels. One module a mode."""

from server.quantize.rounding.modes import MODES, rounding
from server.quantize.rounding.port import Rounded, Rounding, Rows

__all__ = ["MODES", "Rounded", "Rounding", "Rows", "rounding"]
