"""The benchmark of the service at its smallest: that it measures what it says, not how fast anything is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipelines.bench.random_archive import write_larger_model, write_videos
from pipelines.bench.serving.engine import measure_first_token, measure_together
from pipelines.bench.serving.load import Order, run_load, tokens_per_second
from pipelines.bench.serving.report import histogram
from pipelines.bench.serving.service import body, engine_process, measure_askers, measure_overhead, measure_zipf
from pipelines.serve import ServiceConfig, running_service
from tests.ray_cluster import ray_cluster
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
    first = measure_first_token(model, archive.open_index(videos[0]), repeats=1)
    assert first.chosen_ratio == pytest.approx(first.chosen_ms / first.bare_ms)
    assert first.scored_ratio == pytest.approx(first.scored_ms / first.bare_ms)
    stop_ids = model.stop_ids
    together = measure_together(model, [archive.open_index(video) for video in videos], repeats=1)
    assert together.ratio == pytest.approx(together.many / together.one)
    assert model.stop_ids == stop_ids


def test_over_http(url: str, archive: Archive, videos: list[str]) -> None:
    config = ServiceConfig(archive_url=archive.url, model="tiny")
    overhead = measure_overhead(url, "tiny", config, videos[0], repeats=1)
    assert overhead.added_ms == pytest.approx(overhead.http_ms - overhead.process_ms)
    one, many, ratio = measure_askers(url, "tiny", videos[:1], askers=3, tokens=4, repeats=1)
    assert ratio == pytest.approx(many / one)
    assert "ServeReplica" in " ".join(engine_process().cmdline())


def test_many_videos_and_a_cache_for_one(url: str, videos: list[str]) -> None:
    zipf = measure_zipf(url, "tiny", videos, questions=12, seconds=60, askers=1, share=0.25)
    assert (zipf.questions, zipf.failed, len(zipf.latencies_ms)) == (12, 0, 12)
    assert 0 < zipf.hit_ratio < 1
    assert zipf.bytes_from["high"]["storage"] > 0
    assert zipf.bytes_from["low"] == {"memory": 0, "disk": 0, "storage": zipf.bytes_from["low"]["storage"]}
    assert zipf.first_p50_ms <= zipf.p50_ms <= zipf.p99_ms
    assert ElementTree.fromstring(histogram(zipf.latencies_ms, "answers")).tag.endswith("svg")


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
