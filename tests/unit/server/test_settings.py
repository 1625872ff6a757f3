from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from server.settings import ENV_PREFIX, Settings, load_settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)


def test_defaults_need_no_setup(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/registry.sqlite"
    assert settings.blobs == f"file://{tmp_path}/blobs"
    assert settings.broker is None
    assert settings.workers == "local"


def test_flags_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.toml"
    file.write_text('listen = "file:1"\nbroker_listen = "file:2"\nmax_pushes = 7\n')
    monkeypatch.setenv("NESTFLEET_SERVER_LISTEN", "env:1")
    monkeypatch.setenv("NESTFLEET_SERVER_BROKER_LISTEN", "env:2")
    settings = load_settings(file, listen="flag:1", broker_listen=None)
    assert (settings.listen, settings.broker_listen, settings.max_pushes) == ("flag:1", "env:2", 7)


def test_sizes_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTFLEET_SERVER_DISK_RESERVE_BYTES", "12 MiB")
    monkeypatch.setenv("NESTFLEET_SERVER_MAX_WEIGHTS_BYTES", "1000")
    settings = load_settings()
    assert (settings.disk_reserve_bytes, settings.max_weights_bytes) == (12 << 20, 1000)
    monkeypatch.setenv("NESTFLEET_SERVER_DISK_RESERVE_BYTES", "much")
    with pytest.raises(ConfigError, match="disk_reserve_bytes"):
        load_settings()


def test_the_workers_are_those_of_this_machine_or_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTFLEET_SERVER_WORKERS", "dask://scheduler:8786")
    assert load_settings().workers == "dask://scheduler:8786"
    assert load_settings(workers="local").workers == "local"
    with pytest.raises(ConfigError, match=r"'workers'.*names no workers"):
        load_settings(workers="tcp://scheduler:8786")


def test_an_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTFLEET_SERVER_LISTN", "127.0.0.1:1")
    with pytest.raises(ConfigError, match="NESTFLEET_SERVER_LISTN"):
        load_settings()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('lisen = "a:1"', "lisen"),
        ('listen = "no-port"', "listen"),
        ('broker_url = "http://broker"', "broker_url"),
        ("max_pushes = 0", "max_pushes"),
        ("block_size_bytes = 99999999", "block_size_bytes"),
        ('workers = "dask://scheduler"', "workers"),
    ],
)
def test_a_bad_file_names_the_key(tmp_path: Path, line: str, key: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(line)
    with pytest.raises(ConfigError, match=key):
        load_settings(file)


def test_a_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(file)
    file.write_text("= 1")
    with pytest.raises(ConfigError, match="no TOML"):
        load_settings(file)


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.listen = "a:1"
