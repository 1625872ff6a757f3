from __future__ import annotations

import subprocess
import sys
import time

from common.clock import SystemClock
from device_agent.process_start import started_unix_ms

_PROGRAM = (
    "from common.clock import SystemClock;"
    "from device_agent.process_start import started_unix_ms;"
    "print(started_unix_ms(SystemClock()))"
)


def test_the_start_of_a_process_lies_between_the_call_that_made_it_and_its_end() -> None:
    before_ms = time.time() * 1000
    told = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True)
    after_ms = time.time() * 1000
    assert before_ms - 20 <= int(told.stdout) < after_ms - 20, "ticks are hundredths of a second"


def test_the_start_does_not_move() -> None:
    clock = SystemClock()
    assert abs(started_unix_ms(clock) - started_unix_ms(clock)) <= 1
