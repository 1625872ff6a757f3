"""What is measured in one scenario. MB are 10^6 bytes, GB 10^9."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the report; None for what its scenario does not have.

    Attributes:
        scenario: "stream": all devices fetch the same files at once over the loopback, and discard them;
            "limited_link": from an assignment to the first inference over a slow link; "cuts": a link that
            is cut at random bytes.
        devices: How many at once.
        mb_per_s: Payload of all devices over the time of the slowest; median of the runs, as all of a stream.
        bare_grpc_mb_per_s: The same files by one call per device of plain gRPC, of the same message.
        nginx_mb_per_s: The same files by GET over one connection per device; None where nginx is not there.
        server_cpu_seconds_per_gb, client_cpu_seconds_per_gb: Of the two processes, for the product.
        bare_grpc_server_cpu_seconds_per_gb, bare_grpc_client_cpu_seconds_per_gb: For plain gRPC.
        nginx_server_cpu_seconds_per_gb: For nginx.
        slowest_over_median: Time of the slowest device over that of the median device, for the product.
        link_mbit_per_s: Rate of the link towards the device; 0 for the loopback's.
        first_inference_seconds: From the assignment to the first answer of an agent that ran before.
        ideal_seconds: What the bases alone take on that link.
        base_bytes: Of all bases.
        cuts: How many times the link was cut.
        bytes_sent: Bytes that the link handed to the device, framing and all.
        bytes_needed: Payload of the version: manifest, metadata and all blobs.
        fetched_twice_bytes: Bytes of blobs that the device had and got again.
        seconds: From the assignment to the end.
    """

    scenario: str
    devices: int | None = None
    mb_per_s: float | None = None
    bare_grpc_mb_per_s: float | None = None
    nginx_mb_per_s: float | None = None
    server_cpu_seconds_per_gb: float | None = None
    client_cpu_seconds_per_gb: float | None = None
    bare_grpc_server_cpu_seconds_per_gb: float | None = None
    bare_grpc_client_cpu_seconds_per_gb: float | None = None
    nginx_server_cpu_seconds_per_gb: float | None = None
    slowest_over_median: float | None = None
    link_mbit_per_s: float | None = None
    first_inference_seconds: float | None = None
    ideal_seconds: float | None = None
    base_bytes: int | None = None
    cuts: int | None = None
    bytes_sent: int | None = None
    bytes_needed: int | None = None
    fetched_twice_bytes: int | None = None
    seconds: float | None = None
