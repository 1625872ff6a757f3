from __future__ import annotations

import pytest

from common.errors import ConfigError, InvalidInputError
from server.quantize.workers.remote_call import Reply, pickled_call, remote_call, result_of, software
from tests.support import worker_tasks


def test_a_call_gives_its_result_or_its_error_with_where_it_came_from() -> None:
    assert result_of(remote_call(pickled_call(worker_tasks.double, 3))) == 6
    reply = remote_call(pickled_call(worker_tasks.double_but_three, 3))
    with pytest.raises(InvalidInputError, match=r"3 is refused\.") as caught:
        result_of(reply)
    assert "in double_but_three" in caught.value.__notes__[0]


def test_a_worker_with_other_releases_is_refused() -> None:
    assert [entry.split()[0] for entry in software()] == ["nestfleet", "numpy", "zstandard"]
    other = Reply(("nestfleet 0.0.1", *software()[1:]), failed=False, content=b"")
    with pytest.raises(ConfigError, match=r"A worker runs nestfleet 0\.0\.1, .*Install the same"):
        result_of(other)
