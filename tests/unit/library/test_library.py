"""An archive that is asked: the same answers as the simple path, from threads, as conversations, and explained."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
import torch

import videox2l
from tests.archives import random_index
from tests.unit.answering.by_hand import LOSSES, mixed, recorded
from videox2l import Archive, GenerationConfig, Library, ResidentVideo, SelectionConfig, TimeRange, Video, ask
from videox2l.answering import Answer, Turn
from videox2l.config import Budget
from videox2l.errors import (
    ConfigError,
    FingerprintMismatchError,
    QuestionError,
    VideoNotFoundError,
    VideoX2LError,
)
from videox2l.kv import Level
from videox2l.models.cache import to_cache
from videox2l.models.video_xl.model import VideoXL
from videox2l.store import IndexReader
from videox2l.video.synthetic import SyntheticClip, render

QUESTION = "What happens after the second scene?"
SHORT = GenerationConfig(12)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, random_model: VideoXL) -> Archive:
    archive = Archive.open(tmp_path_factory.mktemp("library") / "archive", create=True)
    random_index(archive, random_model, "lecture.mp4")
    recorded(archive, random_index(archive, random_model, "camera.mp4", seed=1), "2026-11-21T08:00:00+01:00")
    LOSSES["removed by retention"][0](archive, random_index(archive, random_model, "old.mp4", seed=2).manifest)
    return archive


@pytest.fixture
def library(archive: Archive, random_model: VideoXL) -> Iterator[Library]:
    with videox2l.open(archive.url, random_model) as library:
        yield library


@pytest.fixture
def video(library: Library) -> Video:
    return library.video("lecture.mp4")


@pytest.fixture(scope="module")
def reader(archive: Archive) -> IndexReader:
    return archive.open_index("lecture.mp4")


def simple(model: VideoXL, reader: IndexReader, select: str, history: tuple[Turn, ...] = ()) -> Answer:
    return ask(model, ResidentVideo(model, reader), QUESTION, SelectionConfig(select), SHORT, history=history)


def test_videos_are_found_as_the_archive_finds_them(library: Library, archive: Archive) -> None:
    videos = library.videos()
    assert [video.name for video in videos] == ["camera.mp4", "lecture.mp4", "old.mp4"]
    lecture = videos[1]
    assert (lecture.chunks, lecture.duration_s, lecture.metadata) == (5, 50.0, {})
    for given in (lecture.id, lecture.id[:8], "lecture.mp4"):
        assert library.video(given) == lecture
    assert "lecture.mp4" in repr(lecture)
    assert json.loads(json.dumps(lecture.to_dict()))["id"] == lecture.id
    with pytest.raises(VideoNotFoundError, match=r"lecture\.mp4"):
        library.video("lectur.mp4")
    with pytest.raises(VideoNotFoundError):
        library.video("0" * 32)


@pytest.mark.parametrize("select", ["1,3", "attention", "none", "all"])
def test_answers_are_those_of_the_simple_path(
    video: Video, random_model: VideoXL, reader: IndexReader, select: str
) -> None:
    alone = simple(random_model, reader, select)
    answer = video.ask(QUESTION, selection=select, generation=SHORT)
    assert (answer.text, answer.spans, answer.covered) == (alone.text, alone.spans, alone.covered)
    with video.stream(QUESTION, selection=select, generation=SHORT) as stream:
        assert "".join(stream) == alone.text
    assert (stream.answer.text, stream.answer.spans) == (alone.text, alone.spans)


def test_a_part_of_a_video(library: Library) -> None:
    camera = library.video("camera.mp4")
    by_seconds = camera.ask(QUESTION, selection="2", generation=SHORT, start=10, end="0:40")
    by_clock = camera.ask(QUESTION, selection="2", generation=SHORT, start=datetime(2026, 11, 21, 8, 0, 10), end=40.0)
    assert by_seconds.covered == by_clock.covered
    assert (by_seconds.covered.first_chunk, by_seconds.covered.chunks) == (1, 3)
    assert by_seconds.text == by_clock.text


def test_a_stopped_stream_frees_its_place_and_has_no_answer(video: Video) -> None:
    stream = video.stream(QUESTION, selection="1", generation=GenerationConfig(3000))
    assert next(iter(stream))
    stream.close()
    with pytest.raises(RuntimeError, match="stopped"):
        _ = stream.answer
    assert video.ask(QUESTION, selection="1", generation=SHORT).text


def test_questions_of_threads_at_once(library: Library, random_model: VideoXL, reader: IndexReader) -> None:
    expected = {select: simple(random_model, reader, select).text for select in ("0", "1,2", "none")}
    asked = [*expected] * 4
    with ThreadPoolExecutor(len(asked)) as threads:
        answers = threads.map(
            lambda select: library.video("lecture.mp4").ask(QUESTION, selection=select, generation=SHORT), asked
        )
        assert [answer.text for answer in answers] == [expected[select] for select in asked]
    assert library.stats()["video"].misses == 1


def test_a_conversation(video: Video, random_model: VideoXL, reader: IndexReader) -> None:
    conversation = video.conversation()
    first = conversation.ask(QUESTION, selection="1", generation=SHORT)
    stopped = conversation.stream(QUESTION, selection="1", generation=GenerationConfig(3000))
    next(iter(stopped))
    stopped.close()
    assert conversation.turns == (Turn(QUESTION, first.text),)
    stream = conversation.stream(QUESTION, selection="1", generation=SHORT)
    assert "".join(stream) == simple(random_model, reader, "1", conversation.turns).text
    assert stream.answer.receipt.cache["conversation"]
    assert conversation.answers == (first, stream.answer)
    assert len(json.loads(json.dumps(conversation.to_dict()))["answers"]) == 2
    assert str(conversation).count(QUESTION) == 2
    assert conversation._repr_html_().count("<svg") == 2
    # Of the latest question, behind the turn before it.
    assert conversation.explain(selection="1", generation=SHORT).answer.text == stream.answer.text
    assert len(conversation.turns) == 2
    with pytest.raises(QuestionError, match="nothing was asked"):
        video.conversation().explain()


def by_hand(model: VideoXL, reader: IndexReader, low: set[int], answer: str) -> float:
    """Token after token on the decoder itself, over a memory that was put together without selection."""
    levels: dict[int, Level] = {chunk: "low" if chunk in low else "high" for chunk in range(5)}
    cache = to_cache(mixed(model, reader, levels))
    ids, total = model.question_ids(QUESTION), 0.0
    for token in model.answer_ids(answer):
        if token in model.stop_ids:
            break
        with torch.inference_mode():
            logits_V = model.decoder(torch.tensor([ids]), past_key_values=cache).logits[0, -1]
        total += float(logits_V.log_softmax(-1)[token])
        ids = [token]
    return total


def test_an_explanation_leaves_out_each_chunk(video: Video, random_model: VideoXL, reader: IndexReader) -> None:
    explanation = video.explain(QUESTION, selection="1,3", generation=SHORT)
    text = explanation.answer.text
    assert text == simple(random_model, reader, "1,3").text
    assert explanation.logprob == pytest.approx(by_hand(random_model, reader, {1, 3}, text), rel=1e-4)
    assert [without.span.chunk for without in explanation.without] == [1, 3]
    for without, left in zip(explanation.without, (3, 1), strict=True):
        assert without.answer.text == simple(random_model, reader, str(left)).text
        assert [span.chunk for span in without.answer.spans] == [left]
        assert without.logprob == pytest.approx(by_hand(random_model, reader, {left}, text), rel=1e-4)
        assert explanation.changed(without) == (without.answer.text != text)
    document = json.loads(explanation.to_json())
    assert document["without"][0]["support"] == pytest.approx(explanation.logprob - explanation.without[0].logprob)
    assert str(explanation).count("without") == 2
    assert explanation._repr_html_().count("<svg") == 3


def test_nothing_to_explain_and_what_cannot_be(video: Video) -> None:
    explanation = video.explain(QUESTION, selection="none", generation=SHORT)
    assert explanation.without == ()
    assert "nothing to leave out" in str(explanation)
    assert "nothing to leave out" in explanation._repr_html_()
    with pytest.raises(ConfigError, match="temperature"):
        video.explain(QUESTION, generation=GenerationConfig(temperature=1.0))


def test_the_probability_of_an_empty_answer(video: Video) -> None:
    assert video.logprob(QUESTION, "") == 0.0


def test_what_lacks_detail_or_exceeds_a_budget(library: Library) -> None:
    lost = library.video("old.mp4").ask(QUESTION, selection="1", generation=SHORT)
    assert [span.chunk for span in lost.degraded] == [1]
    assert "only their gist" in str(lost)
    limited = SelectionConfig("0-3", budget=Budget(max_low_chunks=2))
    answer = library.video("lecture.mp4").ask(QUESTION, selection=limited, generation=SHORT)
    assert (len(answer.spans), len(answer.degraded)) == (2, 2)


def test_bad_questions_do_no_harm(video: Video) -> None:
    for bad in ({"question": " "}, {"question": QUESTION, "start": "early"}, {"question": QUESTION, "selection": "99"}):
        with pytest.raises(VideoX2LError):
            video.ask(**bad)  # type: ignore[arg-type]
    assert video.ask(QUESTION, generation=SHORT).text


def test_the_model_is_loaded_by_the_first_question_and_has_to_fit(archive: Archive) -> None:
    with videox2l.open(archive.url, "tiny") as library:
        assert "model tiny" in repr(library)
        video = library.video("lecture.mp4")
        assert library.stats() == {}
        with pytest.raises(FingerprintMismatchError, match="another model"):
            video.ask(QUESTION)


def test_a_closed_archive_says_so(archive: Archive, random_model: VideoXL) -> None:
    before = set(threading.enumerate())
    library = videox2l.open(archive.url, random_model)
    video = library.video("lecture.mp4")
    assert video.ask(QUESTION, generation=SHORT).text
    library.close()
    library.close()
    with pytest.raises(RuntimeError, match="closed"):
        video.ask(QUESTION)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread.name


def test_a_file_is_ingested_once_while_questions_go_on(tmp_path: Path, random_model: VideoXL) -> None:
    file = tmp_path / "clip.mp4"
    render(SyntheticClip.from_seed(1, 6), file, fps=2, width=64, height=48)
    with videox2l.open(tmp_path / "archive", random_model, create=True) as library:
        other = random_index(library.archive, random_model, "other.mp4").manifest.video.video_id
        expected = library.video(other).ask(QUESTION, generation=SHORT).text
        done = threading.Event()

        def go_on_asking() -> list[str]:
            texts = []
            while not done.is_set():
                texts.append(library.video(other).ask(QUESTION, generation=SHORT).text)
            return texts

        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(go_on_asking)
            try:
                progress: list[tuple[int, int]] = []
                video = library.ingest(
                    file,
                    name="A clip",
                    metadata={"floor": 3},
                    progress=lambda number, total: progress.append((number, total)),
                )
            finally:
                done.set()
            assert set(asked.result()) == {expected}
        assert progress[-1] == (video.chunks, video.chunks)
        assert (video.name, video.metadata) == ("A clip", {"floor": 3})
        asked_while_prefilled = video.ask(QUESTION, generation=SHORT)
        progress.clear()
        again = library.ingest(file, progress=lambda number, total: progress.append((number, total)))
        assert again == video
        assert not progress
        fresh = ResidentVideo(random_model, library.archive.open_index(video.id))
        assert asked_while_prefilled.text == ask(random_model, fresh, QUESTION, generation=SHORT).text


def test_of_several_indexes_the_one_that_is_named(tmp_path: Path, random_model: VideoXL) -> None:
    file = tmp_path / "clip.mp4"
    render(SyntheticClip.from_seed(2, 4), file, fps=2, width=64, height=48)
    with videox2l.open(tmp_path / "archive", random_model, create=True) as library:
        coarse = library.ingest(file)
        fine = library.ingest(file, sampling=videox2l.SamplingConfig(fps=2))
        assert coarse != fine
        assert coarse.ask(QUESTION, generation=SHORT).chunks == coarse.chunks < fine.chunks
        assert fine.ask(QUESTION, generation=SHORT).chunks == fine.chunks
        with pytest.raises(FingerprintMismatchError, match="indexes that fit"):
            library.video("clip.mp4").ask(QUESTION)


def test_time_ranges_are_those_of_the_parts_below(video: Video, random_model: VideoXL, reader: IndexReader) -> None:
    parts = ask(
        random_model,
        ResidentVideo(random_model, reader),
        QUESTION,
        SelectionConfig("1"),
        SHORT,
        time_range=TimeRange.parse("0:10", "0:30"),
    )
    assert video.ask(QUESTION, selection="1", generation=SHORT, start="0:10", end="0:30").text == parts.text
