"""The benchmark of the service at its smallest: that it measures what it says, not how fast anything is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from rich.console import Console

from pipelines.bench.random_archive import write_larger_model, write_videos
from pipelines.bench.rows.timing import Times
from pipelines.bench.serving.engine import ANSWER_TOKENS, first_tokens, measure_together, stock_batch
from pipelines.bench.serving.load import Order, run_load, tokens_per_second
from pipelines.bench.serving.report import ModelFigures, ServingFigures, histogram, tables
from pipelines.bench.serving.rows import report
from pipelines.bench.serving.service import body, engine_process, measure_askers, measure_overhead, measure_zipf
from pipelines.serve import ServiceConfig, running_service
from tests.ray_cluster import ray_cluster
from videox2l.answering import ResidentVideo, ask
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.kv import mix
from videox2l.models import KVCompressibleModel, load_model
from videox2l.store import Archive

__all__ = ["ray_cluster"]


@pytest.fixture(scope="module")
def model() -> KVCompressibleModel:
    return load_model("tiny", device="cpu")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive.open(tmp_path_factory.mktemp("serving") / "archive", create=True)


@pytest.fixture(scope="module")
def videos(archive: Archive, model: KVCompressibleModel) -> list[str]:
    return write_videos(archive, model, 4, chunks=3)


@pytest.fixture(scope="module")
def url(ray_cluster: None, archive: Archive, videos: list[str]) -> Iterator[str]:
    # Room for the high KVs of one video.
    with running_service(archive.url, "tiny", resident_bytes=1, low_memory_bytes=0, mixed_bytes=0) as url:
        yield url


def test_videos_are_as_large_as_the_model_would_make_them(
    archive: Archive, model: KVCompressibleModel, videos: list[str]
) -> None:
    reader = archive.open_index(videos[0])
    compression = model.default_compression
    raw = compression.frames_per_chunk * model.tokens_per_frame
    assert [kv.tokens for kv in reader.high()] == [raw // compression.high_ratio] * 3
    assert reader.low(1).tokens == raw // compression.low_ratio
    assert len(set(videos)) == 4


def test_the_larger_model_can_be_loaded(tmp_path: Path) -> None:
    larger = load_model(str(write_larger_model(tmp_path / "larger")), device="cpu")
    assert (larger.geometry.layers, larger.geometry.kv_heads, larger.geometry.head_dim) == (8, 2, 32)


def test_in_process(archive: Archive, model: KVCompressibleModel, videos: list[str]) -> None:
    readers = [archive.open_index(video) for video in videos]
    for times in first_tokens(model, readers[0], repeats=1).values():
        assert times.ratio() == pytest.approx(times.median() / times.median(1))
        assert times.peak is not None
        assert times.peak > 0
    stop_ids = model.stop_ids
    together = measure_together(model, readers, repeats=1)
    assert [len(way) for way in together.seconds] == [1, 1, 1]
    assert model.stop_ids == stop_ids


def test_the_stock_models_batch_says_what_the_engine_says(
    archive: Archive, model: KVCompressibleModel, videos: list[str]
) -> None:
    """So it does the same work, which a bound has to."""
    reader = archive.open_index(videos[0])
    low = reader.low_many([1, 2])
    parts = [low.get(chunk, high) for chunk, high in enumerate(reader.high())]
    memory = mix(reader.prompt(), parts, partial(model.rope_tables, 0))
    stop_ids, model.stop_ids = model.stop_ids, frozenset()
    try:
        generation = GenerationConfig(ANSWER_TOKENS)
        video = ResidentVideo(model, reader)
        answer = ask(model, video, "what happens?", SelectionConfig("1,2"), generation=generation)
    finally:
        model.stop_ids = stop_ids
    with torch.inference_mode():
        answers: Any = stock_batch(model, [memory, memory], "what happens?")()
    assert [model.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in answers] == [answer.text] * 2
    assert [len(tokens) for tokens in answers] == [answer.receipt.answer_tokens] * 2


def test_over_http(url: str, archive: Archive, videos: list[str]) -> None:
    config = ServiceConfig(archive_url=archive.url, model="tiny")
    overhead = measure_overhead(url, "tiny", config, videos[0], repeats=1)
    assert [len(way) for way in overhead.seconds] == [10, 10]
    askers = measure_askers(url, "tiny", videos[:1], askers=3, tokens=4, repeats=1)
    assert askers.ratio() == pytest.approx(askers.median() / askers.median(1))
    engine = engine_process()
    assert "ServeReplica" in " ".join(engine.cmdline())
    for times in (overhead, askers):
        assert times.peak is not None
        assert times.peak > engine.memory_info().rss / 2


def test_many_videos_and_a_cache_for_one(url: str, videos: list[str]) -> None:
    zipf = measure_zipf(url, "tiny", videos, questions=12, seconds=60, askers=1, share=0.25)
    assert (zipf.questions, zipf.failed, len(zipf.latencies_ms)) == (12, 0, 12)
    assert 0 < zipf.hit_ratio < 1
    assert zipf.bytes_from["high"]["storage"] > 0
    assert zipf.bytes_from["low"] == {"memory": 0, "disk": 0, "storage": zipf.bytes_from["low"]["storage"]}
    assert zipf.first_p50_ms <= zipf.p50_ms <= zipf.p99_ms
    assert ElementTree.fromstring(histogram(zipf.latencies_ms, "answers")).tag.endswith("svg")

    # What was measured one by one above, at figures that are easy to check.
    first, together = Times(((0.003,), (0.002,)), peak=5), Times(((0.1,), (0.4,), (0.05,)), peak=6)
    model = ModelFigures("tiny", "float32", 3, {"named": first}, {"in process": together, "over HTTP": together})
    larger = replace(model, name="larger", together={})
    found = ServingFigures((model, larger), overhead=Times(((0.016,), (0.002,)), peak=7), zipf=zipf, zipf_chunks=3)
    sections = {section.setup.model: section.rows for section in report(found).sections}
    assert {name: [(row.case, row.ratio, row.peak_bytes) for row in rows] for name, rows in sections.items()} == {
        "tiny": [
            ("first token, named", 1.5, 5),
            ("16 askers in process, beside one", 0.25, 6),
            ("16 askers in process, beside a batch", 2.0, 6),
            ("16 askers over HTTP, beside one", 0.25, 6),
            ("16 askers over HTTP, beside a batch", 2.0, 6),
            ("a question of one token over HTTP, videos 4", 8.0, 7),
        ],
        "larger": [("first token, named", 1.5, 5)],
    }
    console = Console(width=160, file=io.StringIO(), record=True)
    for table in tables(found):
        console.print(table)
    shown = console.export_text()
    assert ["16.0", "2.0", "14.0"] in [line.split() for line in shown.splitlines()]


def test_what_fails_is_told(url: str, videos: list[str]) -> None:
    orders = [body("tiny", video, "What?", 2) for video in (videos[0], "nothing")]
    good, bad = run_load(Order(url, 1, orders))
    assert (good.status, good.error, good.tokens) == (200, "", 2)
    assert bad.status == 404
    assert "nothing" in bad.error
    assert asdict(bad)["bytes_from"] == {}
    assert tokens_per_second([good]) > 0


def test_time_that_is_up_ends_it(url: str, videos: list[str]) -> None:
    endless = [body("tiny", videos[0], f"{number}?", 1) for number in range(10_000)]
    replies = run_load(Order(url, 2, endless, seconds=0.5))
    assert 0 < len(replies) < 10_000
