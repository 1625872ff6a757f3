"""Fails when the checked-in stubs differ from what the .proto files give."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """0 when the stubs are current, else 1 with the names of those that are not."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHON": sys.executable}
        subprocess.run([HERE / "generate.sh", folder], check=True, env=environment)
        fresh = {path.relative_to(folder): path.read_bytes() for path in sorted(Path(folder).rglob("*_pb2*"))}
    kept = {
        path.relative_to(HERE): path.read_bytes()
        for path in sorted(HERE.rglob("*_pb2*.py*"))
        if "__pycache__" not in path.parts
    }
    stale = sorted(str(name) for name in fresh.keys() | kept.keys() if fresh.get(name) != kept.get(name))
    if stale:
        sys.stderr.write(f"Stale stubs: {', '.join(stale)}. Run `make proto`.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
