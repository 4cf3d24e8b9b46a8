"""The engine of many questions: caches, budgets and deadlines, and storage that is slow or fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Container, Iterator, Sequence

import pytest

from tests.archives import random_index
from videox2l import Archive, GenerationConfig, ResidentVideo, SelectionConfig, ask
from videox2l.answering import Answer, AnswerEngine, EngineConfig, TextDelta, Turn
from videox2l.config import Budget
from videox2l.errors import ArchiveError, ConfigError
from videox2l.models.video_xl.model import VideoXL
from videox2l.store import IndexReader
from videox2l.store.low_chunks import LowChunks
from videox2l.store.storage import Range

QUESTION = "What happens after the second scene?"
SHORT = GenerationConfig(12)
ENOUGH = 2**26


class Storage:
    """The archive's, with low KVs that can be slow or away."""

    def __init__(self, reader: IndexReader) -> None:
        self._storage = reader.storage
        self.reads = 0
        self.released = threading.Event()
        self.released.set()
        self.away: Container[int] = ()
        """Offsets that cannot be read."""

    def __call__(self, ranges: Sequence[Range]) -> Sequence[bytes | memoryview]:
        self.reads += len(ranges)
        self.released.wait(30)
        if any(part.offset in self.away for part in ranges):
            raise ArchiveError("cannot read: no answer within 10 s")
        return self._storage.read_ranges(ranges)


@pytest.fixture
def reader(archive: Archive, random_model: VideoXL) -> IndexReader:
    return random_index(archive, random_model)


@pytest.fixture
def storage(reader: IndexReader) -> Storage:
    return Storage(reader)


@pytest.fixture
def video(random_model: VideoXL, reader: IndexReader, storage: Storage) -> ResidentVideo:
    return ResidentVideo(random_model, reader, LowChunks("archive", storage, memory_bytes=ENOUGH))


@pytest.fixture
def engine(random_model: VideoXL) -> Iterator[AnswerEngine]:
    with AnswerEngine(random_model, EngineConfig(slots=4, low_deadline_s=20)) as engine:
        yield engine


def last(events: Iterator[TextDelta | Answer]) -> Answer:
    *_, answer = events
    assert isinstance(answer, Answer)
    return answer


def test_a_second_question_about_the_same_chunks_fetches_and_mixes_nothing(
    engine: AnswerEngine, video: ResidentVideo, storage: Storage, random_model: VideoXL, reader: IndexReader
) -> None:
    first = last(engine.stream(video, QUESTION, SelectionConfig("1,3"), SHORT))
    low = first.receipt.bytes_used["low"]
    assert first.receipt.bytes_from["low"] == {"memory": 0, "disk": 0, "storage": low}
    assert (storage.reads, first.receipt.cache["memory"]) == (2, False)
    second = last(engine.stream(video, "Another question?", SelectionConfig("1,3"), SHORT))
    assert second.receipt.bytes_from["low"] == {"memory": low, "disk": 0, "storage": 0}
    assert second.receipt.cache == {"video": True, "memory": True, "conversation": False}
    third = last(engine.stream(video, QUESTION, SelectionConfig("1"), SHORT))  # other mix, low KVs in memory
    assert (storage.reads, third.receipt.cache["memory"]) == (2, False)
    assert third.receipt.bytes_from["low"] == {"memory": third.receipt.bytes_used["low"], "disk": 0, "storage": 0}
    simple = ResidentVideo(random_model, reader)
    assert first.text == ask(random_model, simple, QUESTION, SelectionConfig("1,3"), SHORT).text
    assert second.text == ask(random_model, simple, "Another question?", SelectionConfig("1,3"), SHORT).text
    assert engine.stats()["mixed"].hits == 1


def test_without_any_budget_for_caches_answers_are_the_same(random_model: VideoXL, reader: IndexReader) -> None:
    nothing = EngineConfig(slots=1, step_tokens=5, mixed_bytes=0, conversation_bytes=0)
    storage = Storage(reader)
    video = ResidentVideo(random_model, reader, LowChunks("archive", storage, memory_bytes=0))
    history = (Turn("Who?", "nobody"),)
    with AnswerEngine(random_model, nothing) as engine:
        for select in ("1", "2", "1", "attention"):
            answer = last(engine.stream(video, QUESTION, SelectionConfig(select), SHORT, None, history))
            simple = ask(random_model, video, QUESTION, SelectionConfig(select), SHORT, None, history)
            assert answer.text == simple.text
            assert not answer.receipt.cache["conversation"]


@pytest.mark.parametrize(
    ("budget", "detailed", "reason"),
    [
        (Budget(max_low_chunks=2), 2, "max_low_chunks is 2"),
        (Budget(max_low_chunks=0), 0, "max_low_chunks is 0"),
        (Budget(max_bytes=10), 0, "exceed max_bytes, 10"),
        (Budget(), 4, ""),
    ],
)
def test_a_budget_takes_the_best_chunks(
    engine: AnswerEngine, video: ResidentVideo, budget: Budget, detailed: int, reason: str
) -> None:
    answer = last(engine.stream(video, QUESTION, SelectionConfig("attention", 4, budget), SHORT))
    scores = answer.scores
    assert scores is not None
    ranked = sorted(range(5), key=lambda chunk: scores[chunk] or 0.0, reverse=True)[:4]
    assert [span.chunk for span in answer.spans] == sorted(ranked[:detailed])
    assert [span.chunk for span in answer.degraded] == sorted(ranked[detailed:])
    assert all(reason in span.reason for span in answer.degraded)


def test_a_budget_of_bytes_is_obeyed_to_the_byte(engine: AnswerEngine, video: ResidentVideo) -> None:
    sizes = [video.level_bytes("low", [chunk]) for chunk in range(5)]
    for limit, expected in ((sizes[0] + sizes[1], [0, 1]), (sizes[0] + sizes[1] - 1, [0])):
        answer = last(engine.stream(video, QUESTION, SelectionConfig("all", 0, Budget(max_bytes=limit)), SHORT))
        assert [span.chunk for span in answer.spans][: len(expected)] == expected
        assert answer.receipt.bytes_used["low"] <= limit


def test_chunks_that_come_too_late_are_answered_from_their_gist(
    engine: AnswerEngine, video: ResidentVideo, storage: Storage, random_model: VideoXL, reader: IndexReader
) -> None:
    last(engine.stream(video, QUESTION, SelectionConfig("1"), SHORT))
    storage.released.clear()
    selection = SelectionConfig("1,3", budget=Budget(max_first_token_ms=200))
    started = time.monotonic()
    answer = last(engine.stream(video, QUESTION, selection, SHORT))
    assert time.monotonic() - started < 5
    assert [span.chunk for span in answer.spans] == [1]  # was in memory
    [late] = answer.degraded
    assert late.chunk == 3
    assert "did not come within" in late.reason
    simple = ResidentVideo(random_model, reader)
    assert answer.text == ask(random_model, simple, QUESTION, SelectionConfig("1"), SHORT).text
    storage.released.set()
    reads = storage.reads
    whole = last(engine.stream(video, QUESTION, SelectionConfig("1,3"), SHORT))
    assert not whole.degraded
    assert storage.reads == reads  # what was late is not fetched twice
    assert not video.doubtful


def test_slow_storage_has_a_deadline_of_its_own(random_model: VideoXL, video: ResidentVideo, storage: Storage) -> None:
    storage.released.clear()
    with AnswerEngine(random_model, EngineConfig(low_deadline_s=0.1)) as engine:
        answer = last(engine.stream(video, QUESTION, SelectionConfig("0,2"), SHORT))
    storage.released.set()
    assert [span.chunk for span in answer.degraded] == [0, 2]


def test_storage_that_fails_costs_only_the_detail(
    engine: AnswerEngine, video: ResidentVideo, storage: Storage, reader: IndexReader
) -> None:
    offset = reader.manifest.chunks[2].levels["low"].offset
    storage.away = {offset}
    answer = last(engine.stream(video, QUESTION, SelectionConfig("1,2"), SHORT))
    assert [span.chunk for span in answer.spans] == [1]
    assert [span.reason for span in answer.degraded] == ["cannot read: no answer within 10 s"]
    assert not video.doubtful
    storage.away = ()
    assert not last(engine.stream(video, QUESTION, SelectionConfig("1,2"), SHORT)).degraded


def test_a_deadline_needs_the_engine(random_model: VideoXL, reader: IndexReader) -> None:
    selection = SelectionConfig("1", budget=Budget(max_first_token_ms=5))
    with pytest.raises(ConfigError, match="ResidentVideos"):
        ask(random_model, ResidentVideo(random_model, reader), QUESTION, selection, SHORT)


def test_stages_and_first_token(engine: AnswerEngine, video: ResidentVideo) -> None:
    milliseconds = last(engine.stream(video, QUESTION, SelectionConfig(), SHORT)).receipt.milliseconds
    parts = {"load", "select", "fetch_low", "mix", "slot", "question", "decode"}
    assert set(milliseconds) == {*parts, "first_token", "total"}
    assert sum(milliseconds[part] for part in parts) == pytest.approx(milliseconds["total"], abs=5)
    assert milliseconds["first_token"] <= milliseconds["total"]


def test_an_error_in_the_model_reaches_who_asked_and_nobody_later(
    engine: AnswerEngine, video: ResidentVideo, random_model: VideoXL, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = last(engine.stream(video, QUESTION, SelectionConfig("1"), SHORT)).text

    def fail(*args: object, **others: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr("videox2l.answering.batch.rows.packed_logits", fail)
        with pytest.raises(MemoryError, match="no room"):
            last(engine.stream(video, QUESTION, SelectionConfig("1"), SHORT))
    assert last(engine.stream(video, QUESTION, SelectionConfig("1"), SHORT)).text == expected


def test_questions_under_way_hear_of_the_end(random_model: VideoXL, video: ResidentVideo) -> None:
    engine = AnswerEngine(random_model)
    events = engine.stream(video, QUESTION, SelectionConfig("none"), GenerationConfig(3500))
    next(events)
    engine.close()
    with pytest.raises(RuntimeError, match="ended"):
        list(events)
    with pytest.raises(RuntimeError, match="ended"):
        list(engine.stream(video, QUESTION, SelectionConfig("none"), SHORT))


def test_stop_texts_and_logprobs_as_on_the_simple_path(
    engine: AnswerEngine, video: ResidentVideo, random_model: VideoXL
) -> None:
    whole = ask(random_model, video, QUESTION, SelectionConfig("1"), GenerationConfig(40))
    stop = whole.text[5:8]
    generation = GenerationConfig(40, stop=(stop,), logprobs=3)
    simple = ask(random_model, video, QUESTION, SelectionConfig("1"), generation)
    *deltas, answer = engine.stream(video, QUESTION, SelectionConfig("1"), generation)
    assert isinstance(answer, Answer)
    assert answer.text == simple.text == whole.text[: whole.text.index(stop)]
    assert answer.finish_reason == simple.finish_reason == "stop"
    assert answer.logprobs is not None
    assert simple.logprobs is not None
    told = [token for delta in deltas if isinstance(delta, TextDelta) for token in delta.logprobs]
    assert tuple(told) == answer.logprobs
    assert [token.token for token in answer.logprobs] == [token.token for token in simple.logprobs]
    assert [token.logprob for token in answer.logprobs] == pytest.approx(
        [token.logprob for token in simple.logprobs], abs=1e-4
    )
    assert all(len(token.top) == 3 and token.top[0].logprob == token.logprob for token in answer.logprobs)
    assert b"".join(bytes(token.bytes) for token in answer.logprobs).decode(errors="replace").startswith(answer.text)


def test_a_video_without_caches_waits_for_storage(
    engine: AnswerEngine, random_model: VideoXL, reader: IndexReader
) -> None:
    video = ResidentVideo(random_model, reader)
    answer = last(engine.stream(video, QUESTION, SelectionConfig("1"), SHORT))
    assert answer.text == ask(random_model, video, QUESTION, SelectionConfig("1"), SHORT).text
    hurried = SelectionConfig("2", budget=Budget(max_first_token_ms=5))
    with pytest.raises(ConfigError, match="ResidentVideos"):
        last(engine.stream(video, QUESTION, hurried, SHORT))
