"""Running commands as a user does, in this process."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.cli.main import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of ``videox2l`` with these arguments."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return int(exit_.value.code or 0), captured.out, captured.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    """What ``--json`` prints: standard output as a whole must be one document."""
    found, out, err = run(capsys, *arguments, "--json")
    assert found == code, err
    try:
        return json.loads(out)
    except ValueError as error:
        pytest.fail(f"{error} in {out!r}; on standard error: {err!r}")
