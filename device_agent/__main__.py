"""``nestfleet-agent run | status | trace | replay``."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import Error
from device_agent.app import run_agent
from device_agent.replay_command import add_replay, run_replay
from device_agent.settings import NAMES, Settings, add_flags, load_settings
from device_agent.status_command import format_status, read_status
from device_agent.trace_command import add_trace, run_trace


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an expected failure is one line on stderr and exit status 1."""
    parser = _parser()
    said = parser.parse_args(arguments)
    try:
        flags = {name: getattr(said, name) for name in NAMES}
        settings = load_settings(os.environ, flags, said.config)
        match said.command:
            case "run":
                _run(settings)
            case "trace":
                run_trace(settings, said)
            case "replay":
                run_replay(settings, said)
            case _:
                _show(settings, as_json=said.json)
    except Error as error:
        sys.stderr.write(f"nestfleet-agent: {error}\n")
        sys.exit(1)


def _run(settings: Settings) -> None:
    # The store holds the device's key.
    os.umask(0o077)
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # paho tells of every lost connection; the link says so itself.
    logging.getLogger("mqtt").setLevel(logging.ERROR)
    asyncio.run(run_agent(settings))


def _show(settings: Settings, *, as_json: bool) -> None:
    tree = read_status(settings.store_dir)
    sys.stdout.write(json.dumps(tree) + "\n" if as_json else format_status(tree))


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML")
    add_flags(shared)
    parser = argparse.ArgumentParser(
        prog="nestfleet-agent",
        description="Runs a fleet's model on this board.",
        epilog="A setting is a flag, a key of the --config file, or NESTFLEET_AGENT_… in the environment.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", parents=[shared], help="enrol, fetch, serve")
    status = commands.add_parser("status", parents=[shared], help="say what the agent on this store does")
    status.add_argument("--json", action="store_true", help="print JSON")
    add_trace(commands.add_parser("trace", parents=[shared], help="show or record what the sensors say"))
    add_replay(commands.add_parser("replay", parents=[shared], help="play a recorded day in seconds"))
    return parser


if __name__ == "__main__":
    main()
