"""What is measured of one change of level."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report.

    Attributes:
        model: Name of the model.
        from_level, to_level: Of all blocks, before and after.
        bytes_read: From the disk.
        seconds: The least of some changes with nothing else to do.
        ms_per_mweight: The same in milliseconds per million quantized weights.
        p99_ms_during: Latency of a steady load, from the moment that a request was due, of those requests
            that a change in this direction ran beside; least of the rounds.
        p99_ms_quiet: The same load, no changes, at either level in turn; least of the rounds.
        separate_bytes_read: For the same change by loading a separate model of the wanted level.
        separate_packed_bytes: What those bytes would be without entropy coding, as the paper stores them.
        separate_seconds: For that, the least of some.
        failed_requests: Requests that got an error, of all under changes between these two levels.
        mixed_requests: Of those, answers that no state of the weights gives that was published.
        requests: How many there were.
        requests_during: How many a change in this direction ran beside.
        switches: Changes in this direction under load.
        weights: Quantized weights.
    """

    model: str
    from_level: int
    to_level: int
    bytes_read: int
    seconds: float
    ms_per_mweight: float
    p99_ms_during: float
    p99_ms_quiet: float
    separate_bytes_read: int
    separate_packed_bytes: int
    separate_seconds: float
    failed_requests: int
    mixed_requests: int
    requests: int
    requests_during: int
    switches: int
    weights: int
