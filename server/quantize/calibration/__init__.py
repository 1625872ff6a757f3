"""Calibrated rounding: codes, scales, offsets and biases of each level from what layers see of samples."""

from server.quantize.calibration.calibrate import Calibrated, calibrate

__all__ = ["Calibrated", "calibrate"]
