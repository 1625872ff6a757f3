from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.transfer_limits import MeteredRule
from device_agent.settings import NAMES, Settings, load_settings
from device_agent.update.metered import Metered


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('device_id = "file"\nserver = "file:1"\nmemory_budget_bytes = "2 MiB"\nthreads = 3\n')
    environment = {"NESTFLEET_AGENT_SERVER": "environment:2", "NESTFLEET_AGENT_THREADS": "2", "HOME": "/"}
    settings = load_settings(environment, {"threads": "1", "http_listen": None}, file)
    assert settings.device_id == "file"
    assert settings.server == "environment:2"
    assert settings.threads == 1
    assert settings.memory_budget_bytes == 2 * 1024 * 1024
    assert settings.http_listen == Settings().http_listen


def test_an_empty_variable_says_nothing() -> None:
    assert load_settings({"NESTFLEET_AGENT_SERVER": ""}, {}) == Settings()


def test_every_setting_can_be_read() -> None:
    written = {
        "device_id": "board-1",
        "server": "[::1]:1",
        "store_dir": "/tmp/store",  # noqa: S108
        "http_listen": "0.0.0.0:0",
        "grpc_listen": "off",
        "queue_length": 7,
        "queue_seconds": "2.5",
        "batch_rows": "64",
        "batch_window_ms": 2.5,
        "request_memory_bytes": "64MiB",
        "memory_budget_bytes": 1,
        "reserve_bytes": "1.5 KiB",
        "budget_file": "/tmp/budget",  # noqa: S108
        "broker_url": "mqtt://host",
        "download_limit_bytes_per_second": "64KiB",
        "monthly_budget_bytes": "500 MiB",
        "metered": "yes",
        "metered_file": "metered",
        "metered_rule": "base-only",
        "quiet_hours": "22:00-06:00",
        "disk_reserve_bytes": 0,
        "disk_budget_bytes": "64 MiB",
        "spare_memory_bytes": "16MiB",
        "pressure_some_percent": 20,
        "pressure_full_percent": "10",
        "pressure_shrink_percent": 50,
        "hot_celsius": 75.5,
        "battery_low_percent": 30,
        "battery_critical_percent": 5,
        "margin_percent": 0,
        "grow_seconds": 60,
        "switches_per_hour": 4,
        "threads": 2,
        "kernels": "exact",
        "engine": "onednn",
        "kernel_tolerance": "0.05",
        "signed_urls": "no",
        "ready_file": "ready.json",
        "heartbeat_seconds": 0.5,
        "log_level": "debug",
    }
    assert set(written) == set(NAMES)
    settings = load_settings({}, written)
    assert settings.reserve_bytes == 1536
    assert settings.ready_file == Path.cwd() / "ready.json"
    assert settings.heartbeat_seconds == 0.5
    assert settings.signed_urls is False
    assert (settings.kernels, settings.engine, settings.kernel_tolerance) == ("exact", "onednn", 0.05)
    assert settings.metered is Metered.YES
    assert settings.metered_rule is MeteredRule.BASE_ONLY


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("no_such_setting", "1"),
        ("device_id", "Board 1"),
        ("server", "nowhere"),
        ("memory_budget_bytes", "12 MB"),
        ("memory_budget_bytes", -1),
        ("memory_budget_bytes", True),
        ("threads", "many"),
        ("threads", 5000),
        ("grpc_listen", "on"),
        ("queue_length", 0),
        ("queue_seconds", 0),
        ("batch_rows", "0"),
        ("batch_rows", 2000),
        ("batch_window_ms", "nan"),
        ("batch_window_ms", -1),
        ("request_memory_bytes", "512KiB"),
        ("heartbeat_seconds", "nan"),
        ("heartbeat_seconds", 0),
        ("broker_url", "http://x"),
        ("log_level", "loud"),
        ("store_dir", 7),
        ("kernels", "slow"),
        ("engine", "cuda"),
        ("engine", ["auto"]),
        ("kernel_tolerance", 1.5),
        ("kernel_tolerance", "nan"),
        ("signed_urls", "maybe"),
        ("monthly_budget_bytes", "5 MB"),
        ("metered", "maybe"),
        ("metered", []),
        ("metered_rule", "some"),
        ("quiet_hours", "22-6"),
        ("battery_low_percent", 101),
        ("battery_low_percent", "nan"),
        ("hot_celsius", "warm"),
        ("switches_per_hour", 5),
        ("switches_per_hour", 2),
        ("quiet_hours", "06:00-06:00"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        load_settings({}, {name: value})


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="brokr_url"):
        load_settings({"NESTFLEET_AGENT_BROKR_URL": "x"}, {})


def test_a_file_that_is_no_toml_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("= 1")
    for name in ("bad.toml", "none.toml"):
        with pytest.raises(ConfigError, match=name):
            load_settings({}, {}, tmp_path / name)
