from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import InvalidInputError
from server.cli.model_source import load_model

_CODE = """
def good(): return "model", ("input",)
def fails(): return {}["weights"]
def single(): return "model"
VALUE = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with modules; what was imported from it is forgotten afterwards."""
    (tmp_path / "nets_of_a_test.py").write_text(_CODE)
    (tmp_path / "needs_more_of_a_test.py").write_text("import no_such_package_of_a_test")
    (tmp_path / "broken_of_a_test.py").write_text("def make(:")
    known, paths = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = paths
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_function_is_found_in_the_folder(folder: Path) -> None:
    assert load_model("nets_of_a_test:good", folder) == ("model", ("input",))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nets_of_a_test:nothing", "has no function 'nothing'"),
        ("nets_of_a_test:VALUE", "has no function 'VALUE'"),
        ("absent_of_a_test:make", "No module 'absent_of_a_test'"),
        ("absent_of_a_test.net:make", r"No module 'absent_of_a_test\.net'"),
        ("nets_of_a_test:single", "returned str"),
        ("nets_of_a_test:fails", r"failed: KeyError: 'weights' \(nets_of_a_test\.py, line 3\)"),
        ("needs_more_of_a_test:make", "Importing needs_more_of_a_test failed: ModuleNotFoundError"),
        ("broken_of_a_test:make", "Importing broken_of_a_test failed: SyntaxError"),
        ("nets.py:make:x", "neither a folder nor MODULE:FUNCTION"),
        ("nets", "neither a folder nor MODULE:FUNCTION"),
        ("../nets:make", "neither a folder nor MODULE:FUNCTION"),
        ("", "neither a folder nor MODULE:FUNCTION"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, source: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_model(source, folder)
