"""Every error that crosses a boundary, named by what the caller does next.

The tree::

    nestfleet errors
    ├─ InvalidInputError        the caller's data is wrong: correct it, do not retry
    │  ├─ UnsupportedModelError   an op or layer that cannot be delivered
    │  ├─ ManifestError           structure or limits of a manifest violated
    │  └─ ConfigError             a setting is missing, unknown or contradictory
    ├─ NotFoundError            model, version, blob or device: do not retry
    ├─ ConflictError            already exists, lost a race, not allowed in this state
    ├─ IntegrityError           bytes are not what was promised: fetch again, bounded
    │  └─ SelfTestError           a version loads, but does not answer as it should
    ├─ CapacityError            disk or memory does not suffice: free some first
    └─ LinkError                transport: retry with backoff

Programming errors stay ValueError and TypeError and are never caught.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """What travels in gRPC trailers and device states; stable across releases."""

    INTERNAL = "internal"
    INVALID_INPUT = "invalid_input"
    UNSUPPORTED_MODEL = "unsupported_model"
    MANIFEST_INVALID = "manifest_invalid"
    CONFIG_INVALID = "config_invalid"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INTEGRITY = "integrity"
    SELF_TEST_FAILED = "self_test_failed"
    CAPACITY = "capacity"
    LINK = "link"


class Error(Exception):
    """Base of all errors that nestfleet raises on purpose.

    Attributes:
        advice: What the reader of the message should do next; may be empty.
        retryable: Whether the same call can succeed later without a change by the caller.
    """

    code = ErrorCode.INTERNAL
    retryable = False

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class InvalidInputError(Error):
    """The caller's data is wrong."""

    code = ErrorCode.INVALID_INPUT


class UnsupportedModelError(InvalidInputError):
    """The model uses something that cannot be delivered; names the op and the layer."""

    code = ErrorCode.UNSUPPORTED_MODEL


class ManifestError(InvalidInputError):
    """A manifest breaks its structure or its limits."""

    code = ErrorCode.MANIFEST_INVALID


class ConfigError(InvalidInputError):
    """A setting is missing, unknown or contradictory."""

    code = ErrorCode.CONFIG_INVALID


class NotFoundError(Error):
    """No such model, version, blob or device."""

    code = ErrorCode.NOT_FOUND


class ConflictError(Error):
    """It exists already, somebody else was first, or the state does not allow it."""

    code = ErrorCode.CONFLICT


class IntegrityError(Error):
    """Bytes are not what was promised.

    Attributes:
        expected: What was promised, as text; may be empty.
        actual: What was found, as text; may be empty.
    """

    code = ErrorCode.INTEGRITY

    def __init__(self, message: str, *, expected: str = "", actual: str = "", advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.expected = expected
        self.actual = actual


class SelfTestError(IntegrityError):
    """A version loads, but does not answer as it should."""

    code = ErrorCode.SELF_TEST_FAILED


class CapacityError(Error):
    """Disk or memory does not suffice.

    Attributes:
        needed_bytes: What the action needs.
        available_bytes: What there is.
    """

    code = ErrorCode.CAPACITY

    def __init__(
        self, message: str, *, needed_bytes: int = 0, available_bytes: int = 0, advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes


class LinkError(Error):
    """The peer could not be reached, or the connection broke."""

    code = ErrorCode.LINK
    retryable = True
