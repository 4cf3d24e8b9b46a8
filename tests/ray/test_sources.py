from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.ingest import expand_sources
from videox2l.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for name in ("b.mp4", "a.MKV", "deep/c.webm", "notes.md", "._b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(sources: list[str | Path]) -> list[str]:
    return [Path(source).name for source in expand_sources(sources)]


def test_files_folders_and_globs(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert names([folder]) == ["a.MKV", "b.mp4", "c.webm"]
    assert names([folder / "*.mp4"]) == ["b.mp4"] or names([folder / "*.mp4"]) == ["._b.mp4", "b.mp4"]
    assert names([folder / "**" / "*.webm"]) == ["c.webm"]
    assert names([folder / "notes.md"]) == ["notes.md"]
    assert names([folder / "b.mp4", folder, folder / "b.mp4"]) == ["b.mp4", "a.MKV", "c.webm"]
    assert expand_sources(["s3://bucket/a.mp4", "gone.mp4"]) == ["s3://bucket/a.mp4", "gone.mp4"]
    odd = folder / "what [1080p]?.mp4"
    odd.write_bytes(b"x")
    assert expand_sources([odd]) == [str(odd)]
    monkeypatch.chdir(folder)
    assert names(["deep/*.webm"]) == ["c.webm"]


def test_lists(folder: Path):
    (folder / "list.txt").write_text(f"# ours\n\nb.mp4\n{folder}/deep\ns3://bucket/x.mp4\n")
    (folder / "list.csv").write_text("id,source\n1,b.mp4\n2,deep/c.webm\n")
    (folder / "list.jsonl").write_text("\n".join(json.dumps({"source": name}) for name in ("a.MKV", "*.mp4")))
    assert expand_sources([folder / "list.txt"])[0] == str(folder / "b.mp4")
    assert names([folder / "list.txt"]) == ["b.mp4", "c.webm", "x.mp4"]
    assert names([folder / "list.csv"]) == ["b.mp4", "c.webm"]
    assert names([folder / "list.jsonl"])[0] == "a.MKV"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("empty.txt", "# nothing\n", "lists no videos"),
        ("wrong.csv", "path\na.mp4\n", "no column 'source'"),
        ("wrong.jsonl", "{oops", "line 1, is not JSON"),
        ("shape.jsonl", '{"path": "a.mp4"}', "under 'source'"),
        ("nested.txt", "other.csv\n", "another list"),
        ("binary.txt", "\udcff", "cannot read the list"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, name: str, text: str, complaint: str):
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=complaint):
        expand_sources([tmp_path / name])


def test_nothing_found(tmp_path: Path):
    for source, complaint in (
        (tmp_path, "no videos in"),
        (tmp_path / "*.mp4", "nothing matches"),
        (tmp_path / "list.txt", "not a local file"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            expand_sources([source])
    with pytest.raises(ConfigError, match="no videos were given"):
        expand_sources([])
