"""What the tests of commands that keep an archive do to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import run_json
from tests.unit.store.samples import write_index
from videox2l.store import Archive, layout


def ids(capsys: pytest.CaptureFixture[str], folder: Path) -> list[tuple[str, str]]:
    """Names and indexes that are listed."""
    return [(row["name"], row["index"]) for row in run_json(capsys, "ls", "--archive", folder)]


def leave_attempt(folder: Path) -> list[Path]:
    """What a killed writer leaves, all but committed; its files."""
    before = set(folder.rglob("*.arrow"))
    manifest = write_index(Archive.open(folder), name="killed.mp4")
    (folder / manifest.path).unlink()
    (folder / layout.catalog(manifest.video.video_id, manifest.index_fp)).unlink()
    return sorted(set(folder.rglob("*.arrow")) - before)


def spoil(path: Path) -> None:
    """Flip a bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
