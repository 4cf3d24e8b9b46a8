"""The engine without Ray: what it keeps in memory, and what it looks up anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipelines.serve import engine
from pipelines.serve.config import ServiceConfig
from pipelines.serve.engine import Engine
from pipelines.serve.request import Question
from tests.archives import random_index
from tests.unit.answering.by_hand import LOSSES
from videox2l.answering import Answer
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive


class Asked:
    """An engine for one archive."""

    def __init__(self, archive: Archive, checkpoint: Path) -> None:
        self._engine = Engine(ServiceConfig(archive_url=archive.url, model=str(checkpoint)))

    def __call__(self, video_id: str) -> Answer:
        async def last() -> object:
            question = Question(video_id, "What is it?", SelectionConfig("1"), GenerationConfig(2))
            return [event async for event in self._engine.answer(question)][-1]

        answer = asyncio.run(last())
        assert isinstance(answer, Answer)
        return answer


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


def test_low_kvs_that_are_lost_make_it_look_at_the_archive_again(
    archive: Archive, random_model: KVCompressibleModel, random_checkpoint: Path
) -> None:
    manifest = random_index(archive, random_model).manifest
    ask, video_id = Asked(archive, random_checkpoint), manifest.video.video_id
    assert not ask(video_id).degraded
    shards = {Path(archive.url) / manifest.shard_path(kv.levels["low"].shard) for kv in manifest.chunks}
    high = [chunk.levels["high"].length for chunk in manifest.chunks]
    kept = {path: path.read_bytes() for path in shards}
    LOSSES["a shard lost"][0](archive, manifest)
    lost = ask(video_id)
    assert [span.chunk for span in lost.degraded] == [1]
    assert lost.receipt.bytes_read["high"] == high[1]  # the others are resident
    for path, data in kept.items():
        path.write_bytes(data)
    whole = ask(video_id)
    assert not whole.degraded
    assert whole.receipt.bytes_read["high"] == sum(high) - high[1]


def test_a_level_that_was_removed_is_no_reason_to_load_the_rest_again(
    archive: Archive, random_model: KVCompressibleModel, random_checkpoint: Path
) -> None:
    manifest = random_index(archive, random_model).manifest
    LOSSES["removed by retention"][0](archive, manifest)
    ask = Asked(archive, random_checkpoint)
    first, second = (ask(manifest.video.video_id) for _ in range(2))
    assert first.receipt.bytes_read["high"] > 0
    assert second.receipt.bytes_read["high"] == 0
    assert [span.chunk for span in second.degraded] == [1]


def test_a_replaced_index_is_noticed(
    archive: Archive,
    random_model: KVCompressibleModel,
    random_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "_FRESH_S", 0.0)
    old = random_index(archive, random_model, chunks=3).manifest
    ask, video_id = Asked(archive, random_checkpoint), old.video.video_id
    assert ask(video_id).chunks == 3
    assert ask(video_id).receipt.bytes_read["high"] == 0  # looked at again, and still the same
    new = random_index(archive, random_model, chunks=4, replace=True).manifest
    assert new.video.video_id == video_id
    answer = ask(video_id)
    assert answer.chunks == 4
    assert answer.receipt.bytes_read["high"] > 0
