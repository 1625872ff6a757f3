from __future__ import annotations

import subprocess
import sys

_WARM = "from device_agent.inference.warm_up import warm_up; import sys; thread = warm_up()"


def test_the_runtime_is_there_once_the_thread_has_ended() -> None:
    names = ("torch", "device_agent.inference.runtime")
    code = f"{_WARM}; thread.join(60); print(*(name in sys.modules for name in {names}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_runtime_that_cannot_be_loaded_is_a_warning() -> None:
    code = f"import sys; sys.modules['torch'] = None; {_WARM}; thread.join(60)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "The runtime cannot be loaded" in done.stderr
