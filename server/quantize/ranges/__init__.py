"""Between what the values of a model lie, from running it on samples: what 8-bit kernels need to know."""

from server.quantize.ranges.observe import observe

__all__ = ["observe"]
