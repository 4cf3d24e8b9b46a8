"""The tour runs, and the notebook that is kept is the one that it makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat

DOCS = Path(__file__).parents[2] / "docs"


def cells(path: Path, kind: str) -> list[Any]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def texts(path: Path) -> list[str]:
    """What its cells printed that does not depend on the machine: times do, and how a streamed text is cut."""
    printed = ["".join(part.get("text", "") for part in cell.outputs) for cell in cells(path, "code")]
    printed = [text.replace("|", "") for text in printed]
    return [line for text in printed for line in text.splitlines() if " ms" not in line and "milliseconds" not in line]


def test_it_runs_and_is_the_one_that_is_kept(tmp_path: Path) -> None:
    made, kept = tmp_path / "tour.ipynb", DOCS / "tour.ipynb"
    done = subprocess.run(
        [sys.executable, str(DOCS / "run_tour.py"), str(made)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for kind in ("code", "markdown"):
        assert [cell.source for cell in cells(made, kind)] == [cell.source for cell in cells(kept, kind)], (
            "run docs/run_tour.py: the notebook is older than tour.py"
        )
    assert texts(made) == texts(kept)
    assert "24 of 24 codes are right" in texts(kept)
    pictures = [part for cell in cells(kept, "code") for part in cell.outputs if "text/html" in part.get("data", {})]
    assert all("<svg" in part.data["text/html"] for part in pictures)
    assert len(pictures) == 3
    stored = kept.read_text(encoding="utf-8")
    assert "/tmp/" not in stored
    assert "Traceback" not in stored
