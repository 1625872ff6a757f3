"""A whole server in the test's own event loop: SQLite, a folder, the embedded broker, free ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from common.channel import CHANNEL_OPTIONS
from server.app import Addresses, running
from server.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class RunningServer:
    """What a test needs of it."""

    addresses: Addresses
    settings: Settings
    channel: grpc.aio.Channel


def settings_for(folder: Path, **overrides: Any) -> Settings:
    return load_settings(
        **{
            "data_dir": folder,
            "listen": "127.0.0.1:0",
            "broker_listen": "127.0.0.1:0",
            "disk_reserve_bytes": 0,
            **overrides,
        }
    )


@asynccontextmanager
async def running_server(folder: Path, **overrides: Any) -> AsyncIterator[RunningServer]:
    settings = settings_for(folder, **overrides)
    async with (
        running(settings) as addresses,
        grpc.aio.insecure_channel(addresses.grpc, options=CHANNEL_OPTIONS) as channel,
    ):
        yield RunningServer(addresses, settings, channel)
