"""An audit finds every changed byte of every kind of file, and says which file it is."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.unit.store.samples import SPEC, video, write_index
from videox2l.errors import ArchiveError
from videox2l.store import Archive, Manifest, layout
from videox2l.store.documents import seal_line
from videox2l.store.verify import Report, verify

RUN = "runs/20260101T000000Z-abcdef.jsonl"


@pytest.fixture
def manifest(local_archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """An archive with a file of every kind."""
    monkeypatch.setattr("videox2l.identity._SETTLED_S", -1.0)
    source = tmp_path / "video.mp4"
    source.write_bytes(b"a video")
    local_archive.identify(source)
    local_archive.storage.write(RUN, seal_line({"run": "a"}) + seal_line({"video": "ü", "chunks": 3}))
    return write_index(local_archive)


def kinds(archive: Archive) -> list[str]:
    return [info.path for info in archive.storage.files() if not info.path.endswith(".lock")]


def damaged(report: Report) -> list[str]:
    return sorted({damage.path for damage in report.damaged})


def test_every_kind_of_file_is_checked(local_archive: Archive, manifest: Manifest) -> None:
    progress: list[tuple[int, int]] = []
    report = verify(local_archive.storage, lambda done, total: progress.append((done, total)))
    paths = kinds(local_archive)
    assert {path.split("/")[0] for path in paths} == {"archive.json", "models", "videos", "catalog", "sources", "runs"}
    assert len(manifest.shards) == 3
    assert report.ok
    assert report.unused == ()
    assert (report.files, report.indexes) == (len(paths), 1)
    assert report.bytes == sum(info.size for info in local_archive.storage.files())
    assert progress[-1][0] == progress[-1][1] == report.bytes - len(manifest.to_json())


def test_flipped_bytes(local_archive: Archive, manifest: Manifest) -> None:
    # One byte in each file at once, but not in the manifest: without it nobody knows what the shards should be.
    files = {path: Path(local_archive.url, path) for path in kinds(local_archive) if path != manifest.path}
    good = {path: file.read_bytes() for path, file in files.items()}
    generator = random.Random(0)
    for run in range(max(250, *(len(data) for path, data in good.items() if path.endswith((".json", ".jsonl"))))):
        for path, data in good.items():
            bad = bytearray(data)
            place = run % len(data) if path.endswith((".json", ".jsonl")) else generator.randrange(len(data))
            bad[place] ^= generator.randrange(1, 256)
            files[path].write_bytes(bad)
        assert damaged(verify(local_archive.storage)) == sorted(files)


def test_flipped_bytes_of_a_manifest(local_archive: Archive, manifest: Manifest) -> None:
    path = Path(local_archive.url, manifest.path)
    good = path.read_bytes()
    generator = random.Random(0)
    for offset in range(len(good)):
        bad = bytearray(good)
        bad[offset] ^= generator.randrange(1, 256)
        with pytest.raises(ArchiveError):
            Manifest.from_json(bytes(bad), "manifest")
        if offset % 100 == 0:
            path.write_bytes(bad)
            assert damaged(verify(local_archive.storage)) == [manifest.path]


CHANGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_damage(local_archive: Archive, manifest: Manifest, change: str) -> None:
    paths = kinds(local_archive)
    if change == "empty":
        paths.remove(RUN)  # nothing tells a ledger without lines from one that lost them
    for name in paths:
        path = Path(local_archive.url, name)
        good = path.read_bytes()
        CHANGES[change](path)
        assert damaged(verify(local_archive.storage)) == [name]
        path.write_bytes(good)
    assert verify(local_archive.storage).ok


def test_lost_files(local_archive: Archive, manifest: Manifest) -> None:
    row = layout.catalog(manifest.video.video_id, manifest.index_fp)
    losses = {path: [path] for path in ("archive.json", layout.model(SPEC.model_fingerprint))}
    losses |= {path: [path] for path in map(manifest.shard_path, range(len(manifest.shards)))}
    losses |= {manifest.path: [row]}  # the catalog still knows of it
    for lost, found in losses.items():
        path = Path(local_archive.url, lost)
        aside = path.with_name("aside")
        path.rename(aside)
        report = verify(local_archive.storage)
        aside.rename(path)
        assert damaged(report) == found
    # The row and the notes are caches.
    Path(local_archive.url, row).unlink()
    assert verify(local_archive.storage).ok


def test_files_in_the_wrong_place(local_archive: Archive, manifest: Manifest) -> None:
    root = Path(local_archive.url)
    [source] = (path for path in kinds(local_archive) if path.startswith("sources/"))
    moves = {
        layout.model(SPEC.model_fingerprint): layout.model("ab" * 16),
        source: f"sources/{'0' * 32}.json",
        layout.catalog(manifest.video.video_id, manifest.index_fp): layout.catalog("0" * 32, manifest.index_fp),
        manifest.path: layout.manifest("0" * 32, manifest.index_fp),
    }
    for old, new in moves.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        os.link(root / old, root / new)
    assert damaged(verify(local_archive.storage)) == sorted(moves.values())


def test_foreign_files_are_no_damage(local_archive: Archive, manifest: Manifest) -> None:
    foreign = ["readme.txt", "videos/notes.txt", "catalog/x.csv", "videos/.hidden", ".row.tmp"]
    for path in foreign:
        local_archive.storage.write(path, b"mine")
    report = verify(local_archive.storage)
    assert report.ok
    assert report.unused == tuple(sorted(foreign))


def test_index_of_a_damaged_file_is_named(local_archive: Archive, manifest: Manifest) -> None:
    other = write_index(local_archive, name="other.mp4")
    Path(local_archive.url, manifest.shard_path(0)).write_bytes(b"")
    [damage] = verify(local_archive.storage).damaged
    assert damage.index == (video().video_id, manifest.index_fp)
    assert damage.index != (other.video.video_id, other.index_fp)
