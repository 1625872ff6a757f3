"""Thread settings reach a torch that is imported later, and one that is there already."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LIMIT = "from device_agent.inference.threads import limit_threads; limit_threads(1)"
_IMPORT = "import torch"
_REPORT = (
    "import os; print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
)


@pytest.mark.parametrize("order", [(_LIMIT, _IMPORT), (_IMPORT, _LIMIT)])
def test_a_limit_holds_before_and_after_torch_is_imported(order: tuple[str, str]) -> None:
    code = "\n".join((*order, _REPORT))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "PASSIVE", "4000"]
