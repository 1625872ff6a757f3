from __future__ import annotations

import pytest

from server.cli.main import main


def run(*arguments: str) -> int:
    """The exit code of one command."""
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    return int(exit_info.value.code or 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["push"],
        ["push", "net:make"],
        ["push", "net:make", "--name", "a", "--min-agreement", "1.5"],
        ["push", "net:make", "--name", "a", "--min-fidelity", "1.01"],
        ["push", "net:make", "--name", "a", "--first-last", "all"],
        ["inspect"],
        ["assign", "digits"],
        ["assign", "digits", "board-1", "--all"],
        ["assign", "digits", "--all", "--max-level", "9"],
        ["devices", "--forget", "a", "--budget", "b=1MiB"],
        ["models", "--what"],
    ],
)
def test_wrong_usage_exits_with_2_and_leaves_stdout_empty(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "--server", "nowhere"], "no server address"),
        (["models", "--server", ":50051"], "no server address"),
        (["models", "--server", "board:0"], "no server address"),
        (["models", "--delete", "Digits:1"], "no model name"),
        (["models", "--delete", "digits"], "names no version"),
        (["inspect", "digits:0"], "no version number"),
        (["devices", "--budget", "board-1"], "no budget"),
        (["devices", "--budget", "board-1=12MB"], "no size"),
        (["devices", "--budget", "Board=1"], "no device name"),
        (["limits", "Board"], "no device name"),
        (["limits", "board-1", "--bandwidth", "1MB"], "no size"),
        (["limits", "board-1", "--bandwidth", "12"], "not possible"),
        (["limits", "board-1", "--metered", "some"], "no rule for a metered link"),
        (["limits", "board-1", "--quiet", "22-6"], "no quiet hours"),
        (["savings", "--model", "a b"], "no model name"),
        (["push", "net:make", "--name", "Digits"], "no model name"),
        (["push", "net:make", "--name", "a", "--levels", "8,4"], "do not ascend"),
        (["push", "net:make", "--name", "a", "--levels", "4,12"], "no levels"),
        (["push", "net:make", "--name", "a", "--min-agreement", "0.5"], "needs labels"),
        (["push", "net:make", "--name", "a", "--block-size", "huge"], "no size"),
        (["push", "net:make", "--name", "a", "--block-size", "9999999999GiB"], "not possible"),
        (["push", "net:make", "--name", "a", "--pin", "encoder"], "'encoder' is no pin"),
        (["push", "net:make", "--name", "a", "--pin", "=8"], "'=8' is no pin"),
        (["push", "net:make", "--name", "a", "--pin", "*="], "'*=' is no pin"),
        (["push", "net:make", "--name", "a", "--pin", "*=four"], "'*=four' is no pin"),
        (["push", "net:make", "--name", "a", "--pin", "*=12"], "'*=12' is no pin"),
        (["push", "net:make", "--name", "a", "--pin", "a=8", "--pin", "*=7"], "pin '*' names 7 bits"),
        (["push", "net:make", "--name", "a", "--first-last", "7"], "names 7 bits"),
        (["push", "net:make", "--name", "a", "--first-last", "-8"], "names -8 bits"),
        (["push", "net:make", "--name", "a", "--budget-bytes", "6MB"], "no size"),
        (["push", "net:make", "--name", "a", "--budget-bytes", "9999999999GiB"], "A budget of"),
        (["push", "net:make", "--name", "a", "--calibration", "/none.npz"], "cannot be read"),
        (["push", "net:make", "--name", "a", "--evaluate", "/none.npz"], "cannot be read"),
        (["push", "net:make", "--name", "a", "--rounding", "calibrated"], "needs calibration samples"),
        (["server", "--listen", "nowhere"], "HOST:PORT"),
        (["server", "--config", "/nonexistent.toml"], "cannot be read"),
    ],
)
def test_a_wrong_value_is_one_clear_line_on_stderr(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--json") == 1
    captured = capsys.readouterr()
    assert not captured.out
    first, *advice = captured.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert len(advice) <= 1


def test_a_server_that_is_away_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "--server", "127.0.0.1:1") == 1
    first, advice = capsys.readouterr().err.splitlines()
    assert first == "error: No server answers at 127.0.0.1:1."
    assert "nestfleet server" in advice


def test_the_release_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("nestfleet ")
