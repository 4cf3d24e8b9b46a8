"""``videox2l repair`` on a damaged archive."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli.repair import repair
from tests.retriever_checkpoints import write_retriever
from tests.unit.prefill.recordings import COMPRESSION, SAMPLING, content, record
from tests.unit.video.clips import regular
from videox2l.errors import ArchiveNotFoundError
from videox2l.models import KVCompressibleModel
from videox2l.prefill import ingest_video
from videox2l.store import Archive
from videox2l.store.verify import verify

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(repair)


def test_repair(random_model: KVCompressibleModel, random_checkpoint: Path, tmp_path: Path) -> None:
    clip = record(tmp_path / "clip.ts", regular(25))
    archive = Archive.open(tmp_path / "archive", create=True)
    _, before = ingest_video(random_model, archive, clip, sampling=SAMPLING, compression=COMPRESSION)
    assert before is not None
    arguments = ["--archive", archive.url, "--model", str(random_checkpoint), "--device", "cpu"]
    assert "nothing is damaged" in CliRunner().invoke(app, arguments).stdout

    low = next(number for number, shard in enumerate(before.shards) if shard.part == "low")
    path = Path(archive.url) / before.shard_path(low)
    path.write_bytes(path.read_bytes()[:-1])
    planned = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert planned.exit_code == 0
    assert f"would be rebuilt clip.ts, index {before.index_fp}" in planned.stdout
    assert not verify(archive.storage).ok

    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0
    [result] = json.loads(done.stdout)["results"]
    assert result | {"problem": ""} == {
        "action": "rebuilt",
        "error": None,
        "problem": "",
        "paths": [before.shard_path(low)],
        "id": before.video.video_id,
        "index": before.index_fp,
        "name": "clip.ts",
    }
    assert verify(archive.storage).ok
    assert content(archive.open_index(before.video.video_id).manifest) == content(before)


def test_without_its_retriever(random_model: KVCompressibleModel, random_checkpoint: Path, tmp_path: Path) -> None:
    clip, retriever = record(tmp_path / "clip.ts", regular(25)), write_retriever(tmp_path / "retriever", "clip")
    archive = Archive.open(tmp_path / "archive", create=True)
    settings = {"sampling": SAMPLING, "compression": COMPRESSION, "retriever": str(retriever)}
    _, before = ingest_video(random_model, archive, clip, **settings)
    assert before is not None
    (Path(archive.url) / before.shard_path(0)).unlink()
    shutil.rmtree(retriever)
    arguments = ["--archive", archive.url, "--model", str(random_checkpoint), "--device", "cpu"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 1
    assert f"left clip.ts, index {before.index_fp}: its vectors cannot be made again" in found.stdout
    assert "--no-vectors" in found.stdout
    assert CliRunner().invoke(app, [*arguments, "--no-vectors"]).exit_code == 0
    assert verify(archive.storage).ok


def test_what_is_left_is_said_and_the_exit_status_is_1(tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    archive.storage.write("runs/one.jsonl", b"{}\n")
    found = CliRunner().invoke(app, ["--archive", archive.url])
    assert found.exit_code == 1
    assert "left runs/one.jsonl" in found.stdout
    assert "0 of 1 damaged thing repaired" in found.stdout


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError, match="is no archive"):
        CliRunner().invoke(app, ["--archive", str(tmp_path)], catch_exceptions=False)
