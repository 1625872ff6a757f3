"""``python -m benchmarks.demo``: exit status 0 when all that is claimed was measured in this run."""

from __future__ import annotations

import argparse
import signal
import sys
from types import FrameType
from typing import NoReturn

from benchmarks.demo.display import Display
from benchmarks.demo.failure import DemoFailure
from common.errors import Error

_INTERRUPTED = 130


def main() -> int:
    """The exit status."""
    argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__).parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    display = Display()
    try:
        from benchmarks.demo.show import play  # noqa: PLC0415 - takes seconds, in which Ctrl-C must work too

        held = play(display)
    except (DemoFailure, Error) as error:
        display.failure(str(error))
        return 1
    except KeyboardInterrupt:
        display.failure("Interrupted; every process that was started has been stopped.")
        return _INTERRUPTED
    return 0 if held else 1


def _stop(number: int, _: FrameType | None) -> NoReturn:
    """Leave as if by an error, so that every context is closed."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
