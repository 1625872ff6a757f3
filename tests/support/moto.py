"""An S3-compatible store on this machine: moto's server, in a process and a Python environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

# E.g. s3://BUCKET/PREFIX, with the AWS_* variables that reach it. What is under the prefix is deleted.
URL_VARIABLE = "NESTFLEET_TEST_S3_URL"
# What moto takes: any; it checks no signature and no expiry.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "a-key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
}
_PYTHON = Path(sys.prefix) / "moto" / "bin" / "python"
_PROGRAM = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def running() -> Iterator[str]:
    """The endpoint of a server that ends with the block, or with this process."""
    assert _PYTHON.exists(), f"moto is not set up in {_PYTHON.parents[1]}: run `make test`"
    process = subprocess.Popen(
        [_PYTHON, "-I", "-c", _PROGRAM],
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "moto's server did not start"
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.communicate(timeout=60)


def make_bucket(endpoint: str, bucket: str, prefix: str = "") -> str:
    """The URL of a place in a new bucket, for ``open_blob_store``."""
    request = urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")  # noqa: S310  http, as just made
    with urllib.request.urlopen(request, timeout=60):  # noqa: S310  as above
        return f"s3://{bucket}/{prefix}?endpoint={quote(endpoint, safe='')}&region=us-east-1"
