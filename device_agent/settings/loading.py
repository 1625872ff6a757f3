"""Where settings come from: defaults < TOML file < environment < flags."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from common.byte_sizes import format_bytes
from common.errors import ConfigError, Error
from device_agent.settings.fields import NAMES, Settings
from device_agent.settings.known import KNOWN

ENV_PREFIX: Final = "NESTFLEET_AGENT_"


def load_settings(
    environment: Mapping[str, str], flags: Mapping[str, object], file: Path | None = None
) -> Settings:
    """The settings that hold.

    Args:
        environment: Of the process.
        flags: What the command line says; None stands for "not said".
        file: A TOML file whose keys are those of ``Settings``.

    Raises:
        ConfigError: A key is unknown or a value wrong; names the key.
    """
    said = {
        **(_from_file(file) if file else {}),
        **_from_environment(environment),
        **{name: value for name, value in flags.items() if value is not None},
    }
    values: dict[str, Any] = {}
    for name, value in said.items():
        setting = KNOWN.get(name)
        if setting is None:
            raise ConfigError(f"There is no setting {name!r}.", advice=f"Known are {', '.join(NAMES)}.")
        try:
            values[name] = setting.read(value)
        except Error as error:
            raise ConfigError(f"Setting {name!r}: {error.message}", advice=error.advice) from error
    return Settings(**values)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting."""
    for field in fields(Settings):
        setting = KNOWN[field.name]
        shown = _shown(field.default, as_size=setting.metavar == "SIZE")
        default = f" (default: {shown})" if field.default not in {"", None, 0} else ""
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            metavar=setting.metavar,
            help=setting.meaning + default,
        )


def _shown(default: object, *, as_size: bool) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return format_bytes(default) if as_size and isinstance(default, int) else str(default)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"The settings file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {file} is no TOML: {error}.") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Values by setting; an empty one stands for "not said", as compose files write it."""
    return {
        key.removeprefix(ENV_PREFIX).lower(): value
        for key, value in environment.items()
        if key.startswith(ENV_PREFIX) and value
    }
