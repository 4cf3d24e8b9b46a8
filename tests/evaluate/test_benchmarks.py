"""A benchmark run on a real cluster, on miniature data in the published format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.evaluate.job import run_benchmark
from pipelines.evaluate.parts import Parts
from pipelines.evaluate.settings import BenchmarkSettings
from pipelines.ingest import IngestSettings
from tests.benchmark_data import write_videomme
from tests.cli.commands import run, run_json
from videox2l.config import CompressionConfig, SamplingConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks.records import Asking, Record

CONDITIONS = ["selected", "random", "high only", "low only", "full KV"]
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)
OPTIONS = "--fps 10 --low-ratio 2 --high-ratio 8 --frames-per-chunk 10 --top-k 1 --max-new-tokens 3 --device cpu"


def settings(data: Path, model: Path) -> BenchmarkSettings:
    ingest = IngestSettings(model=str(model), device="cpu", sampling=SamplingConfig(fps=10), compression=COMPRESSION)
    return BenchmarkSettings("videomme", data, ingest, Asking(SelectionConfig(top_k=1), max_new_tokens=3))


def rows(out: Path) -> list[Record]:
    parts = Parts(out / "parts")
    return [record for path in sorted(parts.folder.glob("*.parquet")) for record in parts.read(path.stem) or ()]


def test_interrupted_and_continued(
    ray_cluster: None, tmp_path: Path, benchmark_clips: list[Path], random_checkpoint: Path, capsys
):
    """Stopped behind the first video; the command goes on, and names the video that does not decode."""
    data = write_videomme(tmp_path / "data", [*benchmark_clips[:2], benchmark_clips[3]])
    archive, out = tmp_path / "archive", tmp_path / "out"
    steps: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        steps.append((done, total))
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(settings(data, random_checkpoint), str(archive), out, on_video=stop)
    assert steps == [(0, 2), (1, 2)]
    (part,) = (out / "parts").glob("*.parquet")
    age = part.stat().st_mtime_ns
    assert not (out / "report.json").exists()

    command = ["eval", "videomme", "--data", data, "--archive", archive, "--model", random_checkpoint]
    command += [*OPTIONS.split(), "--out", out]
    code, shown, notes = run(capsys, *command)
    assert code == 1  # of one video nothing is known
    assert "asked about 1 of 2 videos" in notes
    assert "asked about 2 of 2 videos" in notes
    assert "not measured, not ingested: 3 questions" in shown
    assert "not measured, missing video: 3 questions" in shown
    assert part.stat().st_mtime_ns == age

    records = rows(out)
    found = {(record.item, record.condition): record for record in records}
    assert len(found) == len(records) == 6 * len(CONDITIONS)
    assert {item for item, _ in found} == {"001-1", "001-2", "001-3", "002-1", "002-2", "002-3"}
    assert not any(record.error for record in records)
    report = json.loads((out / "report.json").read_text())
    assert [condition["condition"] for condition in report["conditions"]] == CONDITIONS
    assert all(condition["score"]["count"] == 6 for condition in report["conditions"])
    assert set(report["conditions"][0]["groups"]["duration"]) == {"short", "long"}
    text = (out / "report.md").read_text()
    assert "| selected |" in text
    assert "yt-_3.mp4" in text


def test_plans_and_refusals(tmp_path: Path, benchmark_clips: list[Path], capsys, random_checkpoint: Path):
    """All of it before a cluster is started."""
    data = write_videomme(tmp_path / "data", benchmark_clips[:2])
    command = ["eval", "videomme", "--data", data, "--model", random_checkpoint]
    plan = run_json(capsys, *command, "--dry-run", "--limit", 1)
    assert (plan["videos"], plan["questions"], plan["lost"]) == (1, 3, {"missing_video": 3})
    code, out, _ = run(capsys, *command, "--dry-run")
    assert code == 0
    assert "6 questions about 2 videos would be asked" in out
    assert "900-1: no " in out
    assert run(capsys, *command, "--select", "best")[0] == 2
    assert run(capsys, *command, "--without", "full")[0] == 2
    assert run(capsys, "eval", "mlvu", "--data", data, "--dry-run")[0] == 2

    empty = write_videomme(tmp_path / "empty", [])
    with pytest.raises(ConfigError, match=r"no question of Video-MME .* 900-1: no "):
        run_benchmark(settings(empty, random_checkpoint), str(tmp_path / "archive"), tmp_path / "out")
