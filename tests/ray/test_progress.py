"""What an operator sees of an ingest while it runs, and what it is counted from."""

from __future__ import annotations

import io
import json
import threading

import pytest
from rich.console import Console

from pipelines.ingest import (
    ChunkDone,
    Event,
    IngestProgress,
    IngestRow,
    IngestSummary,
    JobStarted,
    RowFinished,
    VideoPlanned,
    VideoStarted,
)
from pipelines.ingest.progress import Style
from pipelines.ingest.tally import WINDOW_S, AtWork, Tally, Timeline

GOOD = IngestRow("a.mp4", "committed", name="a.mp4", chunks=4, frames=40, duration_s=61, low_bytes=5000, high_bytes=700)
BAD = IngestRow("[b].mp4", "failed", name="[b].mp4", error_type="TruncatedVideoError", error="[b].mp4 is cut off")
SKIPPED = IngestRow("c.mp4", "skipped", name="c.mp4", error="is there already")
EVENTS: list[Event] = [
    JobStarted(3),
    VideoPlanned("a.mp4", "a.mp4", 4, 61.0),
    VideoPlanned("[b].mp4", "[b].mp4", 9, 90.0),
    RowFinished(SKIPPED),
    VideoStarted("a.mp4"),
    *(ChunkDone("a.mp4", done) for done in range(1, 5)),
    RowFinished(GOOD),
    VideoStarted("[b].mp4"),
    ChunkDone("[b].mp4", 1),
    RowFinished(BAD),
]


class Time:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def show(style: Style = "auto", *, terminal: bool = False, events: list[Event] = EVENTS) -> str:
    stream, clock = io.StringIO(), Time()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with IngestProgress(console, style, every_s=3600, timer=clock) as progress:
        for event in events:
            clock.now += 1
            progress(event)
    return stream.getvalue()


def test_a_log_file_gets_a_plain_line_for_each_video_and_where_the_job_is():
    assert show().splitlines() == [
        "3 videos to ingest",
        "skipped   c.mp4: is there already",
        "committed a.mp4: 1:01 long, 4 chunks, 0.0 s",
        "failed    [b].mp4: [b].mp4 is cut off",
        # Five chunks in the 8 s since the first video was taken on, 61 s + 10 s of video: 8.88 hours of video an hour.
        "[0:13] 3/3 videos, 5/5 chunks, 1:11 of video done at 8.88 h an hour, 1 failed",
    ]


def test_lines_hold_no_control_characters():
    name = "a\x1b[2J\nb\udcff\x00.mp4"
    row = IngestRow(name, "failed", name=name, error="two\nlines")
    shown = show(events=[JobStarted(1), RowFinished(row)])
    assert r"failed    a\x1b[2J b\udcff\x00.mp4: two lines" in shown.splitlines()
    assert all(character.isprintable() for character in shown.replace("\n", ""))


def test_a_job_that_makes_no_progress_still_says_so():
    """The line every so often does not depend on events."""
    heard = threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "time left unknown" in text and "at work: a.mp4 0/4" in text:
                heard.set()
            return super().write(text)

    with IngestProgress(Console(file=Stream()), every_s=0.01) as progress:
        for event in (JobStarted(1), VideoPlanned("a.mp4", "a.mp4", 4, 61.0), VideoStarted("a.mp4")):
            progress(event)
        assert heard.wait(60)


def test_a_terminal_gets_bars_and_the_failures():
    shown = show(terminal=True)
    assert "failed    [b].mp4: [b].mp4 is cut off" in shown
    assert "committed" not in shown
    # The failed video's other eight chunks are not waited for.
    assert "5/5" in shown
    assert "3/3" in shown
    assert "1 failed" in shown
    assert "1:11 of video at 8.88 h an hour" in shown


def test_a_terminal_shows_the_videos_at_work():
    events = [event for event in EVENTS if not isinstance(event, RowFinished)]
    many = [VideoStarted(f"{number}.mp4") for number in range(20)]
    shown = show(terminal=True, events=[*events, *many])
    for part in ("a.mp4", "4/4", "[b].mp4", "1/9", "and 10 more"):
        assert part in shown


def test_nothing_but_failures():
    assert show("none") == "failed    [b].mp4: [b].mp4 is cut off\n"


def test_json_lines():
    started, *videos, last = [json.loads(text) for text in show("json").splitlines()]
    assert (started["event"], started["videos"]) == ("started", 3)
    assert [(video["event"], video["source"], video["status"]) for video in videos] == [
        ("video", row.source, row.status) for row in (SKIPPED, GOOD, BAD)
    ]
    assert last["event"] == "progress"
    assert (last["finished"], last["failed"], last["chunks_done"], last["at_work"]) == (3, 1, 5, [])
    assert last["video_hours_per_hour"] == pytest.approx(71 / 8)


def heard(*events: Event, seconds: float = 1.0) -> tuple[Tally, Time]:
    """A tally that has heard ``events``, ``seconds`` apart."""
    clock = Time()
    tally = Tally(clock)
    for event in events:
        clock.now += seconds
        tally.hear(event)
    return tally, clock


def test_what_is_not_known_is_not_guessed():
    planned = (JobStarted(2), VideoPlanned("a", "a", 4, 40.0), VideoStarted("a"))
    for events in ((), planned, (*planned, ChunkDone("a", 1), ChunkDone("a", 2))):
        now = heard(*events)[0].snapshot()
        assert now.eta_s is None
        assert now.video_hours_per_hour is None


def test_the_time_left_goes_by_recent_chunks_and_the_videos_not_planned_yet():
    chunks = [ChunkDone("a", done) for done in range(1, 5)]
    planned = (VideoPlanned("a", "a", 8, 80.0), VideoPlanned("b", "b", 4, 40.0), VideoStarted("a"))
    tally, clock = heard(JobStarted(4), *planned, *chunks, seconds=2.0)
    now = tally.snapshot()
    assert now.video_hours_per_hour == pytest.approx(10 / 2)
    # 4 chunks of a, 4 of b, and two videos that are taken to have 6 each, at one chunk in 2 s
    assert now.eta_s == pytest.approx((4 + 4 + 2 * 6) * 2)
    assert (now.unplanned, now.chunks, now.chunks_done, now.video_s) == (2, 12, 4, 40)
    assert now.at_work == (AtWork("a", "a", 4, 8),)
    assert tally.waiting == 3

    clock.now += WINDOW_S + 1
    assert tally.snapshot().eta_s is None, "all of it is too long ago"


def test_chunks_done_again_and_chunks_left_by_another_job_are_no_progress():
    events = [JobStarted(1), VideoPlanned("a", "a", 20, 200.0), VideoStarted("a"), ChunkDone("a", 11)]
    tally, _ = heard(*events)
    assert (tally.snapshot().chunks_done, tally.prefilled_chunks, tally.prefilled_s) == (11, 1, 10)
    lost = [VideoPlanned("a", "a", 20, 200.0), VideoStarted("a"), *(ChunkDone("a", done) for done in (9, 10, 11, 12))]
    tally, _ = heard(*events, *lost)
    assert (tally.snapshot().chunks_done, tally.prefilled_chunks, tally.prefilled_s) == (12, 2, 20)
    assert tally.snapshot().chunks == 20


def test_a_recording_that_is_continued_counts_what_is_new():
    planned = VideoPlanned("a", "a", 4, 100.0, kept=6)
    tally, _ = heard(JobStarted(1), planned, VideoStarted("a"), *(ChunkDone("a", done) for done in range(1, 5)))
    assert tally.snapshot().video_s == pytest.approx(40)


def test_a_timeline_keeps_its_sums_and_stays_small():
    timeline = Timeline()
    for second in range(0, 100_000, 10):
        timeline.add(second, 1, 2.5)
    kept = timeline.to_dict()
    chunks, seconds, step = kept["chunks"], kept["video_s"], kept["step_s"]
    assert isinstance(chunks, list)
    assert isinstance(seconds, list)
    assert sum(chunks) == 10_000
    assert sum(seconds) == pytest.approx(25_000)
    assert 120 <= len(chunks) <= 240
    assert len(chunks) * step >= 99_990
    assert set(chunks[:-1]) <= {step // 10, step // 10 + 1}, "the same everywhere"


def test_the_summary_as_a_table():
    stream = io.StringIO()
    Console(file=stream, width=100).print(IngestSummary("run-1", "s3://bucket/[x]", (GOOD, BAD, SKIPPED), 125.0))
    text = stream.getvalue()
    for part in ("s3://bucket/[x]", "1 committed, 1 skipped, 1 failed", "in 2:05", "1:01", "4.9 KiB", "700 B"):
        assert part in text
    assert "[b].mp4: [b].mp4 is cut off" in text
