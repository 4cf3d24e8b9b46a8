"""Benchmark runs on a real cluster, on miniature data in the published formats."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from pipelines.evaluate.job import run_benchmark
from pipelines.evaluate.parts import Parts
from pipelines.evaluate.settings import BenchmarkSettings
from pipelines.ingest import IngestSettings
from tests.benchmark_data import write_longvideobench, write_mlvu, write_videomme, write_vnbench
from tests.cli.commands import run, run_json
from videox2l.answering import ResidentVideo, ask
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks.records import Asking, Record
from videox2l.evaluation.benchmarks.summary import Summary
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive

CONDITIONS = ["selected", "random", "high only", "low only", "full KV"]
SELECTION = SelectionConfig(top_k=1)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One for all tests, so that clips are ingested once."""
    return str(tmp_path_factory.mktemp("evaluate") / "archive")


@pytest.fixture
def measure(ray_cluster: None, random_checkpoint: Path, archive: str, tmp_path: Path):
    def measure(name: str, data: Path, out: Path | None = None, **options: object) -> Summary:
        ingest = IngestSettings(
            model=str(random_checkpoint),
            device="cpu",
            sampling=SamplingConfig(fps=10),
            compression=CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10),
        )
        asking = options.pop("asking", Asking(SELECTION, max_new_tokens=3))
        on_video = options.pop("on_video", None)
        settings = BenchmarkSettings(name, data, ingest, asking, **options)
        return run_benchmark(settings, archive, out or tmp_path / "out", on_video=on_video)

    return measure


def rows(out: Path) -> list[Record]:
    parts = Parts(out / "parts")
    return [record for path in sorted(parts.folder.glob("*.parquet")) for record in parts.read(path.stem) or ()]


def test_every_question_under_every_condition(
    measure, tmp_path: Path, benchmark_clips: list[Path], archive: str, random_model: KVCompressibleModel
):
    data, out = write_videomme(tmp_path / "data", benchmark_clips[:2]), tmp_path / "out"
    summary = measure("videomme", data)
    assert [condition.condition for condition in summary.conditions] == CONDITIONS
    assert (summary.questions, summary.videos, dict(summary.lost)) == (6, 2, {"missing_video": 3})
    assert all((c.answered, c.failed) == (6, 0) for c in summary.conditions)
    assert set(summary.conditions[0].groups["duration"]) == {"short", "long"}

    records = rows(out)
    found = {(record.item, record.condition): record for record in records}
    assert len(found) == len(records) == 6 * len(CONDITIONS)
    chunks = {"001": 3, "002": 4}
    for (item, condition), record in found.items():
        whole = chunks[item[:3]]
        wanted = {"selected": 1, "random": 1, "high only": 0, "low only": whole, "full KV": 0}
        assert len(record.chunks) == wanted[condition]
        assert record.correct == (record.letter == record.answer)
    # The same text as one question at a time, and all visual tokens (4 a frame) where nothing is compressed.
    reader = Archive.open(archive).open_index("yt-_2.mp4", model_fingerprint=random_model.identity.fingerprint)
    record = found["002-3", "selected"]
    alone = ask(random_model, ResidentVideo(random_model, reader), record.prompt, SELECTION, GenerationConfig(3))
    assert record.text == alone.text
    assert record.chunks == tuple(span.chunk for span in alone.spans)
    assert record.bytes_used == sum(alone.receipt.bytes_used.values())
    assert found["002-3", "full KV"].memory_tokens == reader.manifest.prompt.tokens + 40 * 4

    report = json.loads((out / "report.json").read_text())
    assert report["conditions"][0]["score"]["count"] == 6
    assert "| selected |" in (out / "report.md").read_text()


def test_goes_on_where_it_stopped(measure, tmp_path: Path, benchmark_clips: list[Path]):
    data, out = write_mlvu(tmp_path / "data", benchmark_clips), tmp_path / "out"
    steps: list[tuple[int, int]] = []
    first = measure("mlvu", data, on_video=lambda *step: steps.append(step))
    assert steps == [(0, 2), (1, 2), (2, 2)]
    parts = sorted((out / "parts").glob("*.parquet"))
    ages = {path.name: path.stat().st_mtime_ns for path in parts}
    parts[0].unlink()

    steps.clear()
    again = measure("mlvu", data, on_video=lambda *step: steps.append(step))
    assert steps == [(1, 2), (2, 2)]
    assert again == first
    assert parts[1].stat().st_mtime_ns == ages[parts[1].name]

    steps.clear()
    other = Asking(SelectionConfig("none"), ("random",), max_new_tokens=2)
    measure("mlvu", data, on_video=lambda *step: steps.append(step), asking=other, limit=1)
    assert steps == [(0, 1), (1, 1)]
    assert len(list((out / "parts").glob("*.parquet"))) == 3


def test_what_cannot_be_measured_is_named(measure, tmp_path: Path, benchmark_clips: list[Path]):
    """A video that does not decode, and a context that holds neither all low KVs nor the uncompressed video."""
    data = write_longvideobench(tmp_path / "data", [benchmark_clips[0], benchmark_clips[3]])
    asking = Asking(SELECTION, max_new_tokens=4096 - 300)
    summary = measure("longvideobench", data, asking=asking)
    assert dict(summary.lost) == {"missing_video": 1, "not_ingested": 2}
    assert (summary.questions, summary.videos) == (2, 1)
    full = summary.conditions[-1]
    assert (full.condition, full.answered, full.failed, full.score) == ("full KV", 0, 2, None)
    assert all("the uncompressed video" in reason for reason in full.reasons)
    text = (tmp_path / "out" / "report.md").read_text()
    assert "**full KV** gave no answer to 2 questions" in text
    assert "broken" not in dict(summary.lost)
    assert "not ingested" in text


def test_likelihood_and_four_tries(measure, tmp_path: Path, benchmark_clips: list[Path]):
    data = write_vnbench(tmp_path / "data", benchmark_clips[:2])
    summary = measure("vnbench", data, asking=Asking(SELECTION, ("low only",), scoring="likelihood"))
    assert [condition.condition for condition in summary.conditions] == ["selected", "low only"]
    assert [condition.score.count for condition in summary.conditions if condition.score] == [2, 2]
    # All letters are among the 256 likeliest of a vocabulary of 259, but perhaps one.
    assert all(condition.no_letter == 0 for condition in summary.conditions)
    by_unit: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for record in rows(tmp_path / "out"):
        if record.condition == "selected":
            by_unit[record.item.rpartition(":")[0]][bool(record.correct)] += 1
    right = sum(not counts[False] for counts in by_unit.values())
    assert summary.conditions[0].score is not None
    assert summary.conditions[0].score.mean == right / 2


def test_nothing_to_ask(measure, tmp_path: Path):
    data = write_videomme(tmp_path / "data", [])
    with pytest.raises(ConfigError, match="no question of Video-MME .* 900-1: no "):
        measure("videomme", data)


def test_command(ray_cluster: None, capsys, tmp_path: Path, archive: str, random_checkpoint: Path, benchmark_clips):
    data = write_videomme(tmp_path / "data", benchmark_clips[:1])
    common = ["eval", "videomme", "--data", data, "--archive", archive, "--model", random_checkpoint]
    plan = run_json(capsys, *common, "--dry-run")
    assert (plan["videos"], plan["questions"], plan["lost"]) == (1, 3, {"missing_video": 3})
    code, out, _ = run(capsys, *common, "--dry-run")
    assert code == 0
    assert "3 questions about 1 video would be asked" in out

    settings = ["--fps", 10, "--low-ratio", 2, "--high-ratio", 8, "--frames-per-chunk", 10, "--max-new-tokens", 2]
    settings += ["--out", tmp_path / "out", "--without", "full KV", "--select", "keys"]
    report = run_json(capsys, *common, *settings)
    assert [condition["condition"] for condition in report["conditions"]] == CONDITIONS[:-1]
    assert (tmp_path / "out" / "report.md").is_file()
    code, out, err = run(capsys, *common, *settings)
    assert code == 0
    assert "selected" in out
    assert "asked about 1 of 1 videos" in err

    assert run(capsys, *common, "--select", "best")[0] == 2
    assert run(capsys, *common, "--without", "full")[0] == 2
    assert run(capsys, "eval", "mlvu", "--data", data, "--dry-run")[0] == 2
