from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from common.errors import InvalidInputError
from server.quantize.weights import WeightsFile

MEBI = 1 << 20


def test_rows_hold_when_much_else_is_read_and_the_file_is_gone(tmp_path: Path) -> None:
    table = torch.arange(8 * MEBI, dtype=torch.int32).reshape(32, -1)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"table": table, "one": torch.ones(3)}, path)
    file = WeightsFile(path)
    rows = [file.rows("table", start, start + 1) for start in range(32)]
    assert torch.equal(torch.cat(rows), table)
    assert torch.equal(file.whole("one"), torch.ones(3))
    path.unlink()
    assert torch.equal(torch.cat(rows), table)


def test_what_was_read_and_dropped_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({"table": torch.ones(16, MEBI)}, path)
    file = WeightsFile(path)
    most_mapped_bytes = 0
    for row in range(16):
        assert file.rows("table", row, row + 1).sum() == MEBI
        most_mapped_bytes = max(most_mapped_bytes, _resident_bytes_of(path))
    assert 0 < most_mapped_bytes < 32 * MEBI


def _resident_bytes_of(path: Path) -> int:
    """What of a file this process has in memory."""
    resident_kib, within = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            within = line.endswith(str(path))
        elif within and first == "Rss:":
            resident_kib += int(line.split()[1])
    return resident_kib * 1024


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"no container")
    with pytest.raises(InvalidInputError, match="no safetensors file"):
        WeightsFile(path)
