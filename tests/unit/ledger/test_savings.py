"""The comparison: what counts for us, what is charged to the other schemes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.ledger.savings import Comparison, Kind, Savings, compare
from server.registry.records import ReachedRecord, TransferRecord
from tests.support.factories import sizes

SIZES = {("digits", 1): sizes(), ("digits", 2): sizes(10)}


def moved(
    kind: str, payload_bytes: int, *, device: str = "board-1", version: int = 1, ledger: str = "l"
) -> TransferRecord:
    return TransferRecord("digits", version, kind, 4, payload_bytes, 1, device, ledger)


def ran(level: int, *, device: str = "board-1", version: int = 1, ledger: str = "l") -> ReachedRecord:
    return ReachedRecord("digits", version, level, device, ledger)


def test_nothing_reported_is_an_empty_comparison() -> None:
    assert compare([], [], SIZES) == Comparison((), Savings())


def test_kinds_are_counted_apart_and_together() -> None:
    amounts = dict(zip(Kind, (1, 20, 300, 4000, 50_000, 600_000, 7_000_000), strict=True))
    row = compare([moved(kind, amount) for kind, amount in amounts.items()], [], SIZES).fleet
    assert (row.base_bytes, row.shard_bytes, row.update_bytes) == (1, 20, 300)
    assert (row.metadata_bytes, row.retransmitted_bytes, row.overhead_bytes) == (4000, 50_000, 600_000)
    assert (row.delta_bytes, row.moved_bytes) == (7_000_000, 7_654_321)


def test_a_kind_that_is_none_counts_nothing() -> None:
    assert compare([moved("fp32", 5), moved("versions", 5)], [], SIZES) == Comparison((), Savings())


def test_a_device_at_the_base_is_charged_the_high_part_and_one_small_model() -> None:
    row = compare([], [ran(4)], SIZES).fleet
    assert (row.fp32_bytes, row.int8_bytes, row.separate_bytes, row.paper_bytes) == (3200, 800, 400, 450)
    assert row.versions == 1


def test_levels_above_the_base_add_their_models_and_the_low_part_once() -> None:
    row = compare([], [ran(4), ran(6), ran(8), ran(8)], SIZES).fleet
    assert (row.fp32_bytes, row.int8_bytes, row.separate_bytes, row.paper_bytes) == (3200, 800, 1800, 1000)


def test_a_level_above_the_base_alone_needs_both_of_the_papers_parts() -> None:
    row = compare([], [ran(8)], SIZES).fleet
    assert (row.separate_bytes, row.paper_bytes) == (800, 1000)


def test_each_version_is_charged_anew() -> None:
    row = compare([], [ran(4), ran(4, version=2)], SIZES).fleet
    assert (row.fp32_bytes, row.versions) == (35_200, 2)


def test_a_lost_store_counts_anew_on_both_sides() -> None:
    transfers = [moved("base", 5, ledger="first"), moved("base", 5, ledger="second")]
    row = compare(transfers, [ran(4, ledger="first"), ran(4, ledger="second")], SIZES).fleet
    assert (row.base_bytes, row.fp32_bytes, row.versions) == (10, 6400, 2)


def test_a_version_that_failed_counts_against_us_alone() -> None:
    row = compare([moved("update", 7, version=2)], [], SIZES).fleet
    assert (row.moved_bytes, row.fp32_bytes, row.versions) == (7, 0, 0)


def test_versions_of_unknown_size_and_levels_that_are_none_charge_nothing() -> None:
    row = compare([], [ran(4, version=9), ran(5)], SIZES).fleet
    assert (row.separate_bytes, row.versions) == (0, 1)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Kind)), st.integers(0, 1 << 40))),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from((1, 2)), st.sampled_from((4, 6, 8)))),
)
def test_the_fleet_is_the_sum_of_its_devices(
    transfers: list[tuple[str, Kind, int]], levels: list[tuple[str, int, int]]
) -> None:
    comparison = compare(
        [moved(kind, amount, device=device) for device, kind, amount in transfers],
        [ran(level, device=device, version=version) for device, version, level in levels],
        SIZES,
    )
    names = [row.device_id for row in comparison.devices]
    assert names == sorted({device for device, *_ in (*transfers, *levels)})
    assert comparison.fleet.moved_bytes == sum(amount for *_, amount in transfers)
    assert comparison.fleet.fp32_bytes == sum(row.fp32_bytes for row in comparison.devices)
    assert comparison.fleet.versions == len({(device, version) for device, version, _ in levels})
    for row in comparison.devices:
        assert row.separate_bytes <= 3 * row.int8_bytes
        assert row.paper_bytes <= row.fp32_bytes
