"""``nestfleet-agent trace``: what the board's sensors say, on the screen or in a file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common.errors import ConfigError
from device_agent.replay.trace import Look, write_trace
from device_agent.sensors.board import board_sensors
from device_agent.sensors.guarded import Sensors
from device_agent.sensors.link import LinkSensor
from device_agent.settings import Settings


def add_trace(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.add_argument(
        "--record", type=Path, metavar="FILE", help="record the readings; else show them once"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, metavar="SECONDS", help="for so long (default: 60)"
    )
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="so often (default: 1)")


def run_trace(settings: Settings, said: argparse.Namespace) -> None:
    """Show what the sensors say now, or record what they say for a while.

    Raises:
        ConfigError: A time is none.
        InvalidInputError: The file cannot be written.
        CapacityError: The file is full.
    """
    if not 0 < said.every <= said.seconds < float("inf"):
        raise ConfigError(f"--every {said.every} --seconds {said.seconds} is no time to record.")
    link = LinkSensor(settings.metered, settings.metered_file)
    sensors = Sensors([board_sensors(settings.store_dir), link])
    if said.record is None:
        sys.stdout.write(json.dumps(sensors.read().present()) + "\n")
        return
    count = write_trace(said.record, _looks(sensors, said.seconds, said.every))
    sys.stdout.write(f"{count} looks in {said.record}\n")


def _looks(sensors: Sensors, seconds: float, every_seconds: float) -> Iterator[Look]:
    """Until the time is over, or somebody presses ctrl-C."""
    started = time.monotonic()
    try:
        for index in range(int(seconds / every_seconds) + 1):
            time.sleep(max(0.0, started + index * every_seconds - time.monotonic()))
            yield Look(time.monotonic() - started, sensors.read())
    except KeyboardInterrupt:
        return
