"""The engine without Ray: what it keeps in memory, and what it looks up anew."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from pipelines.serve.config import ServiceConfig
from pipelines.serve.engine import Engine
from pipelines.serve.request import Question
from tests.archives import calibrated, random_index
from tests.unit.answering.by_hand import LOSSES
from videox2l.answering import Answer, ResidentVideo, TextDelta, Turn, residents
from videox2l.answering import ask as simple
from videox2l.config import CompressionConfig, GenerationConfig, SelectionConfig
from videox2l.errors import ArchiveError, FingerprintMismatchError
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive
from videox2l.store.calibration import store

SHORT = GenerationConfig(20)


class Asked:
    """An engine for one archive."""

    def __init__(self, archive: Archive, checkpoint: Path, **settings: Any) -> None:
        self.engine = Engine(ServiceConfig(archive_url=archive.url, model=str(checkpoint), **settings))

    def __call__(self, video_id: str, select: str = "1", **fields: Any) -> Answer:
        *_, answer = asyncio.run(self.events(video_id, select, **fields))
        assert isinstance(answer, Answer)
        return answer

    async def events(self, video_id: str, select: str = "1", **fields: Any) -> list[object]:
        return [event async for event in self.engine.answer(question(video_id, select, **fields))]


def question(video_id: str, select: str, tokens: int = 2, **fields: Any) -> Question:
    return Question(video_id, "What is it?", SelectionConfig(select), GenerationConfig(tokens), **fields)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


@pytest.fixture
def ask(archive: Archive, random_checkpoint: Path) -> Iterator[Asked]:
    asked = Asked(archive, random_checkpoint)
    yield asked
    asked.engine.close()


def test_low_kvs_that_are_lost_make_it_look_at_the_archive_again(
    archive: Archive, random_model: KVCompressibleModel, ask: Asked
) -> None:
    manifest = random_index(archive, random_model).manifest
    video_id = manifest.video.video_id
    assert not ask(video_id).degraded
    shards = {Path(archive.url) / manifest.shard_path(kv.levels["low"].shard) for kv in manifest.chunks}
    high = [chunk.levels["high"].length for chunk in manifest.chunks]
    kept = {path: path.read_bytes() for path in shards}
    LOSSES["a shard lost"][0](archive, manifest)
    assert not ask(video_id).degraded  # chunk 1 is in memory
    lost = ask(video_id, "2")
    assert [span.chunk for span in lost.degraded] == [2]
    assert lost.receipt.bytes_read["high"] == high[1]  # the others are resident
    for path, data in kept.items():
        path.write_bytes(data)
    whole = ask(video_id, "2")
    assert not whole.degraded
    assert whole.receipt.bytes_read["high"] == high[1]  # the others lie in the memory with chunk 1 in detail


def test_a_level_that_was_removed_is_no_reason_to_load_the_rest_again(
    archive: Archive, random_model: KVCompressibleModel, ask: Asked
) -> None:
    manifest = random_index(archive, random_model).manifest
    LOSSES["removed by retention"][0](archive, manifest)
    first, second = (ask(manifest.video.video_id) for _ in range(2))
    assert first.receipt.bytes_read["high"] > 0
    assert second.receipt.bytes_read["high"] == 0
    assert [span.chunk for span in second.degraded] == [1]


def test_one_of_several_indexes(archive: Archive, random_model: KVCompressibleModel, ask: Asked) -> None:
    ratios = [CompressionConfig(low_ratio=2, high_ratio=high, frames_per_chunk=10) for high in (8, 16)]
    readers = [random_index(archive, random_model, compression=each) for each in ratios]
    for reader in (*readers, *readers):  # each also after the other has become resident
        video_id, index = reader.manifest.video.video_id, reader.manifest.index_fp
        expected = simple(random_model, ResidentVideo(random_model, reader), "What is it?", SelectionConfig("1"), SHORT)
        found = ask(video_id, tokens=SHORT.max_new_tokens, index=index)
        assert (found.text, found.receipt.bytes_used) == (expected.text, expected.receipt.bytes_used)
    [error] = asyncio.run(ask.events(video_id))
    assert isinstance(error, FingerprintMismatchError)


def test_a_replaced_index_is_noticed(
    archive: Archive,
    random_model: KVCompressibleModel,
    ask: Asked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residents, "_FRESH_S", 0.0)
    old = random_index(archive, random_model, chunks=3).manifest
    video_id = old.video.video_id
    assert ask(video_id).chunks == 3
    assert ask(video_id).receipt.bytes_read["high"] == 0  # looked at again, and still the same
    new = random_index(archive, random_model, chunks=4, replace=True).manifest
    assert new.video.video_id == video_id
    answer = ask(video_id)
    assert answer.chunks == 4
    assert answer.receipt.bytes_read["high"] > 0


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
def test_a_resident_video_is_answered_about_while_the_archive_cannot_be_looked_at(
    archive: Archive, random_model: KVCompressibleModel, ask: Asked, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    video_id = random_index(archive, random_model).manifest.video.video_id
    expected = ask(video_id).text
    over = threading.Event()

    def look(*args: object) -> None:
        if trouble == "fails":
            raise ArchiveError("no answer within 10 s")
        over.wait(60)

    monkeypatch.setattr(residents, "_FRESH_S", 0.0)
    monkeypatch.setattr(residents, "_LOOK_S", 0.1)
    monkeypatch.setattr(residents.ResidentVideos, "_find", look)
    assert ask(video_id).text == expected
    over.set()


def test_questions_at_once_equal_the_simple_path(
    archive: Archive, random_model: KVCompressibleModel, ask: Asked
) -> None:
    """Twelve questions about two videos, all at once: more than one step, shared and different memories."""
    readers = [random_index(archive, random_model, f"{seed}.mp4", chunks=3, seed=seed) for seed in (1, 2)]
    asked = [(readers[number % 2], ("0", "1,2", "none", "attention")[number % 4]) for number in range(12)]

    async def together() -> list[list[object]]:
        return await asyncio.gather(
            *(ask.events(reader.manifest.video.video_id, select, tokens=20) for reader, select in asked)
        )

    for events, (reader, select) in zip(asyncio.run(together()), asked, strict=True):
        alone = simple(random_model, ResidentVideo(random_model, reader), "What is it?", SelectionConfig(select), SHORT)
        *deltas, answer = events
        assert isinstance(answer, Answer)
        assert answer.text == alone.text == "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        assert (answer.spans, answer.covered) == (alone.spans, alone.covered)
        assert answer.receipt.bytes_used == alone.receipt.bytes_used
    stats = asyncio.run(ask.engine.stats())
    assert (stats.questions, stats.running, stats.waiting, stats.resident_videos) == (12, 0, 0, 2)
    assert stats.tokens_generated >= 12
    assert stats.caches["video"].hits == 10


def test_who_leaves_frees_a_place_within_a_second(
    archive: Archive, random_model: KVCompressibleModel, random_checkpoint: Path
) -> None:
    video_id = random_index(archive, random_model).manifest.video.video_id
    ask = Asked(archive, random_checkpoint, concurrency=1)

    async def leave_and_ask() -> float:
        async with aclosing(ask.engine.answer(question(video_id, "none", tokens=3500))) as events:
            await anext(events)
            assert (await ask.engine.stats()).running == 1
        left = time.monotonic()
        await ask.events(video_id, "none")
        return time.monotonic() - left

    try:
        assert asyncio.run(leave_and_ask()) < 1.0
    finally:
        ask.engine.close()


def test_a_follow_up_runs_only_what_is_new(archive: Archive, random_model: KVCompressibleModel, ask: Asked) -> None:
    reader = random_index(archive, random_model)
    video_id = reader.manifest.video.video_id
    first = ask(video_id, tokens=20)
    assert not first.receipt.cache["conversation"]
    history = (Turn("What is it?", first.text),)
    second = ask(video_id, tokens=20, history=history)
    assert second.receipt.cache == {"video": True, "memory": True, "conversation": True}
    assert second.receipt.bytes_from["low"] == {"memory": second.receipt.bytes_used["low"], "disk": 0, "storage": 0}
    assert not ask(video_id, tokens=20, history=history, asker="somebody else").receipt.cache["conversation"]
    other = ask(video_id, "2", tokens=20, history=history)
    assert not other.receipt.cache["conversation"]  # another memory: the turns are run again
    for answer, select in ((second, "1"), (other, "2")):
        alone = simple(
            random_model,
            ResidentVideo(random_model, reader),
            "What is it?",
            SelectionConfig(select),
            SHORT,
            history=history,
        )
        assert answer.text == alone.text


def test_what_is_asked_outside_of_the_calibration_is_said_once(
    archive: Archive, random_model: KVCompressibleModel, random_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = random_index(archive, random_model, chunks=4).manifest
    store(archive.storage, calibrated(manifest, "attention"))
    asked = Asked(archive, random_checkpoint)
    try:
        for select in ("attention", "keys", "all", "1", "keys"):
            asked(manifest.video.video_id, select)
        info = asyncio.run(asked.engine.info())
    finally:
        asked.engine.close()
    (said,) = info.outside
    assert "keys of 2 chunks was not calibrated: recommended is" in said
    assert [record.getMessage() for record in caplog.records if said in record.getMessage()] == [
        f"Outside of the archive's calibration: {said}"
    ]
