"""The memory that a board says it has, from folders that look like its /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import psutil

from device_agent.residency.sensors import SystemMemory, derive_budget_bytes


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_without_groups_the_host_is_the_limit(tmp_path: Path) -> None:
    assert SystemMemory(tmp_path).limit_bytes() == psutil.virtual_memory().total


def test_a_v2_container_reads_its_own_limit(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/\n")
    put(tmp_path, "sys/fs/cgroup/memory.max", "50331648\n")
    assert SystemMemory(tmp_path).limit_bytes() == 48 << 20


def test_the_tightest_group_above_the_process_holds(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "0::/system.slice/agent.service\n")
    put(tmp_path, "sys/fs/cgroup/system.slice/agent.service/memory.max", "max\n")
    put(tmp_path, "sys/fs/cgroup/system.slice/memory.max", "33554432\n")
    assert SystemMemory(tmp_path).limit_bytes() == 32 << 20


def test_v1_is_read_beside_an_empty_v2(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "4:cpu,memory:/docker/1\n1:name=systemd:/x\n0::/\ngarbage\n")
    put(tmp_path, "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "20971520\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert SystemMemory(tmp_path).limit_bytes() == 20 << 20


def test_a_container_that_sees_the_hosts_path_finds_its_limit_at_the_mount(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/cgroup", "4:memory:/docker/not-mounted-here\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "20971520\n")
    assert SystemMemory(tmp_path).limit_bytes() == 20 << 20


def test_no_limit_and_nonsense_are_no_limits(tmp_path: Path) -> None:
    put(tmp_path, "sys/fs/cgroup/memory.max", "soon\n")
    put(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert SystemMemory(tmp_path).limit_bytes() == psutil.virtual_memory().total


def test_this_process_takes_something() -> None:
    assert 1 << 20 < SystemMemory().process_bytes() < psutil.virtual_memory().total


def test_the_budget_is_what_the_reserve_leaves() -> None:
    assert derive_budget_bytes(100, 30) == 70
    assert derive_budget_bytes(30, 100) == 0
