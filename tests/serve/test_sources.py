"""Which videos may be ingested over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.serve.sources import is_allowed

PLACES = ("s3://bucket/videos/", "https://cdn.example.org/films")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("open/a.mp4", "open/below/b [1].mp4", "secret/c.mp4", "open/list.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"video")
    (tmp_path / "open" / "link.mp4").symlink_to(tmp_path / "secret" / "c.mp4")
    (tmp_path / "open" / "inner.mp4").symlink_to(tmp_path / "open" / "a.mp4")
    return tmp_path


@pytest.mark.parametrize("name", ["open/a.mp4", "open/below/b [1].mp4", "open/inner.mp4", "open/below/../a.mp4"])
def test_files_below_a_folder(folder: Path, name: str) -> None:
    assert is_allowed(f"{folder}/{name}", [str(folder / "open")])


@pytest.mark.parametrize(
    "name",
    [
        "secret/c.mp4",
        "open/../secret/c.mp4",
        "open/link.mp4",
        "open/missing.mp4",
        "open",
        "open/*.mp4",
        "open/list.csv",
        "open/a.mp4\0",
        "open-not/a.mp4",
    ],
)
def test_nothing_else(folder: Path, name: str) -> None:
    assert not is_allowed(f"{folder}/{name}", [str(folder / "open"), *PLACES])


def test_relative_paths_mean_something_else_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "open")
    assert not is_allowed("a.mp4", [str(folder / "open")])
    assert not is_allowed(f"file://{folder}/open/a.mp4", [str(folder / "open")])
    assert not is_allowed(f"{folder}/open/a.mp4", [])


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("s3://bucket/videos/a.mp4", True),
        ("s3://bucket/videos/b/a.mp4", True),
        ("https://cdn.example.org/films/a.mp4", True),
        ("https://cdn.example.org/films/a.mp4?sig=x", True),
        ("s3://bucket/videos", False),
        ("s3://bucket/videos/", False),
        ("s3://bucket/videos-of-others/a.mp4", False),
        ("s3://bucket/videos/../others/a.mp4", False),
        ("s3://bucket/videos/%2e%2e/others/a.mp4", False),
        ("s3://bucket/videos/%252e%252e/others/a.mp4", False),
        ("s3://bucket/videos/*.mp4", False),
        ("s3://bucket/videos/a?.mp4", False),
        ("s3://bucket/videos/list.jsonl", False),
        ("s3://other/videos/a.mp4", False),
        ("S3://bucket/videos/a.mp4", True),
        ("http://cdn.example.org/films/a.mp4", False),
        ("https://cdn.example.org.evil.net/films/a.mp4", False),
        ("https://cdn.example.org@evil.net/films/a.mp4", False),
        ("https://user@cdn.example.org/films/a.mp4", False),
        ("https://cdn.example.org:8443/films/a.mp4", False),
        ("https://cdn.example.org/films/a.mp4#@evil.net", False),
        ("https://cdn.example.org\\@evil.net/films/a.mp4", False),
        ("simplecache::s3://bucket/videos/a.mp4", False),
        ("https://[/films/a.mp4", False),
    ],
)
def test_urls(url: str, allowed: bool) -> None:
    assert is_allowed(url, PLACES) == allowed
