"""``python -m server.health HOST:PORT``: exits with 0 when a server there says that it serves."""

from __future__ import annotations

import argparse
import sys
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_DEADLINE_SECONDS: Final = 3.0


def serves(address: str) -> bool:
    """Whether the server at an address is there and says that it serves."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=_DEADLINE_SECONDS
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def main() -> int:
    """Ask the server named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m server.health", description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    return 0 if serves(parser.parse_args().address) else 1


if __name__ == "__main__":
    sys.exit(main())
