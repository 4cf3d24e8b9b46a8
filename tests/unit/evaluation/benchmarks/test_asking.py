"""Questions of a benchmark about stored videos, under every condition, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmark_data import write_videomme, write_vnbench
from tests.unit.video.clips import regular, write_numbered_clip
from videox2l.answering import ResidentVideo, ask
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.evaluation.benchmarks import Item, benchmark
from videox2l.evaluation.benchmarks.asking import Asker
from videox2l.evaluation.benchmarks.records import Asking, Record
from videox2l.models import KVCompressibleModel
from videox2l.prefill import ingest_video
from videox2l.store import Archive, Manifest

SELECTION = SelectionConfig(top_k=1)
FRAMES = 40


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_numbered_clip(path, pts=regular(FRAMES), options={"preset": "ultrafast", "threads": "1"})
    return path


@pytest.fixture(scope="module")
def stored(
    random_model: KVCompressibleModel, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Archive, Manifest]:
    archive = Archive.open(tmp_path_factory.mktemp("asking") / "archive", create=True)
    compression = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)
    _, manifest = ingest_video(random_model, archive, clip, sampling=SamplingConfig(fps=10), compression=compression)
    assert manifest is not None
    return archive, manifest


@pytest.fixture
def answers(random_model: KVCompressibleModel, stored: tuple[Archive, Manifest]) -> Iterator[object]:
    archive, manifest = stored

    def answers(name: str, items: list[Item], asking: Asking) -> dict[tuple[str, str], Record]:
        with Asker(random_model, archive, benchmark(name), asking) as asker:
            records = asker.ask(manifest.video.video_id, manifest.index_fp, items[0].video, items)
        found = {(record.item, record.condition): record for record in records}
        assert len(found) == len(records)
        return found

    return answers


def test_every_question_under_every_condition(
    answers, clip: Path, tmp_path: Path, stored: tuple[Archive, Manifest], random_model: KVCompressibleModel
):
    items = list(benchmark("videomme").read(write_videomme(tmp_path, [clip])).items)
    found = answers("videomme", items, Asking(SELECTION, max_new_tokens=3))
    reloaded = {"selected": 1, "random": 1, "high only": 0, "low only": 4, "full KV": 0}
    assert len(found) == 3 * len(reloaded)
    for (_, condition), record in found.items():
        assert len(record.chunks) == reloaded[condition]
        assert record.correct == (record.letter == record.answer)
    # The same as one question at a time, and all visual tokens (4 a frame) where nothing is compressed.
    archive, manifest = stored
    video = ResidentVideo(random_model, archive.open_index(manifest.video.video_id))
    for item in items:
        record = found[item.id, "selected"]
        alone = ask(random_model, video, item.prompt, SELECTION, GenerationConfig(3))
        assert record.text == alone.text
        assert record.chunks == tuple(span.chunk for span in alone.spans)
        assert record.bytes_used == sum(alone.receipt.bytes_used.values())
        assert found[item.id, "full KV"].memory_tokens == manifest.prompt.tokens + FRAMES * 4
        assert found[item.id, "full KV"].bytes_used == 0


def test_random_takes_as_many_as_were_selected(answers, clip: Path, tmp_path: Path):
    items = list(benchmark("videomme").read(write_videomme(tmp_path, [clip])).items)
    found = answers("videomme", items, Asking(SelectionConfig("0,2-3"), ("random",), max_new_tokens=1))
    assert {len(record.chunks) for record in found.values()} == {3}
    assert {condition for _, condition in found} == {"selected", "random"}


def test_what_the_context_does_not_hold_is_said(
    answers,
    clip: Path,
    tmp_path: Path,
    stored: tuple[Archive, Manifest],
    random_model: KVCompressibleModel,
    monkeypatch: pytest.MonkeyPatch,
):
    """A context one token too short for all low KVs; the selection's memory is smaller."""
    items = list(benchmark("videomme").read(write_videomme(tmp_path, [clip])).items[:1])
    manifest = stored[1]
    low = manifest.prompt.tokens + manifest.totals["low"].tokens
    context = low + len(random_model.question_ids(items[0].prompt))
    monkeypatch.setattr(random_model, "context_length", context)
    found = answers("videomme", items, Asking(SELECTION, ("low only", "full KV"), max_new_tokens=1))
    assert not found[items[0].id, "selected"].error
    for condition in ("low only", "full KV"):
        record = found[items[0].id, condition]
        assert (record.text, record.correct) == ("", None)
        assert f"the model's context has {context}" in record.error


def test_the_likeliest_letter(answers, clip: Path, tmp_path: Path):
    """The model's vocabulary is 259 tokens, so all letters but perhaps one are among the likeliest 256."""
    items = list(benchmark("vnbench").read(write_vnbench(tmp_path, [clip])).items)
    found = answers("vnbench", items, Asking(SELECTION, ("low only", "full KV"), "likelihood"))
    assert len(found) == 12
    assert all(record.letter in "ABCD" for record in found.values())
    assert any(record.text.strip() != record.letter for record in found.values())  # it would not have written them
