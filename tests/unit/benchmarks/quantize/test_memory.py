from __future__ import annotations

import numpy as np

from benchmarks.quantize.memory import watch_peak

MIB = 1024 * 1024


def test_the_peak_is_seen_after_it_has_passed_and_forgotten_by_the_next_watch() -> None:
    peak = watch_peak()
    array = np.ones(64 * MIB, np.uint8)
    assert array.nbytes == 64 * MIB
    del array
    assert 60 * MIB < peak.growth_bytes() < 128 * MIB
    assert watch_peak().growth_bytes() < 32 * MIB
