"""The whole report of small real versions, against figures that are computed here in the plainest way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import InvalidInputError
from common.fidelity_codec import decode, encode
from common.graph.build import build
from server.quantize.fidelity.block_reader import BlockReader
from server.quantize.fidelity.sources import FloatSource, HeldSource
from server.quantize.samples import Samples
from tests.support.measuring import Measurable, SteppingClock, measurable, tiny_version
from tests.support.models import tiny_net
from tests.support.versions import make_version
from tests.support.zoo import ZOO, Function


def images(count: int, seed: int = 1) -> Samples:
    array = np.random.default_rng(seed).random((count, 1, 8, 8), np.float32)
    return Samples((array,), np.arange(count) % 10)


def outputs(version: Measurable, source: Any) -> Any:
    tensors = [torch.from_numpy(array) for array in version.samples.inputs]
    return build(version.graph)(source, *tensors)[0].double().numpy()


def at_level(version: Measurable, level: int) -> HeldSource:
    return HeldSource(version.blocks, level, BlockReader(version.levels, version.blobs.__getitem__))


def test_figures_of_a_level_are_those_of_its_outputs() -> None:
    with measurable(tiny_version(), images(50)) as version:
        report = version.measure(sample_kind="evaluation")
        wanted = outputs(version, FloatSource(version.weights))
        labels = version.samples.labels
        assert labels is not None
        assert (report.samples, report.sample_kind) == (50, "evaluation")
        assert report.fp32_top1 == pytest.approx((wanted.argmax(1) == labels).mean(), abs=1e-6)
        for found in report.levels:
            seen = outputs(version, at_level(version, found.level))
            lengths = np.linalg.norm(seen, axis=1) * np.linalg.norm(wanted, axis=1)
            error = ((seen - wanted) ** 2).sum()
            assert found.output_cosine == pytest.approx(((seen * wanted).sum(1) / lengths).mean(), abs=1e-5)
            assert found.output_sqnr_db == pytest.approx(10 * np.log10((wanted**2).sum() / error), abs=1e-3)
            assert found.argmax_agreement == pytest.approx((seen.argmax(1) == wanted.argmax(1)).mean())
            assert found.top1 == pytest.approx((seen.argmax(1) == labels).mean())


def test_levels_get_better_and_take_the_bytes_of_their_blobs() -> None:
    with measurable(tiny_version(), images(8)) as version:
        report = version.measure()
        assert [found.level for found in report.levels] == [4, 6, 8]
        for low, high in zip(report.levels, report.levels[1:], strict=False):
            assert low.output_cosine <= high.output_cosine
            assert (low.weight_sqnr_db or 0) < (high.weight_sqnr_db or 0)
        sizes = [sum(ref.size_bytes for ref in block.blobs) for block in version.blocks]
        bases = [block.blobs[0].size_bytes for block in version.blocks]
        assert report.levels[-1].size_bytes == sum(sizes)
        assert report.levels[0].size_bytes == sum(bases)


def test_a_shard_gains_the_error_that_its_block_alone_causes() -> None:
    with measurable(tiny_version(), images(6)) as version:
        report = version.measure()
        reader = BlockReader(version.levels, version.blobs.__getitem__)
        wanted = outputs(version, at_level(version, 8))
        assert [block.block for block in report.blocks] == [
            index for index, block in enumerate(version.blocks) if block.tensors
        ]
        assert (report.sensitivity, report.sensitivity_samples) == ("output", 6)
        for found in report.blocks:
            block = version.blocks[found.block]
            errors = []
            for level in (4, 6, 8):
                source = at_level(version, 8)
                with source.replaced(reader.at(block, level)):
                    seen = outputs(version, source)
                errors.append((((seen - wanted) ** 2).sum(1) / (wanted**2).sum(1)).mean())
            assert errors[2] == 0.0
            gains = [max(0.0, errors[0] - errors[1]), max(0.0, errors[1])]
            assert [shard.gain for shard in found.shards] == pytest.approx(gains, rel=1e-3)
            assert [shard.size_bytes for shard in found.shards] == [ref.size_bytes for ref in block.blobs[1:]]
            assert (found.first_tensor, found.tensors) == (block.tensors[0].name, len(block.tensors))


def test_weights_that_were_replaced_are_back_afterwards() -> None:
    with measurable(tiny_version(), images(4)) as version:
        reader = BlockReader(version.levels, version.blobs.__getitem__)
        source = at_level(version, 8)
        before = outputs(version, source)
        with source.replaced(reader.at(version.blocks[0], 4)):
            assert not np.array_equal(outputs(version, source), before)
        np.testing.assert_array_equal(outputs(version, source), before)


def test_a_block_with_a_higher_base_has_fewer_shards_and_never_runs_below_it() -> None:
    with measurable(tiny_version(), images(8)) as version:
        plain = version.measure()
        version.raise_base(0, 6)
        version.raise_base(1, 8)
        pinned = version.measure()
        by_block = {block.block: block for block in pinned.blocks}
        assert (by_block[0].base_level, [shard.level for shard in by_block[0].shards]) == (6, [8])
        assert (by_block[1].base_level, by_block[1].shards) == (8, ())
        assert pinned.levels[0].output_cosine > plain.levels[0].output_cosine
        assert pinned.levels[2].output_cosine == plain.levels[2].output_cosine
        assert pinned.levels[0].size_bytes > plain.levels[0].size_bytes
        for tensor in pinned.tensors:
            bases = [
                by_block[index].base_level
                for index, block in enumerate(version.blocks)
                if tensor.name in {part.name for part in block.tensors}
            ]
            assert tensor.levels == version.levels[version.levels.index(min(bases)) :]
        data, ref = encode(pinned)
        assert decode(data, ref) == pinned


def test_a_float_that_follows_the_levels_is_the_one_of_the_level_in_every_run() -> None:
    with measurable(tiny_version(), images(8)) as version:
        plain = version.measure()
        version.shift_float(2, "scores.bias", 3.0, 0.0, 0.0)
        bias = version.weights.whole("scores.bias")
        for level, shift in ((4, 3.0), (6, 0.0), (8, 0.0)):
            torch.testing.assert_close(at_level(version, level).tensor("scores.bias"), bias + shift)
        shifted = version.measure()
        assert shifted.levels[0].output_cosine < plain.levels[0].output_cosine
        assert shifted.levels[1:] == tuple(
            replace(found, size_bytes=shifted.levels[index].size_bytes)
            for index, found in enumerate(plain.levels[1:], start=1)
        )
        gains = [[shard.gain for shard in block.shards] for block in shifted.blocks]
        before = [[shard.gain for shard in block.shards] for block in plain.blocks]
        assert gains[:2] == before[:2]
        assert gains[2][0] > 100 * before[2][0]


def test_each_tensor_tells_its_mode_and_bits() -> None:
    with measurable(make_version(*tiny_net(), rounding="adaptive")) as version:
        names = [part.name for block in version.blocks for part in block.tensors]
        modes = {name: f"mode of {name}" for name in names}
        tensors = version.measure(roundings=modes).tensors
        assert [tensor.name for tensor in tensors] == list(dict.fromkeys(names))
        for tensor in tensors:
            assert tensor.rounding == f"mode of {tensor.name}"
            assert (tensor.levels, tensor.shard_bits) == ((4, 6, 8), (3, 3))


@pytest.mark.parametrize(
    "name", ["bfloat16", "causal", "double", "lstm", "operators", "regions", "tied", "two inputs"]
)
def test_nets_of_every_kind_can_be_measured(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = ZOO[name]()
    with measurable(make_version(model.eval(), inputs)) as version:
        report = version.measure()
        assert report.levels[-1].output_cosine > 0.999
        assert decode(*encode(report)) == report
        assert version.reports[0][:2] == ("fidelity", 0)
        total = version.reports[0][2]
        assert [done for _, done, _ in version.reports] == list(range(total + 1))


def test_several_outputs_and_such_without_a_batch_axis_count_together() -> None:
    net = Function(lambda x, a: (a(x).argmax(1), a(x), a(x).mean(), a(x).mean(1)), nn.Linear(8, 3))
    torch.manual_seed(0)
    with measurable(make_version(net, (torch.randn(5, 8),))) as version:
        found = version.measure().levels[0]
        assert 0.9 < found.output_cosine < 1.0
        assert found.argmax_agreement is not None


def test_a_model_of_whole_numbers_is_judged_by_the_share_of_equal_ones() -> None:
    torch.manual_seed(0)
    net = Function(lambda x, layer: layer(x).argmax(1), nn.Linear(8, 5))
    with measurable(make_version(net, (torch.randn(40, 8),), levels=(2, 8))) as version:
        low, full = version.measure().levels
        assert low.output_cosine == low.argmax_agreement
        assert low.output_cosine < full.output_cosine


def test_scores_of_one_class_have_no_argmax() -> None:
    torch.manual_seed(0)
    with measurable(make_version(nn.Linear(8, 1), (torch.randn(4, 8),))) as version:
        assert {found.argmax_agreement for found in version.measure().levels} == {None}


def test_a_nan_names_the_level_or_says_that_the_floats_have_it() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, 1, bias=False)
    nn.init.uniform_(layer.weight, -0.3, 1.0)  # so that one code at 4 bits stands for both signs
    net = Function(lambda x, inner: inner(x).log(), layer)
    with measurable(make_version(net, (torch.zeros(2, 256),))) as version:
        name = version.blocks[0].tensors[0].name
        floats = version.weights.whole(name)[0]
        low, high = (at_level(version, level).tensor(name)[0] for level in (4, 8))

        def sample(index: int, factor: torch.Tensor) -> Samples:
            """What lets the model answer with the logarithm of one weight."""
            return Samples((np.eye(256, dtype=np.float32)[index : index + 1] * float(factor),))

        turned = int(((floats.sign() == high.sign()) & (floats * low < 0)).nonzero()[0])
        version.samples = sample(turned, floats[turned].sign())
        with pytest.raises(InvalidInputError, match="NaN for a sample at 4 bits"):
            version.measure()
        version.samples = sample(turned, -floats[turned].sign())
        with pytest.raises(InvalidInputError, match="NaN for a sample in floats"):
            version.measure()


@pytest.mark.parametrize(("seconds", "kind", "samples"), [(0.0, "output", 32), (1e6, "weights", 0)])
def test_where_one_run_is_too_slow_weights_are_compared_and_no_block_is_left_out(
    seconds: float, kind: str, samples: int
) -> None:
    with measurable(tiny_version(), images(40)) as version:
        report = version.measure(clock=SteppingClock(seconds))
        assert (report.sensitivity, report.sensitivity_samples) == (kind, samples)
        assert len(report.blocks) == sum(1 for block in version.blocks if block.tensors)
        assert all(shard.gain > 0 for block in report.blocks for shard in block.shards)
        assert version.reports[-1][1] == version.reports[-1][2]


# What the clock is asked: twice around each of two trial runs, at the start, and before each block and level.
_TRIALS = (0.0,) * 4


@pytest.mark.parametrize(
    ("steps", "kind", "samples"),
    [
        ((*_TRIALS, 0.0, 0.0, 100.0, 0.0), "output", 16),
        ((*_TRIALS, 0.0, 100.0, 0.0, 100.0, 0.0), "output", 8),
        ((*_TRIALS, 100.0), "weights", 0),
    ],
)
def test_runs_that_fall_behind_start_again_on_fewer_samples(
    steps: tuple[float, ...], kind: str, samples: int
) -> None:
    with measurable(tiny_version(), images(40)) as version:
        fewer = version.measure(clock=SteppingClock(*steps))
        assert (fewer.sensitivity, fewer.sensitivity_samples) == (kind, samples)
        assert all(shard.gain > 0 for block in fewer.blocks for shard in block.shards)
        total = version.reports[0][2]
        dones = [done for _, done, _ in version.reports]
        assert dones == sorted(set(dones))
        assert dones[-1] == total
