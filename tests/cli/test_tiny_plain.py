"""The bundled plain sibling as a user meets it: a stock model that answers about a file it has never seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import run_json
from videox2l.models.registry import find_checkpoint
from videox2l.video.synthetic import HELD_OUT_SEED, SyntheticClip, normalise, questions, render

SEED = HELD_OUT_SEED + 8_100
MEGABYTE = 10**6


def test_a_file_is_ingested_and_answered(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    clip = SyntheticClip.from_seed(SEED, 6)
    render(clip, tmp_path / "clip.mp4", fps=2)
    options = ["--archive", str(tmp_path / "archive"), "--model", "tiny-plain?compressor=value_norm"]
    ratios = ["--low-ratio", "1", "--high-ratio", "4", "--frames-per-chunk", "8"]
    asked = [question for question in questions(clip, SEED, count=24) if question.kind == "code"][:4]
    right = 0
    for question in asked:
        answer = run_json(capsys, "ask", tmp_path / "clip.mp4", question.text, *options, *ratios)
        right += normalise(answer["text"]) == normalise(question.answer)
        assert any(span["chunk"] == question.chunk for span in answer["spans"])
    assert right == len(asked) == 4


def test_the_checkpoint_is_small_and_has_its_card() -> None:
    folder = find_checkpoint("tiny-plain")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4 * MEGABYTE
    assert "## Uncompressed, on held-out clips" in (folder / "README.md").read_text()
