"""The sensors of a board, read from folders that look like its /proc and /sys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.sensors.board import board_sensors
from device_agent.sensors.guarded import Sensors
from device_agent.sensors.heat import HeatSensor
from device_agent.sensors.link import LinkSensor
from device_agent.sensors.memory import MemorySensor
from device_agent.sensors.port import Sensor
from device_agent.sensors.power import PowerSensor
from device_agent.sensors.pressure import PressureSensor
from device_agent.sensors.readings import NOTHING, Readings
from device_agent.update.metered import Metered

MEMINFO = {"proc/meminfo": "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   600 kB\nHugePages_Total: 0\n"}
CGROUP = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"
THERMAL = "sys/class/thermal"
SUPPLY = "sys/class/power_supply"
OWN: Mapping[str, Callable[[Path], Sensor]] = {
    "memory": MemorySensor,
    "pressure": PressureSensor,
    "heat": HeatSensor,
    "power": PowerSensor,
}


def put(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def read(sensor: str, root: Path, files: Mapping[str, str]) -> Readings:
    put(root, files)
    return replace(OWN[sensor](root).read(), process_bytes=None)


@pytest.mark.parametrize("sensor", OWN)
def test_a_board_without_any_files_has_no_sensors(sensor: str, tmp_path: Path) -> None:
    assert read(sensor, tmp_path, {}) == NOTHING


@pytest.mark.parametrize("content", ["", "\n", "soon", "-", "9" * 5000, "\udcff"])
@pytest.mark.parametrize("sensor", OWN)
def test_nonsense_is_no_reading(sensor: str, content: str, tmp_path: Path) -> None:
    paths = [
        "proc/meminfo", "proc/self/cgroup", "proc/pressure/memory",
        f"{CGROUP}/memory.max", f"{CGROUP}/memory.current", f"{CGROUP}/memory.pressure",
        f"{V1}/memory.limit_in_bytes", f"{V1}/memory.stat",
        f"{THERMAL}/thermal_zone0/temp", f"{THERMAL}/thermal_zone0/type", f"{THERMAL}/cooling_device0/type",
        f"{SUPPLY}/BAT0/capacity", f"{SUPPLY}/BAT0/type", f"{SUPPLY}/AC/online",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
        "sys/devices/platform/soc/soc:firmware/get_throttled",
    ]  # fmt: skip
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content.encode("utf-8", "surrogateescape"))
    (tmp_path / f"{SUPPLY}/BAT0/type").write_text("Battery")
    assert replace(OWN[sensor](tmp_path).read(), process_bytes=None) == NOTHING


@pytest.mark.parametrize("sensor", OWN)
def test_a_folder_in_the_place_of_a_file_is_no_reading(sensor: str, tmp_path: Path) -> None:
    for path in ("proc/meminfo", "proc/pressure/memory", f"{THERMAL}/thermal_zone0/temp"):
        (tmp_path / path).mkdir(parents=True)
    assert read(sensor, tmp_path, {}) == NOTHING


def test_without_groups_the_host_is_the_limit(tmp_path: Path) -> None:
    expected = Readings(memory_limit_bytes=1000 << 10, memory_available_bytes=600 << 10)
    assert read("memory", tmp_path, MEMINFO) == expected


def test_this_process_takes_something() -> None:
    assert (MemorySensor(Path("/")).read().process_bytes or 0) > 1 << 20


@pytest.mark.parametrize(
    ("files", "limit", "available"),
    [
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                f"{CGROUP}/memory.max": "50000\n",
                f"{CGROUP}/memory.current": "45000\n",
                f"{CGROUP}/memory.stat": "anon 30000\ninactive_file 10000\nactive_file 5000\n",
            },
            50_000,
            15_000,
            id="a v2 container reads its own limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/system.slice/agent.service\n",
                f"{CGROUP}/system.slice/agent.service/memory.max": "max\n",
                f"{CGROUP}/system.slice/agent.service/memory.current": "1\n",
                f"{CGROUP}/system.slice/memory.max": "30000\n",
                f"{CGROUP}/system.slice/memory.current": "40000\n",
            },
            30_000,
            0,
            id="the tightest group above the process holds",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:cpu,memory:/docker/1\n1:name=systemd:/x\n0::/\ngarbage\n",
                f"{V1}/docker/1/memory.limit_in_bytes": "20000\n",
                f"{V1}/docker/1/memory.usage_in_bytes": "15000\n",
                f"{V1}/docker/1/memory.stat": "inactive_file 1\ntotal_inactive_file 6000\n",
                f"{V1}/memory.limit_in_bytes": "9223372036854771712\n",
                f"{V1}/memory.usage_in_bytes": "900000\n",
            },
            20_000,
            11_000,
            id="v1 is read beside an empty v2",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/docker/not-mounted-here\n",
                f"{V1}/memory.limit_in_bytes": "20000\n",
            },
            20_000,
            600 << 10,
            id="a container that sees the host's path finds its limit at the mount",
        ),
        pytest.param(
            {
                f"{CGROUP}/memory.max": "soon\n",
                f"{V1}/memory.limit_in_bytes": "9223372036854771712\n",
            },
            1000 << 10,
            600 << 10,
            id="no limit and nonsense are no limits",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/../../etc\n",
                f"{CGROUP}/memory.max": "0\n",
                f"{CGROUP}/memory.current": "0\n",
            },
            0,
            0,
            id="a limit of nothing, and a path that climbs out",
        ),
    ],
)
def test_groups_narrow_memory(files: dict[str, str], limit: int, available: int, tmp_path: Path) -> None:
    readings = read("memory", tmp_path, MEMINFO | files)
    assert (readings.memory_limit_bytes, readings.memory_available_bytes) == (limit, available)


PSI = "some avg10={} avg60=0.00 avg300=0.00 total=1\nfull avg10={} avg60=9.00 avg300=0.00 total=0\n"


def test_pressure_is_the_hosts_or_the_groups_whichever_is_higher(tmp_path: Path) -> None:
    host = {"proc/pressure/memory": PSI.format("1.50", "0.00")}
    assert read("pressure", tmp_path, host) == Readings(pressure_some_percent=1.5, pressure_full_percent=0.0)
    group = {"proc/self/cgroup": "0::/a\n", f"{CGROUP}/a/memory.pressure": PSI.format("0.10", "100.00")}
    assert read("pressure", tmp_path, group) == Readings(
        pressure_some_percent=1.5, pressure_full_percent=100.0
    )


def zone(number: int, kind: str, milli: object) -> dict[str, str]:
    folder = f"{THERMAL}/thermal_zone{number}"
    return {f"{folder}/type": kind, f"{folder}/temp": f"{milli}\n"}


def test_the_hottest_zone_of_the_processor_counts(tmp_path: Path) -> None:
    files = zone(0, "battery", 90_000) | zone(1, "cpu-thermal", 61_500) | zone(2, "soc_thermal", 58_000)
    files |= zone(3, "cpu-broken", -274_000) | zone(4, "x86_pkg_temp", "nan")
    assert read("heat", tmp_path, files).cpu_celsius == 61.5


def test_where_no_zone_says_what_it_is_the_hottest_counts(tmp_path: Path) -> None:
    assert read("heat", tmp_path, zone(0, "zone-a", 40_000) | zone(1, "zone-b", 41_000)).cpu_celsius == 41.0


def test_a_cooling_device_at_work_is_throttling_and_a_fan_is_not(tmp_path: Path) -> None:
    folder = f"{THERMAL}/cooling_device"
    files = {f"{folder}0/type": "pwm-fan", f"{folder}0/cur_state": "3"}
    assert read("heat", tmp_path, files).throttled is None
    files = {f"{folder}1/type": "cpufreq-cpu0", f"{folder}1/cur_state": "0"}
    assert read("heat", tmp_path, files).throttled is False
    assert read("heat", tmp_path, {f"{folder}1/cur_state": "2"}).throttled is True


def test_a_counter_of_throttling_counts_while_it_rises(tmp_path: Path) -> None:
    file = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    put(tmp_path, {file: "7"})
    sensor = HeatSensor(tmp_path)
    assert [sensor.read().throttled, sensor.read().throttled] == [False, False]
    put(tmp_path, {file: "9"})
    assert [sensor.read().throttled, sensor.read().throttled] == [True, False]


@pytest.mark.parametrize(("word", "expected"), [("0", False), ("50000", False), ("4", True), ("e0008", True)])
def test_the_firmware_of_a_raspberry_pi(word: str, expected: bool, tmp_path: Path) -> None:  # noqa: FBT001
    files = {"sys/devices/platform/soc/soc:firmware/get_throttled": f"{word}\n"}
    assert read("heat", tmp_path, files).throttled is expected


def supply(name: str, kind: str, **files: object) -> dict[str, str]:
    folder = f"{SUPPLY}/{name}"
    return {f"{folder}/type": f"{kind}\n"} | {f"{folder}/{key}": f"{value}\n" for key, value in files.items()}


@pytest.mark.parametrize(
    ("files", "charge", "on_mains"),
    [
        (supply("BAT0", "Battery", capacity=57, status="Discharging"), 0.57, False),
        (supply("BAT0", "Battery", capacity=57, status="Charging"), 0.57, True),
        (supply("BAT0", "Battery", capacity=130, status="Unknown"), 1.0, None),
        (supply("BAT0", "Battery", energy_now=30, energy_full=40), 0.75, None),
        (supply("BAT0", "Battery", charge_now=10, charge_full=0), None, None),
        (supply("BAT0", "Battery", capacity=57, present=0), None, None),
        (supply("BAT0", "Battery", capacity=50) | supply("BAT1", "Battery", capacity=100), 0.75, None),
        (supply("AC", "Mains", online=1), None, True),
        (supply("AC", "Mains", online=0) | supply("usb", "USB", online=1), None, True),
        (
            supply("AC", "Mains", online=0) | supply("BAT0", "Battery", capacity=9, status="Full"),
            0.09,
            False,
        ),
        (supply("mouse", "Battery", scope="Device", capacity=3, status="Discharging"), None, None),
    ],
)
def test_batteries_and_mains(
    files: dict[str, str],
    charge: float | None,
    on_mains: bool | None,  # noqa: FBT001
    tmp_path: Path,
) -> None:
    assert read("power", tmp_path, files) == Readings(battery_fraction=charge, on_mains=on_mains)


def test_a_metered_link_is_known_where_somebody_says_so(tmp_path: Path) -> None:
    file = tmp_path / "metered"
    file.write_text("yes")
    assert LinkSensor(Metered.AUTO, None).read() == NOTHING
    assert LinkSensor(Metered.NO, None).read() == Readings(metered=False)
    assert LinkSensor(Metered.AUTO, file).read() == Readings(metered=True)


def test_all_sensors_are_one(tmp_path: Path) -> None:
    put(tmp_path, MEMINFO | zone(0, "cpu", 40_000) | supply("BAT0", "Battery", capacity=50))
    readings = board_sensors(tmp_path, tmp_path).read()
    assert set(readings.present()) == {
        "memory_limit_bytes",
        "memory_available_bytes",
        "process_bytes",
        "disk_free_bytes",
        "cpu_celsius",
        "battery_fraction",
    }
    assert board_sensors(tmp_path / "no-store-yet", tmp_path).read().disk_free_bytes is None


class Broken:
    """A sensor that throws whatever a test wants."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self) -> Readings:
        raise self.error


@pytest.mark.parametrize("error", [OSError(5, "I/O error"), ValueError("x"), RuntimeError("x")])
def test_a_sensor_that_throws_is_absent_and_logged_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Sound:
        def read(self) -> Readings:
            return Readings(cpu_celsius=40.0)

    sensors = Sensors([Broken(error), Sound()])
    with caplog.at_level(logging.WARNING):
        assert [sensors.read() for _ in range(3)] == [Readings(cpu_celsius=40.0)] * 3
    assert sensors.failures == {"Broken": 3}
    assert len(caplog.records) == 1
