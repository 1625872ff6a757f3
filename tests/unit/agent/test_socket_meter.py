"""Counting what crosses sockets: real ones of this process, and the arithmetic around them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.link.kernel_meter import KernelMeter, kernel_counts
from device_agent.link.overhead_estimate import EstimatingMeter, estimate_overhead
from device_agent.link.tcp_info import TcpInfo, parse

ESTABLISHED, CLOSED, LISTENING = 1, 7, 10

needs_kernel = pytest.mark.skipif(not kernel_counts(), reason="this kernel does not count")


def struct_bytes(
    length: int, *, state: int = ESTABLISHED, acked: int = 0, received: int = 0, sent: int = 0
) -> bytes:
    data = bytearray(512)
    data[0] = state
    struct.pack_into("=QQ", data, 120, acked, received)
    struct.pack_into("=Q", data, 200, sent)
    return bytes(data[:length])


def test_a_kernel_before_4_1_counts_nothing() -> None:
    assert parse(struct_bytes(104)) is None
    assert parse(struct_bytes(135)) is None
    assert parse(b"") is None


def test_a_kernel_before_4_19_tells_what_was_acknowledged() -> None:
    data = {"acked": 7, "received": 1 << 40, "sent": 9}
    assert parse(struct_bytes(136, **data)) == TcpInfo(False, False, 1 << 40, 7)  # noqa: FBT003
    assert parse(struct_bytes(207, **data)) == TcpInfo(False, False, 1 << 40, 7)  # noqa: FBT003


@pytest.mark.parametrize("length", [208, 232, 512])
def test_a_newer_kernel_tells_what_was_sent(length: int) -> None:
    info = parse(struct_bytes(length, acked=7, received=5, sent=9))
    assert info is not None
    assert info.crossed_bytes == 14


def test_listeners_and_sockets_never_used_are_told_apart() -> None:
    listening, unused = parse(struct_bytes(280, state=LISTENING)), parse(struct_bytes(280, state=CLOSED))
    broken = parse(struct_bytes(280, state=CLOSED, sent=1))
    assert listening is not None
    assert unused is not None
    assert broken is not None
    assert (listening.listening, unused.unused, broken.unused) == (True, True, False)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def connect(stack: ExitStack, family: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    """What this process opened, and what it accepted."""
    kind = socket.AF_INET6 if ":" in family else socket.AF_INET
    listener = stack.enter_context(socket.create_server((family, 0), family=kind))
    near = stack.enter_context(socket.create_connection(listener.getsockname()[:2]))
    far = stack.enter_context(listener.accept()[0])
    return near, far


def carry(source: socket.socket, target: socket.socket, size_bytes: int) -> None:
    source.sendall(bytes(size_bytes))
    assert len(target.recv(size_bytes, socket.MSG_WAITALL)) == size_bytes


@needs_kernel
@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
def test_both_ways_of_a_connection_count_once(stack: ExitStack, family: str) -> None:
    if family == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    meter = KernelMeter()
    near, far = connect(stack, family)
    before = meter.crossed_bytes()
    carry(near, far, 1000)
    carry(far, near, 70_000)
    assert meter.crossed_bytes() - before == meter.crossed_bytes() - before == 71_000
    duplicate = stack.enter_context(near.dup())
    carry(duplicate, far, 5)
    assert meter.crossed_bytes() - before == 71_005


@needs_kernel
def test_a_connection_that_ended_keeps_its_count_and_its_peer_learns_of_the_end(stack: ExitStack) -> None:
    meter = KernelMeter()
    near, far = connect(stack)
    before = meter.crossed_bytes()
    carry(near, far, 1000)
    counted = meter.crossed_bytes()
    near.close()
    assert far.recv(1) == b""
    assert meter.crossed_bytes() == counted == before + 1000
    again, other = connect(stack)
    carry(again, other, 10)
    assert meter.crossed_bytes() == counted + 10


@needs_kernel
def test_the_end_of_another_connection_and_a_reset_take_nothing_back(stack: ExitStack) -> None:
    meter = KernelMeter()
    before = meter.crossed_bytes()
    near, far = connect(stack)
    carry(near, far, 1000)
    counted = meter.crossed_bytes() - before
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    assert meter.crossed_bytes() - before == counted == 1000


@needs_kernel
def test_what_is_no_link_does_not_count(stack: ExitStack) -> None:
    meter = KernelMeter()
    before = meter.crossed_bytes()
    left, right = socket.socketpair()
    stack.enter_context(left)
    stack.enter_context(right)
    carry(left, right, 1000)
    for _ in range(2):
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.connect(("127.0.0.1", 9))
    stack.enter_context(socket.socket())
    bound = stack.enter_context(socket.socket())
    bound.bind(("127.0.0.1", 0))
    assert meter.crossed_bytes() == before
    bound.listen()
    client = stack.enter_context(socket.create_connection(bound.getsockname()))
    accepted = stack.enter_context(bound.accept()[0])
    carry(client, accepted, 300)
    assert meter.crossed_bytes() == before + 300, "the accepted end must not count too"


@needs_kernel
def test_a_descriptor_stays_its_owners(stack: ExitStack) -> None:
    meter = KernelMeter()
    near, far = connect(stack)
    for _ in range(3):
        meter.crossed_bytes()
    carry(near, far, 10)
    number = near.fileno()
    near.close()
    with Path("/dev/null").open("rb") as file:
        assert file.fileno() == number, "the file takes the number"
        meter.crossed_bytes()
        assert file.read() == b""


counts = st.integers(0, 1 << 40)


@given(counts, counts, st.integers(0, 1000), st.integers(0, 1 << 30), st.floats(0, 1e7))
def test_an_estimate_rises_with_everything(
    payload: int, more: int, messages: int, published: int, seconds: float
) -> None:
    def estimate(payload_bytes: int, extra: int = 0) -> int:
        return estimate_overhead(
            payload_bytes, published_messages=messages + extra, published_bytes=published, seconds=seconds
        )

    assert published <= estimate(payload) <= estimate(payload + more)
    assert estimate(payload) < estimate(payload, extra=1)
    assert estimate(payload) - published <= 100_000 + 0.003 * payload + 100 * messages + seconds


def test_an_estimating_meter_counts_from_its_start_and_never_falls() -> None:
    payload, now = [10_000_000], [50.0]
    meter = EstimatingMeter(lambda: payload[0], lambda: now[0])
    start = meter.crossed_bytes()
    assert 0 < start < 5000
    payload[0] += 1_000_000
    received = meter.crossed_bytes()
    assert 1_000_000 < received - start < 1_003_000
    meter.published(500)
    now[0] += 150
    assert meter.crossed_bytes() - received == 500 + 64 + 10 * 4
    assert meter.measured is False
