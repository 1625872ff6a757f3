"""A version that is loaded: real export, real codes, every level, and what damage does to it."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from common import self_test
from common.blob_codec import encode_bytes
from common.block_codec import Content, encode, level_digest, shape_of
from common.errors import IntegrityError, InvalidInputError, SelfTestError, UnsupportedModelError
from common.graph import codec
from common.manifest import Block, Manifest
from device_agent.inference.served import ServedModel
from device_agent.residency.policy import total_bytes
from tests.support.mixed_versions import answers, mixed_version
from tests.support.models import tiny_net
from tests.support.versions import Version, make_version


class SharedNet(nn.Module):
    """An embedding that is also the last layer, a normalisation, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(300, 16)
        self.norm = nn.LayerNorm(16)
        self.hidden = nn.Linear(16, 16)
        self.head = nn.Linear(16, 300, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.norm(torch.relu(self.hidden(self.words(ids)))) * mask.unsqueeze(-1)
        return {"scores": self.head(hidden), "pooled": hidden.mean(dim=1)}


@pytest.fixture(scope="module")
def tiny() -> Version:
    model, inputs = tiny_net(width=16)
    return make_version(model, inputs)


@pytest.fixture(scope="module")
def shared() -> Version:
    torch.manual_seed(1)
    ids, mask = torch.randint(0, 300, (3, 12)), torch.ones(3, 12)
    return make_version(SharedNet().eval(), {"ids": ids, "mask": mask}, name="shared")


def uniform(manifest: Manifest, level: int) -> tuple[int, ...]:
    return (level,) * len(manifest.blocks)


@pytest.fixture
def served(tiny: Version) -> ServedModel:
    return ServedModel.load(tiny.manifest, tiny.read, uniform(tiny.manifest, 4))


@pytest.mark.parametrize("level", [4, 6, 8])
def test_a_device_answers_what_the_server_computed_to_the_bit(tiny: Version, level: int) -> None:
    served = ServedModel.load(tiny.manifest, tiny.read, uniform(tiny.manifest, level))
    answer = served.infer(tiny.inputs())
    assert answer.level == level == served.level == served.prove()
    np.testing.assert_array_equal(answer.outputs["output_0"], answers(tiny, level)[0])


@pytest.mark.parametrize("refit", [False, True])
def test_a_version_of_another_rounding_goes_up_and_down_through_its_levels(*, refit: bool) -> None:
    model, inputs = tiny_net(width=16)
    version = make_version(model, inputs, rounding="adaptive", refit=refit)
    assert version.manifest.rounding == ("adaptive-refit" if refit else "adaptive")
    served = ServedModel.load(version.manifest, version.read, uniform(version.manifest, 8))
    full_digest = served.loaded_digest
    assert served.resident_bytes <= total_bytes(version.manifest, served.levels)
    for level in (8, 4, 6, 4, 8, 6):
        served.set_levels(uniform(version.manifest, level))
        answer = served.infer(version.inputs())
        assert answer.level == level == served.prove()
        np.testing.assert_array_equal(answer.outputs["output_0"], answers(version, level)[0])
        assert (served.loaded_digest == full_digest) == (level == 8)


def test_blocks_at_mixed_levels_prove_themselves_at_the_lowest_under_another_rounding() -> None:
    model, inputs = tiny_net(width=16)
    version = make_version(model, inputs, rounding="adaptive")
    levels = [8] * len(version.manifest.blocks)
    quantized = [index for index, block in enumerate(version.manifest.blocks) if block.tensors]
    levels[quantized[0]] = 4
    served = ServedModel.load(version.manifest, version.read, levels)
    assert served.prove() == 4


@pytest.fixture(scope="module", params=["floor", "adaptive"])
def mixed(tiny: Version, request: pytest.FixtureRequest) -> Version:
    """The first block's base is at 6 bits, the last one's at 8; biases follow the levels."""
    quantized = [index for index, block in enumerate(tiny.manifest.blocks) if block.tensors]
    return mixed_version(tiny, {quantized[0]: 6, quantized[-1]: 8}, request.param)


def test_higher_bases_and_floats_of_each_level_answer_what_the_server_computed(mixed: Version) -> None:
    assert {len(block.blobs) for block in mixed.manifest.blocks if block.tensors} == {1, 2, 3}
    assert any(block.level_floats for block in mixed.manifest.blocks)
    served = ServedModel.load(mixed.manifest, mixed.read, uniform(mixed.manifest, 4))
    first = served.loaded_digest
    assert len({answers(mixed, level)[0].tobytes() for level in (4, 6, 8)}) == 3
    for level in (4, 8, 6, 8, 4, 6, 4):
        mixed.reads.clear()
        before = served.level
        served.set_levels(uniform(mixed.manifest, level))
        assert served.levels == mixed.manifest.nearest(level)
        assert bool(mixed.reads) == (level > before)
        answer = served.infer(mixed.inputs())
        assert answer.level == level == served.level == served.prove()
        np.testing.assert_array_equal(answer.outputs["output_0"], answers(mixed, level)[0])
        assert served.resident_bytes <= total_bytes(mixed.manifest, served.levels)
        fresh = ServedModel.load(mixed.manifest, mixed.read, uniform(mixed.manifest, level))
        assert (fresh.loaded_digest, fresh.resident_bytes) == (served.loaded_digest, served.resident_bytes)
    assert served.loaded_digest == first


def test_blocks_partly_lifted_prove_themselves_with_the_floats_of_the_lowest(mixed: Version) -> None:
    count = len(mixed.manifest.blocks)
    for at, block in enumerate(mixed.manifest.blocks):
        if 4 not in block.levels(mixed.manifest.levels) or not block.tensors:
            continue
        levels = [8] * count
        levels[at] = 4
        served = ServedModel.load(mixed.manifest, mixed.read, levels)
        assert served.prove() == served.level == 4


def test_floats_of_another_level_fail_the_proof(mixed: Version) -> None:
    served = ServedModel.load(mixed.manifest, mixed.read, uniform(mixed.manifest, 8))
    snapshot = served._pager.snapshot
    for index, block in enumerate(snapshot.blocks):
        if len(block.levels) > 1 and block.level_floats:
            wrong = {name: values[::-1] for name, values in block.level_floats.items()}
            served._pager._snapshot = snapshot.with_blocks({index: replace(block, level_floats=wrong)})
            with pytest.raises(SelfTestError, match="is off by"):
                served.prove()


def test_a_version_with_every_base_in_full_runs_in_full_at_once(tiny: Version) -> None:
    version = mixed_version(tiny, dict.fromkeys(range(len(tiny.manifest.blocks)), 8))
    served = ServedModel.load(version.manifest, version.read, uniform(version.manifest, 4))
    assert served.prove() == served.level == served.infer(version.inputs()).level == 8


def test_a_float_that_comes_twice_is_refused(mixed: Version) -> None:
    blocks = mixed.manifest.blocks
    name = next(name for block in blocks for name in block.level_floats)
    value = np.zeros(4, np.float32)
    floats = {name: value}
    plain = Block((), (name,), (blocks[0].blobs[0],), ("",))
    data, ref = encode(Content((), floats=floats), shape_of(plain, mixed.manifest.levels, 0))
    twice = replace(plain, blobs=(ref,), digests=(level_digest((), (), floats),))
    manifest = replace(mixed.manifest, blocks=(*blocks, twice))
    with pytest.raises(IntegrityError, match="comes twice"):
        ServedModel.load(manifest, (mixed.blobs | {ref.digest: data}).__getitem__, uniform(manifest, 4))


def test_the_full_level_is_close_to_the_float_model(tiny: Version) -> None:
    model, inputs = tiny_net(width=16)
    served = ServedModel.load(tiny.manifest, tiny.read, uniform(tiny.manifest, 8))
    answer = served.infer(tiny.inputs()).outputs["output_0"]
    with torch.inference_mode():
        exact = model(*inputs).numpy()
    assert np.linalg.norm(answer - exact) < 0.02 * np.linalg.norm(exact)


def test_the_metadata_are_the_graphs(served: ServedModel) -> None:
    assert (served.name, served.version) == ("tiny", 1)
    assert [(spec.name, spec.shape) for spec in served.inputs] == [("image", (None, 1, 8, 8))]
    assert [(spec.name, spec.shape) for spec in served.outputs] == [("output_0", (None, 10))]


def test_the_batch_is_open(tiny: Version, served: ServedModel) -> None:
    image = np.random.default_rng(0).random((7, 1, 8, 8), np.float32)
    whole = served.infer({"image": image}).outputs["output_0"]
    assert whole.shape == (7, 10)
    np.testing.assert_allclose(served.infer({"image": image[:1]}).outputs["output_0"], whole[:1], atol=1e-5)
    assert tiny.manifest.blocks


def test_up_and_down_again_restores_codes_answers_and_memory(tiny: Version, served: ServedModel) -> None:
    first = served.infer(tiny.inputs()).outputs["output_0"]
    digest, size_bytes = served.loaded_digest, served.resident_bytes
    assert size_bytes <= total_bytes(tiny.manifest, served.levels)

    up = served.set_levels(uniform(tiny.manifest, 8))
    assert served.prove() == 8
    assert up.paged_in_bytes == sum(
        ref.size_bytes for block in tiny.manifest.blocks for ref in block.blobs[1:]
    )
    assert served.loaded_digest != digest
    assert not np.array_equal(served.infer(tiny.inputs()).outputs["output_0"], first)

    down = served.set_levels(uniform(tiny.manifest, 4))
    assert (down.paged_in_bytes, served.loaded_digest, served.resident_bytes) == (0, digest, size_bytes)
    assert down.paged_out_bytes > size_bytes // 2
    np.testing.assert_array_equal(served.infer(tiny.inputs()).outputs["output_0"], first)


def test_mixed_levels_are_proven_at_the_lowest(tiny: Version, served: ServedModel) -> None:
    count = len(tiny.manifest.blocks)
    assert count >= 3
    for levels in ((8,) + (6,) * (count - 1), (4,) + (8,) * (count - 1), (6, 8) * count):
        served.set_levels(levels[:count])
        assert served.prove() == served.level == served.infer(tiny.inputs()).level == min(levels[:count])


def test_requests_during_paging_see_one_state_each(tiny: Version, served: ServedModel) -> None:
    # Blocks change one by one, so a request may see any number of them at the new level, and no half block.
    count = len(tiny.manifest.blocks)
    possible = []
    for levels in product((4, 8), repeat=count):
        served.set_levels(levels)
        possible.append(served.infer(tiny.inputs()).outputs["output_0"].tobytes())
    stop = threading.Event()

    def page() -> None:
        while not stop.is_set():
            served.set_levels(uniform(tiny.manifest, 4))
            served.set_levels(uniform(tiny.manifest, 8))

    pager = threading.Thread(target=page)
    pager.start()
    try:
        answers = {served.infer(tiny.inputs()).outputs["output_0"].tobytes() for _ in range(15)}
    finally:
        stop.set()
        pager.join()
    assert answers <= set(possible)


def test_shared_weights_and_two_outputs(shared: Version) -> None:
    served = ServedModel.load(shared.manifest, shared.read, uniform(shared.manifest, 4))
    assert served.prove() == 4
    served.set_levels(uniform(shared.manifest, 6))
    assert served.prove() == 6
    answer = served.infer(shared.inputs())
    assert list(answer.outputs) == ["scores", "pooled"]
    np.testing.assert_array_equal(answer.outputs["pooled"], answers(shared, 6)[1])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"takes the inputs \['image'\], not \[\]"),
        ({"picture": np.zeros((1, 1, 8, 8), np.float32)}, "not \\['picture'\\]"),
        ({"image": np.zeros((1, 1, 8, 9), np.float32)}, r"shape \[1, 1, 8, 9\], expected \[batch, 1, 8, 8\]"),
        ({"image": np.zeros((1, 1, 8, 8), np.float64)}, "is float64, expected float32"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    served: ServedModel, inputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        served.infer(inputs)


def test_labels_that_are_missed_fail_the_proof(tiny: Version, served: ServedModel) -> None:
    seen = served.infer(tiny.inputs()).outputs["output_0"].argmax(-1)
    ref = tiny.manifest.self_test
    test = self_test.decode(tiny.blobs[ref.digest], ref, tiny.manifest.levels)

    def prove(labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> int:
        data, ref = self_test.encode(replace(test, labels=labels[: test.samples], min_agreement=0.9))
        manifest = replace(tiny.manifest, self_test=ref)
        blobs = tiny.blobs | {ref.digest: data}
        return ServedModel.load(manifest, blobs.__getitem__, uniform(manifest, 4)).prove()

    assert prove(seen) == 4
    with pytest.raises(SelfTestError, match=r"label agreement 0.00 where 0.90 is asked"):
        prove((seen + 1) % 10)


def test_a_self_test_for_other_inputs_fails_the_proof(tiny: Version, shared: Version) -> None:
    manifest = replace(tiny.manifest, self_test=shared.manifest.self_test)
    served = ServedModel.load(manifest, (tiny.blobs | shared.blobs).__getitem__, uniform(manifest, 4))
    with pytest.raises(SelfTestError, match="inputs are not the model's"):
        served.prove()


def test_weights_that_answer_otherwise_fail_the_proof(tiny: Version) -> None:
    other = make_version(*tiny_net(seed=5, width=16))
    mixed = replace(other.manifest, self_test=tiny.manifest.self_test)
    served = ServedModel.load(mixed, (other.blobs | tiny.blobs).__getitem__, uniform(mixed, 4))
    with pytest.raises(SelfTestError, match="is off by"):
        served.prove()


def test_every_damaged_blob_is_noticed(tiny: Version) -> None:
    for ref in tiny.manifest.device_refs():
        good = tiny.blobs[ref.digest]
        for bad in (good[:-1], good + b"\0", bytes([good[0] ^ 1]) + good[1:]):
            blobs = tiny.blobs | {ref.digest: bad}
            with pytest.raises(IntegrityError):
                ServedModel.load(tiny.manifest, blobs.__getitem__, uniform(tiny.manifest, 8)).prove()


def test_parts_that_do_not_belong_together_are_refused(tiny: Version) -> None:
    blocks = tiny.manifest.blocks
    for wrong in (blocks[:-1], blocks[1:], (*blocks, blocks[0]), (*blocks, blocks[-1])):
        manifest = replace(tiny.manifest, blocks=wrong)
        with pytest.raises(IntegrityError):
            ServedModel.load(manifest, tiny.read, uniform(manifest, 4))


def test_the_graph_of_another_model_is_refused(tiny: Version, shared: Version) -> None:
    manifest = replace(tiny.manifest, graph=shared.manifest.graph)
    with pytest.raises(IntegrityError, match="do not match"):
        ServedModel.load(manifest, (tiny.blobs | shared.blobs).__getitem__, uniform(manifest, 4))


def test_an_operator_that_is_not_allowed_is_refused(tiny: Version) -> None:
    data = codec.to_json(tiny.exported.graph).replace(b"aten.relu.default", b"aten.rand.default")
    assert b"aten.rand.default" in data
    raw, ref = encode_bytes(data, compress=True)
    manifest = replace(tiny.manifest, graph=ref)
    with pytest.raises(UnsupportedModelError, match=r"aten\.rand\.default"):
        ServedModel.load(manifest, (tiny.blobs | {ref.digest: raw}).__getitem__, uniform(manifest, 4))


@pytest.mark.parametrize("data", [b"{}", b"\xff", b"[" * 5000])
def test_a_graph_that_is_none_is_refused(tiny: Version, data: bytes) -> None:
    raw, ref = encode_bytes(data, compress=False)
    manifest = replace(tiny.manifest, graph=ref)
    with pytest.raises(IntegrityError, match="graph is not valid"):
        ServedModel.load(manifest, (tiny.blobs | {ref.digest: raw}).__getitem__, uniform(manifest, 4))


def test_the_agents_modules_do_not_bring_torch() -> None:
    code = (
        "import sys, device_agent.serving.http.app, device_agent.serving.http.server,"
        "device_agent.inference.served, device_agent.sensors.board; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
