from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from common.errors import UnsupportedModelError
from common.graph.model import ValueRef
from common.graph.operators import resolve
from common.graph.ops import ALLOWED_OPS, GETITEM, SYMBOLIC_OPS, check_ops
from tests.support.graphs import chain, node

ATEN = sorted(op for op in ALLOWED_OPS if op.startswith("aten."))


def test_every_operator_exists_and_is_functional() -> None:
    for op in ATEN:
        overload = resolve(op, "")
        assert isinstance(overload, torch._ops.OpOverload), op
        assert not overload._schema.is_mutable, op


def test_the_rest_is_integer_arithmetic_and_taking_one_of_several() -> None:
    assert frozenset(ATEN) | SYMBOLIC_OPS | {GETITEM} == ALLOWED_OPS


def test_nothing_random_is_allowed_but_attention_whose_dropout_is_off() -> None:
    seeded = {op for op in ATEN if torch.Tag.nondeterministic_seeded in resolve(op, "").tags}  # type: ignore[attr-defined]
    assert all("scaled_dot_product" in op for op in seeded)


@pytest.mark.parametrize(
    "op", ["aten.add_.Tensor", "aten.from_file.default", "aten.add", "os.system", "aten.rand.default", ""]
)
def test_another_operator_is_refused_with_its_layer(op: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"layer 'a\.b'"):
        check_ops(chain(node("y0", op, ValueRef("x"))))
    with pytest.raises(UnsupportedModelError, match="the model itself"):
        resolve(op, "")


@pytest.mark.parametrize("op", sorted(SYMBOLIC_OPS))
def test_sizes_are_integers(op: str) -> None:
    with pytest.raises(TypeError):
        resolve(op, "")("a", 3)


def test_sizes_are_computed() -> None:
    results = {"add": 9, "sub": 5, "mul": 14, "floordiv": 3, "mod": 1, "max": 7, "min": 2}
    assert {name: resolve(f"sym.{name}", "")(7, 2) for name in results} == results
    assert resolve("sym.neg", "")(7) == -7


def test_the_pure_part_needs_no_torch() -> None:
    modules = "model, codec, ops, uses, inputs, check, plan"
    code = f"from common.graph import {modules}; import sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
