"""Questions about a part of a video: which chunks that is, and that nothing else counts."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import pytest

from tests.archives import random_index
from tests.unit.answering.by_hand import assert_equal, mixed, recorded
from videox2l import Archive, GenerationConfig, ResidentVideo, SelectionConfig, ask, load_model
from videox2l.answering import RecordedAt, TimeRange, TimeRangeError
from videox2l.answering.costs import Costs
from videox2l.answering.dialogue import tokenize
from videox2l.answering.memory import Memory, build_memory
from videox2l.errors import ConfigError
from videox2l.kv import Level
from videox2l.models import KVCompressibleModel
from videox2l.models.video_xl.model import VideoXL
from videox2l.selection import SCORERS, QuestionContext
from videox2l.store import ChunkEntry, IndexReader, Manifest

QUESTION = "What happens after the second scene?"
SHORT = GenerationConfig(max_new_tokens=12)
START = "2026-11-21T08:00:00+01:00"
ALL = (0, 1, 2, 3, 4)


@pytest.fixture
def reader(archive: Archive, random_model: VideoXL) -> IndexReader:
    """Five chunks of ten seconds each."""
    return random_index(archive, random_model, retriever="own")


@pytest.fixture
def manifest(reader: IndexReader) -> Manifest:
    return dataclasses.replace(reader.manifest, recorded_at=START)


@pytest.mark.parametrize(
    ("start", "end", "chunks"),
    [
        (None, None, ALL),
        (0, 50, ALL),
        ("0", "50.0", ALL),
        ("10", "20", (1,)),
        ("10", "20.001", (1, 2)),
        ("9.999", "10", (0,)),
        (12.5, 12.6, (1,)),
        ("0:15", "00:00:25", (1, 2)),
        ("0:00:15.5", None, (1, 2, 3, 4)),
        (None, "1:00:00", ALL),
        ("49.9", "90:00", (4,)),
        ("2026-11-21T08:00:10+01:00", "2026-11-21T08:00:20+01:00", (1,)),
        ("2026-11-21T07:00:10Z", "2026-11-21T02:00:20-05:00", (1,)),
        ("2026-11-21T08:00:10", "2026-11-21 08:00:30.5", (1, 2, 3)),
        ("2026-11-21", "2026-11-22", ALL),
        ("30", "2026-11-21T08:00:40", (3,)),
    ],
)
def test_which_chunks_a_range_takes_in(
    manifest: Manifest, start: str | float | None, end: str | float | None, chunks: tuple[int, ...]
) -> None:
    assert TimeRange.parse(start, end).chunks(manifest) == chunks


def test_a_chunk_of_one_frame_lies_where_it_starts(manifest: Manifest) -> None:
    last = dataclasses.replace(manifest.chunks[4], end_s=manifest.chunks[4].start_s)
    manifest = dataclasses.replace(manifest, chunks=(*manifest.chunks[:4], last))
    assert TimeRange(40.0).chunks(manifest) == (4,)
    assert TimeRange(30.0, 40.0).chunks(manifest) == (3,)


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "1:60", "1:2:3:4", "12:", "1e3", "nan", "08:00+01:00", "2026-13-01", "9" * 400, "１２"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(TimeRangeError, match="MM:SS") as caught:
        TimeRange.parse(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("time_range", "message"),
    [
        (TimeRange(20, 10), "ends at 10.0 s and begins at 20.0 s"),
        (TimeRange(20, 20), "empty"),
        (TimeRange(50), r"nothing from 50\.0 s on: it covers 0\.0 s to 50\.0 s"),
        (TimeRange(-20, 0), r"nothing from -20\.0 s to 0\.0 s"),
        (TimeRange(float("nan")), "covers"),
        (TimeRange(datetime(2026, 11, 22)), r"clock 2026-11-21T08:00:00\.000\+01:00 to 2026-11-21T08:00:50"),
        (TimeRange(datetime.min, datetime.fromisoformat("0001-01-01T00:00:01-14:00")), "covers"),
    ],
)
def test_nothing_in_the_range(manifest: Manifest, time_range: TimeRange, message: str) -> None:
    with pytest.raises(TimeRangeError, match=message):
        time_range.chunks(manifest)


def test_by_the_clock_without_a_known_start(reader: IndexReader) -> None:
    with pytest.raises(TimeRangeError, match=r"random\.mp4 was recorded.*--recorded-at"):
        TimeRange.parse("2026-11-21T08:00:10").chunks(reader.manifest)


def build(
    model: KVCompressibleModel, reader: IndexReader, chunks: tuple[int, ...], select: str
) -> tuple[Memory, dict[str, int]]:
    costs = Costs()
    dialogue, selection = tokenize(model, QUESTION), SelectionConfig(select, top_k=1)
    memory = build_memory(model, ResidentVideo(model, reader), dialogue, selection, chunks, costs)
    return memory, costs.storage


@pytest.mark.parametrize("select", [*SCORERS, "all", "none", "2", "1,3"])
def test_a_part_equals_mixing_its_chunks_by_hand(reader: IndexReader, random_model: VideoXL, select: str) -> None:
    memory, read = build(random_model, reader, (1, 2, 3), select)
    levels: dict[int, Level] = dict.fromkeys((1, 2, 3), "high")
    if select in SCORERS:
        gist = QuestionContext(
            random_model,
            random_model.question_ids(QUESTION),
            mixed(random_model, reader, levels),
            question=QUESTION,
            retrieved=ResidentVideo(random_model, reader).retrieved((1, 2, 3)),
        )
        scores = SCORERS[select](gist)
        assert memory.scores == (None, *scores, None)
        chosen = [1 + scores.index(max(scores))]
    else:
        chosen = {"all": [1, 2, 3], "none": [], "2": [2], "1,3": [1, 3]}[select]
    levels.update(dict.fromkeys(chosen, "low"))
    assert memory.detailed == chosen
    assert_equal(memory.mixed, mixed(random_model, reader, levels))

    def size(level: Level, chunks: list[int]) -> int:
        entries: list[ChunkEntry] = [reader.manifest.chunks[chunk] for chunk in chunks]
        return sum(entry.levels[level].length for entry in entries)

    rest = [chunk for chunk in (1, 2, 3) if select in SCORERS or chunk not in chosen]
    assert read == {"prompt": reader.manifest.prompt.length, "high": size("high", rest), "low": size("low", chosen)}


@pytest.mark.parametrize("name", ["random", "tiny"])
@pytest.mark.parametrize("select", ["attention", "all", "none", "0,2"])
def test_the_full_range_changes_nothing(archive: Archive, models: dict[str, VideoXL], name: str, select: str) -> None:
    model = models[name]
    reader = random_index(archive, model, chunks=3)
    selection, full = SelectionConfig(select, top_k=1), TimeRange(0, 30)
    without, limited = (
        ask(model, ResidentVideo(model, reader), QUESTION, selection, SHORT, time_range) for time_range in (None, full)
    )
    same = dataclasses.replace(limited.receipt, milliseconds=without.receipt.milliseconds)
    assert dataclasses.replace(limited, receipt=same) == without
    memories = [build(model, reader, chunks, select)[0].mixed for chunks in ((0, 1, 2), full.chunks(reader.manifest))]
    assert_equal(*memories)


@pytest.fixture(scope="module")
def models(random_model: VideoXL) -> dict[str, VideoXL]:
    return {"random": random_model, "tiny": load_model("tiny", device="cpu")}


def test_evidence_keeps_the_videos_own_numbers_and_times(
    archive: Archive, reader: IndexReader, random_model: VideoXL
) -> None:
    video = ResidentVideo(random_model, recorded(archive, reader, START))
    time_range = TimeRange.parse("25", "2026-11-21T08:00:40")
    answer = ask(random_model, video, QUESTION, SelectionConfig("attention", top_k=1), SHORT, time_range)
    [span] = answer.spans
    assert span.chunk in (2, 3)
    assert (span.start_s, span.end_s) == (span.chunk * 10.0, span.chunk * 10.0 + 10)
    assert span.recorded_at == RecordedAt(
        f"2026-11-21T08:00:{span.chunk}0.000+01:00", f"2026-11-21T08:00:{span.chunk + 1}0.000+01:00"
    )
    assert answer.scores is not None
    assert [score is None for score in answer.scores] == [True, True, False, False, True]
    assert span.score == max(answer.scores[2:4])
    assert answer.chunks == 5
    assert (answer.covered.chunks, answer.covered.start_s, answer.covered.end_s) == (2, 20.0, 40.0)
    assert answer.covered.recorded_at == RecordedAt("2026-11-21T08:00:20.000+01:00", "2026-11-21T08:00:40.000+01:00")


def test_what_is_resident_is_not_read_again(reader: IndexReader, random_model: VideoXL) -> None:
    video, gist = ResidentVideo(random_model, reader), SelectionConfig("none")
    high = [chunk.levels["high"].length for chunk in reader.manifest.chunks]
    reads = [
        ask(random_model, video, QUESTION, gist, SHORT, time_range).receipt.bytes_read["high"]
        for time_range in (TimeRange(10, 30), TimeRange(20, 40), None, TimeRange(0, 10))
    ]
    assert reads == [high[1] + high[2], high[3], high[0] + high[4], 0]


def test_a_named_chunk_outside_the_range(reader: IndexReader, random_model: VideoXL) -> None:
    with pytest.raises(ConfigError, match=r"chunks \[4\] lie outside the time range, which takes in chunks 1 to 2"):
        ask(
            random_model,
            ResidentVideo(random_model, reader),
            QUESTION,
            SelectionConfig("1,4"),
            SHORT,
            TimeRange(10, 30),
        )


@pytest.mark.parametrize("zero", ["9999-12-31T23:59:59+00:00", START])
def test_times_beyond_the_calendar(manifest: Manifest, zero: str) -> None:
    from videox2l.answering.time_range import recorded_at

    found = recorded_at(dataclasses.replace(manifest, recorded_at=zero), 0.0, 1e300 if zero == START else 10.0)
    assert found is None
