from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.errors import IntegrityError
from common.manifest import TensorPart
from server.quantize.block_coder import BlockValues, dedicated_bytes, encode_block
from server.quantize.block_task import BlockWork, check_whole, code_block
from server.quantize.rounding import rounding
from server.quantize.workers.remote_call import pickled_call, remote_call, result_of

LEVELS = (4, 6)
WEIGHTS = np.random.default_rng(0).normal(size=(16, 50)).astype(np.float32)
VALUES = BlockValues({TensorPart("w", (16, 50), 0, 16): WEIGHTS}, {"b": np.zeros(16, np.float32)})


@pytest.mark.parametrize("mode", ["adaptive", "floor"])
def test_the_work_travels_and_becomes_the_block_and_what_it_is_compared_with(mode: str) -> None:
    done = result_of(remote_call(pickled_call(code_block, BlockWork(VALUES, LEVELS, rounding(mode), LEVELS))))
    assert done.coded == encode_block(VALUES, LEVELS, rounding(mode))
    assert done.dedicated_bytes == {level: dedicated_bytes(VALUES, level) for level in (4, 6, 8)}
    check_whole(done)


def test_blobs_that_are_not_what_they_are_named_by_are_refused() -> None:
    done = code_block(BlockWork(VALUES, LEVELS, rounding("floor"), LEVELS))
    base, shard = done.coded.data
    for data in ((base, shard[:-1]), (base, bytes([shard[0] ^ 1]) + shard[1:]), (shard, base)):
        with pytest.raises(IntegrityError, match="other content than its name says"):
            check_whole(replace(done, coded=replace(done.coded, data=data)))
