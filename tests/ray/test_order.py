"""The order in which videos are taken on."""

from __future__ import annotations

from pathlib import Path

import fsspec

from pipelines.ingest.order import file_size, longest_first


def test_the_largest_come_first_and_the_unknown_last(tmp_path: Path):
    sizes = {"short ü.mp4": 10, "long.mp4": 1000, "middle.mp4": 100, "same as middle.mp4": 100}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    sources = [str(tmp_path / "missing.mp4"), *(str(tmp_path / name) for name in sizes), "nosuch://host/file.mp4"]

    ordered = [Path(source).name for source in longest_first(sources, str)]

    assert ordered == [
        "long.mp4",
        "middle.mp4",
        "same as middle.mp4",
        "short ü.mp4",
        "missing.mp4",
        "file.mp4",
    ]


def test_sizes_of_objects(s3_bucket: str):
    with fsspec.open(f"{s3_bucket}/a video.mp4", "wb") as file:
        file.write(bytes(12))

    assert file_size(f"{s3_bucket}/a video.mp4") == 12
    assert file_size(f"{s3_bucket}/missing.mp4") == 0
