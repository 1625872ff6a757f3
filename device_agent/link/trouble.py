"""What a server's errors mean to a device."""

from __future__ import annotations

import grpc

from common.errors import CapacityError, ConfigError, Error, LinkError
from common.rpc_status import from_code, from_rpc_error


def meant_by(error: grpc.aio.AioRpcError) -> Error:
    """The error that a failed call stands for here."""
    return _as_seen_here(from_rpc_error(error))


def meant_by_code(code: str, detail: str) -> Error:
    """The error that a code inside a message stands for here."""
    return _as_seen_here(from_code(code, detail))


def _as_seen_here(error: Error) -> Error:
    """A server that is overloaded, set up wrongly, broken inside or dying is one that is away.

    None of that says anything about the version, nor about this device's disk and settings.
    """
    if type(error) is Error or isinstance(error, CapacityError | ConfigError):
        return LinkError(error.message)
    return error
