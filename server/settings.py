"""The server's settings: defaults < TOML file < environment < flags. Nothing else reads the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.addresses import BrokerAddress, parse_broker_url, parse_host_port
from common.byte_sizes import parse_bytes
from common.errors import ConfigError, InvalidInputError
from server.quantize.workers.choice import LOCAL, check_choice

ENV_PREFIX: Final = "NESTFLEET_SERVER_"
_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB


def _read_by(parse: Callable[[str], Any], text: str) -> Any:
    """What the text stands for; a refusal in the form that pydantic takes.

    Raises:
        ValueError: It stands for nothing.
    """
    try:
        return parse(text)
    except InvalidInputError as error:
        raise ValueError(str(error)) from error


def _host_port(text: str) -> str:
    _read_by(parse_host_port, text)
    return text


def _broker_url(text: str) -> str:
    _read_by(parse_broker_url, text)
    return text


def _workers(text: str) -> str:
    return str(_read_by(check_choice, text))


def _bytes(value: Any) -> Any:
    return _read_by(parse_bytes, value) if isinstance(value, str) else value


HostPort = Annotated[str, AfterValidator(_host_port)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
WorkersChoice = Annotated[str, AfterValidator(_workers)]
Bytes = Annotated[int, BeforeValidator(_bytes)]


class Settings(BaseSettings):
    """All that an operator may set. Sizes may be written as "12 MiB".

    Port 0 lets the system choose; ``ready_file`` tells what it chose.

    Attributes:
        data_dir: Registry, blobs and uploads in progress, where nothing else is named.
        listen: Address of the gRPC services.
        database_url: SQLAlchemy URL; None: SQLite in ``data_dir``.
        blobs_url: URL of the blob store; None: a folder in ``data_dir``.
        presigned_url_seconds: How long the URLs hold by which devices fetch blobs straight from the store;
            0: all bytes pass through this server.
        broker_url: ``mqtt://`` or ``mqtts://``; None: a broker in this process.
        broker_listen: Address of the broker in this process.
        advertised_broker: Where devices find the broker; None: ``broker_url``, or this process' broker on
            the host under which the device reached the server.
        gc_grace_seconds: Blobs younger than this are never collected: a push may be about to name them.
        max_graph_bytes, max_weights_bytes, max_samples_bytes: Largest parts that a push must bring.
        max_calibration_bytes, max_evaluation_bytes: Largest parts that it may bring; held in memory.
        block_size_bytes: Largest blob of a block, where the push does not say.
        disk_reserve_bytes: What a push must leave free on the disk.
        max_pushes: Pushes under way at once; the next is refused.
        push_idle_seconds: A push that sends nothing for so long is cut.
        workers: Who quantizes: "local", the cores of this machine, or ``dask://HOST:PORT``, the scheduler of
            a Dask cluster. Never for a push to say: it could make the server connect anywhere.
        ready_file: Written once all is served: JSON with the addresses.
        log_level: Least level that is logged to stderr.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, validate_default=True
    )

    data_dir: Path = Path("nestfleet-data")
    listen: HostPort = "127.0.0.1:50051"
    database_url: str | None = None
    blobs_url: str | None = None
    presigned_url_seconds: int = Field(default=0, ge=0, le=24 * 3600)
    broker_url: BrokerUrl | None = None
    broker_listen: HostPort = "127.0.0.1:1883"
    advertised_broker: BrokerUrl | None = None
    gc_grace_seconds: float = Field(default=3600.0, ge=0)
    max_graph_bytes: Bytes = Field(default=16 * _MIB, gt=0)
    max_weights_bytes: Bytes = Field(default=16 * _GIB, gt=0)
    max_samples_bytes: Bytes = Field(default=64 * _MIB, gt=0)
    max_calibration_bytes: Bytes = Field(default=_GIB, gt=0)
    max_evaluation_bytes: Bytes = Field(default=2 * _GIB, gt=0)
    block_size_bytes: Bytes = Field(default=_MIB, ge=16 * _KIB, le=4 * _MIB)
    disk_reserve_bytes: Bytes = Field(default=64 * _MIB, ge=0)
    max_pushes: int = Field(default=4, ge=1, le=64)
    push_idle_seconds: float = Field(default=60.0, gt=0)
    workers: WorkersChoice = LOCAL
    ready_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _absolute_data_dir(self) -> Self:
        object.__setattr__(self, "data_dir", self.data_dir.expanduser().absolute())
        return self

    @property
    def database(self) -> str:
        """The SQLAlchemy URL that holds."""
        return self.database_url or f"sqlite:///{self.data_dir / 'registry.sqlite'}"

    @property
    def blobs(self) -> str:
        """The blob store's URL that holds."""
        return self.blobs_url or (self.data_dir / "blobs").as_uri()

    @property
    def broker(self) -> BrokerAddress | None:
        """The broker outside this process, if there is one."""
        return parse_broker_url(self.broker_url) if self.broker_url else None


def load_settings(file: Path | None = None, **flags: Any) -> Settings:
    """The settings that hold.

    Args:
        file: A TOML file whose keys are those of ``Settings``.
        flags: What the command line says; None stands for "not said".

    Raises:
        ConfigError: A key is unknown or a value wrong; names the key.
    """
    from_file = _read(file) if file else {}
    _check_environment(os.environ)
    said = {key: value for key, value in flags.items() if value is not None}
    # Arguments override the environment, so what the environment sets must not be passed from the file.
    kept = {key: value for key, value in from_file.items() if not os.environ.get(ENV_PREFIX + key.upper())}
    try:
        return Settings(**{**kept, **said})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ConfigError(
            f"Setting {key!r}: {first['msg']}.",
            advice=f"Set it by flag, by {ENV_PREFIX}{key.upper()} or in the file.",
        ) from error


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"The settings file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {file} is no TOML: {error}.") from error


def _check_environment(environment: Mapping[str, str]) -> None:
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in environment if name.startswith(ENV_PREFIX) and name not in known)
    if unknown:
        raise ConfigError(
            f"{', '.join(unknown)}: no such setting.", advice=f"Known are {', '.join(sorted(known))}."
        )
