"""What docs/python.md shows is what happens: its code runs, and prints what stands below it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from videox2l.video.synthetic import HELD_OUT_SEED, SyntheticClip, render

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def stable(printed: str) -> str:
    """Without what differs between runs and machines."""
    without_times = re.sub(r"\d+ ms", "N ms", printed)
    return re.sub(r"(-\d+\.\d)\d+", r"\1", re.sub(r"-0\.000\d+", "-0.000", without_times)).strip()


def test_its_code_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    render(SyntheticClip.from_seed(HELD_OUT_SEED + 7_000, 8), tmp_path / "clip.mp4")
    names: dict[str, object] = {}
    printed, shown = "", 0
    for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(text, names)
            printed = out.getvalue()
        else:
            assert stable(printed) == stable(text)
            shown += 1
    assert shown == 7
