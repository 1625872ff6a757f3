"""The one table between errors and gRPC status codes, read in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

from common.errors import (
    CapacityError,
    ConfigError,
    ConflictError,
    Error,
    ErrorCode,
    IntegrityError,
    InvalidInputError,
    LinkError,
    ManifestError,
    NotFoundError,
    SelfTestError,
    UnsupportedModelError,
)

CODE_KEY: Final = "nestfleet-error"
# Statuses travel in HTTP/2 trailers, 8 KiB in all, where a character takes up to 12 bytes.
_MAX_MESSAGE: Final = 400
_MAX_ADVICE: Final = 200

STATUS: Final[dict[ErrorCode, grpc.StatusCode]] = {
    ErrorCode.INTERNAL: grpc.StatusCode.INTERNAL,
    ErrorCode.INVALID_INPUT: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.UNSUPPORTED_MODEL: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.MANIFEST_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.CONFIG_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorCode.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorCode.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorCode.INTEGRITY: grpc.StatusCode.DATA_LOSS,
    ErrorCode.SELF_TEST_FAILED: grpc.StatusCode.DATA_LOSS,
    ErrorCode.CAPACITY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.LINK: grpc.StatusCode.UNAVAILABLE,
}

_CLASSES: Final[dict[ErrorCode, type[Error]]] = {
    cls.code: cls
    for cls in (
        Error,
        InvalidInputError,
        UnsupportedModelError,
        ManifestError,
        ConfigError,
        NotFoundError,
        ConflictError,
        IntegrityError,
        SelfTestError,
        CapacityError,
        LinkError,
    )
}

# For peers that send a bare status: a proxy on the way, or gRPC itself.
_BARE: Final[dict[grpc.StatusCode, type[Error]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInputError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInputError,
    grpc.StatusCode.UNIMPLEMENTED: InvalidInputError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.DATA_LOSS: IntegrityError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: CapacityError,
    grpc.StatusCode.UNAVAILABLE: LinkError,
    grpc.StatusCode.DEADLINE_EXCEEDED: LinkError,
    grpc.StatusCode.CANCELLED: LinkError,
}


def to_status(error: Error) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    """The status, the public message as far as a trailer carries it, and the trailing metadata."""
    message = f"{_cut(error.message, _MAX_MESSAGE)} {_cut(error.advice, _MAX_ADVICE)}".strip()
    return STATUS[error.code], message, ((CODE_KEY, error.code.value),)


def from_status(
    status: grpc.StatusCode, message: str, trailers: Sequence[tuple[str, str | bytes]] = ()
) -> Error:
    """The error that a peer meant by a status; a bare status maps to the nearest family."""
    for key, value in trailers:
        if key == CODE_KEY and value in _CLASSES:
            return _CLASSES[ErrorCode(value)](message)
    return _BARE.get(status, Error)(message or status.name)


def from_code(code: str, message: str) -> Error:
    """The error that a peer meant by a code inside a message; an unknown one is the peer's own trouble."""
    return _CLASSES[ErrorCode(code)](message) if code in _CLASSES else Error(message or code)


def from_rpc_error(error: grpc.aio.AioRpcError) -> Error:
    """The error that a failed call stands for."""
    trailers = [(str(key), value) for key, value in (error.trailing_metadata() or ())]
    return from_status(error.code(), error.details() or "", trailers)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
