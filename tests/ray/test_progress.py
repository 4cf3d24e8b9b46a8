from __future__ import annotations

import io

from rich.console import Console

from pipelines.ingest import ChunkDone, IngestProgress, IngestRow, IngestSummary, JobStarted, RowFinished, VideoPlanned

GOOD = IngestRow("a.mp4", "committed", name="a.mp4", chunks=4, frames=40, duration_s=61, low_bytes=5000, high_bytes=700)
BAD = IngestRow("[b].mp4", "failed", name="[b].mp4", error_type="TruncatedVideoError", error="[b].mp4 is cut off")
SKIPPED = IngestRow("c.mp4", "skipped", name="c.mp4", error="is there already")
EVENTS = [
    JobStarted(3),
    VideoPlanned("a.mp4", "a.mp4", 4, 61.0),
    VideoPlanned("[b].mp4", "[b].mp4", 9, 90.0),
    RowFinished(SKIPPED),
    *(ChunkDone("a.mp4", done) for done in range(1, 5)),
    RowFinished(GOOD),
    ChunkDone("[b].mp4", 1),
    RowFinished(BAD),
]


def show(*, terminal: bool) -> str:
    stream = io.StringIO()
    with IngestProgress(Console(file=stream, force_terminal=terminal, width=100)) as progress:
        for event in EVENTS:
            progress(event)
    return stream.getvalue()


def test_a_log_file_gets_a_plain_line_for_each_video():
    assert show(terminal=False).splitlines() == [
        "skipped   c.mp4: is there already",
        "committed a.mp4: 1:01 long, 4 chunks, 0.0 s",
        "failed    [b].mp4: [b].mp4 is cut off",
    ]


def test_a_terminal_gets_bars_and_the_failures():
    shown = show(terminal=True)
    assert "failed    [b].mp4: [b].mp4 is cut off" in shown
    assert "committed" not in shown
    # The failed video's other eight chunks are not waited for.
    assert "5/5" in shown
    assert "3/3" in shown
    assert "1 failed" in shown


def test_the_summary_as_a_table():
    stream = io.StringIO()
    Console(file=stream, width=100).print(IngestSummary("run-1", "s3://bucket/[x]", (GOOD, BAD, SKIPPED), 125.0))
    text = stream.getvalue()
    for part in ("s3://bucket/[x]", "1 committed, 1 skipped, 1 failed", "in 2:05", "1:01", "4.9 KiB", "700 B"):
        assert part in text
    assert "[b].mp4: [b].mp4 is cut off" in text
