"""Measures what a version's levels and shards are worth, on the blobs that will be sent."""

from server.quantize.fidelity.bar import check_min_fidelity
from server.quantize.fidelity.measure import measure_fidelity

__all__ = ["check_min_fidelity", "measure_fidelity"]
