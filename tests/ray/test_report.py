"""The ledger of a run read back, and the report made of it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from pipelines.ingest import ChunkDone, Event, IngestRow, JobStarted, RowFinished, VideoPlanned, VideoStarted
from pipelines.ingest.ledger import Ledger
from pipelines.ingest.page import render
from pipelines.ingest.plots import bars, steps
from pipelines.ingest.report import run_report, store_report
from pipelines.ingest.runs import Ended, Run, parse_ledger, read_run
from videox2l.errors import ArchiveNotFoundError, ConfigError, CorruptDataError
from videox2l.store.documents import unseal
from videox2l.store.storage import Storage

HOSTILE = "<script>alert('x')</script>\"onload=\"x\n&amp;\x1b[31m.mp4"
"""What a file may be called."""

ROWS = (
    IngestRow(
        "a.mp4",
        "committed",
        "a" * 32,
        "a.mp4",
        chunks=10,
        kept=4,
        frames=60,
        duration_s=100,
        low_bytes=3000,
        high_bytes=200,
        seconds={"identify": 0.5, "prefill": 3.0},
    ),
    IngestRow("b.mp4", "committed", "b" * 32, "b.mp4", chunks=5, frames=50, duration_s=50, seconds={"prefill": 9.0}),
    IngestRow("c.mp4", "skipped", "c" * 32, "c.mp4", error="is there already", seconds={"identify": 0.25}),
    IngestRow(
        HOSTILE, "failed", name=HOSTILE, error_type="TruncatedVideoError", error=f"{HOSTILE} is cut", traceback=HOSTILE
    ),
    IngestRow("e.mp4", "failed", name="e.mp4", error_type="TruncatedVideoError", error="e.mp4 is cut off"),
    IngestRow("https://u:pw@host/f.mp4?sig=1", "failed", name="f.mp4", error_type="UnreadableVideoError", error="gone"),
)
ABOUT = {
    "videos": 7,
    "versions": {"videox2l": "0.1.0"},
    "settings": {"model": HOSTILE, "sampling": {"fps": 1.0, "frames": None}},
    "model_fingerprint": "f" * 32,
}


def events(rows: Sequence[IngestRow] = ROWS) -> list[Event]:
    found: list[Event] = [JobStarted(len(rows) + 1)]
    for row in rows:
        if row.status == "committed":
            found += [
                VideoPlanned(row.source, row.name, row.chunks - row.kept, row.duration_s, row.kept),
                VideoStarted(row.source),
                *(ChunkDone(row.source, done + 1) for done in range(row.chunks - row.kept)),
            ]
        found.append(RowFinished(row))
    return found


def write(folder: Path, rows: Sequence[IngestRow] = ROWS, error: BaseException | None = None) -> tuple[Storage, str]:
    """A run that is over; ``error`` ended it."""
    storage = Storage(folder)
    ledger = Ledger(storage, "20260501T091500Z-abc123", ABOUT, folder / "copy.jsonl")

    def work() -> None:
        with ledger:
            for event in events(rows):
                ledger.hear(event)
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    return storage, ledger.path


def test_a_ledger_is_read_back(tmp_path: Path) -> None:
    storage, path = write(tmp_path)
    run = read_run(storage)
    assert run.rows == ROWS
    assert run.about["settings"] == ABOUT["settings"]
    assert run.about["archive"] == storage.url
    assert list(run.finished_s) == sorted(run.finished_s)
    assert run.end is not None
    assert (run.end.outcome, run.end.error) == ("finished", "")
    assert sum(run.end.timeline["chunks"]) == 6 + 5
    assert sum(run.end.timeline["video_s"]) == pytest.approx(60 + 50)
    assert (tmp_path / "copy.jsonl").read_bytes() == storage.read(path)


OUTCOMES = {
    "interrupted": (KeyboardInterrupt(), ""),
    "stopped": (RuntimeError("the storage is gone"), "the storage is gone"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_how_a_run_ended_is_recorded(tmp_path: Path, outcome: str) -> None:
    error, message = OUTCOMES[outcome]
    run = read_run(write(tmp_path, error=error)[0])
    assert run.end is not None
    assert (run.end.outcome, run.end.error) == (outcome, message)
    page = (tmp_path / "runs" / f"{run.run_id}.html").read_text()
    assert message in page
    assert "Run the same command again to go on." in page


def test_the_ledger_of_a_killed_driver(tmp_path: Path) -> None:
    """All that a killed process leaves is whole lines, and perhaps the beginning of one in the copy."""
    storage, path = write(tmp_path)
    whole = storage.read(path).splitlines(keepends=True)
    run = parse_ledger(b"".join(whole[:3]) + whole[3][:40], "copy")
    assert run.rows == ROWS[:2]
    report = run_report(run)
    assert report["outcome"] == "unfinished"
    assert report["finished"] is None
    assert report["totals"]["video_s"] == pytest.approx(60 + 50)
    assert "still goes on, or its driver was killed" in render(report)


def test_a_damaged_ledger_is_not_believed(tmp_path: Path) -> None:
    storage, path = write(tmp_path)
    data = storage.read(path)
    with pytest.raises(CorruptDataError, match="line 2"):
        parse_ledger(data.replace(b'"chunks": 10', b'"chunks": 11'), "copy")
    for other in (b"", b"\n".join(data.splitlines()[1:3]) + b"\n"):
        with pytest.raises(ConfigError, match="no ledger"):
            parse_ledger(other, "copy")


def test_runs_are_found_by_the_start_of_their_id(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with pytest.raises(ArchiveNotFoundError, match="it has no runs"):
        read_run(storage)
    for run_id in ("20260501T100000Z-aa", "20260501T110000Z-bb", "20260502T100000Z-cc"):
        with Ledger(storage, run_id, {}):
            pass
    assert read_run(storage).run_id == "20260502T100000Z-cc"
    assert read_run(storage, "20260501T11").run_id == "20260501T110000Z-bb"
    with pytest.raises(ConfigError, match="2 runs begin with '20260501'"):
        read_run(storage, "20260501")
    with pytest.raises(ArchiveNotFoundError, match="newest is 20260502T100000Z-cc"):
        read_run(storage, "2025")


def report_of(rows: Sequence[IngestRow], tmp_path: Path) -> dict[str, Any]:
    return run_report(read_run(write(tmp_path, rows)[0]))


def test_the_numbers_of_a_report(tmp_path: Path) -> None:
    report = report_of(ROWS, tmp_path)
    totals = report["totals"]
    assert (totals["videos"], totals["through"]) == (7, 6)
    assert totals["by_status"] == {"failed": 3, "committed": 2, "skipped": 1}
    assert (totals["chunks"], totals["frames"], totals["low_bytes"], totals["high_bytes"]) == (11, 110, 3000, 200)
    # Of the first video, four of ten chunks were there before.
    assert totals["video_s"] == pytest.approx(60 + 50)
    assert totals["video_hours_per_hour"] == pytest.approx(110 / report["wall_s"])
    assert report["stages_s"] == {"identify": 0.75, "prefill": 12.0}
    assert [row["name"] for row in report["slowest"]] == ["b.mp4", "a.mp4"]
    assert [row["source"] for row in report["failed"]] == [HOSTILE, "e.mp4", "https://host/f.mp4"]
    assert report["failures"] == [
        {"error_type": "TruncatedVideoError", "videos": 2},
        {"error_type": "UnreadableVideoError", "videos": 1},
    ]


def made_run(timeline: dict[str, Any], wall_s: float) -> Run:
    return Run("run", {}, (), (), Ended("finished", "2026-05-01T09:00:00+00:00", wall_s, timeline=timeline))


@pytest.mark.parametrize("wall_s", [10.0, 10.4, 59.9, 60.0, 130.5, 3600.0])
def test_throughput_holds_all_that_was_prefilled(wall_s: float) -> None:
    video_s = [2.0] * int(wall_s + 1)
    throughput = run_report(made_run({"step_s": 1.0, "chunks": [1] * len(video_s), "video_s": video_s}, wall_s))[
        "throughput"
    ]
    rates, step_s = throughput["video_hours_per_hour"], throughput["step_s"]
    assert len(rates) <= 61
    # Two seconds of video a second throughout; the last step may lack a part of a second.
    assert rates[:-1] == pytest.approx([2.0] * (len(rates) - 1))
    covered = step_s * (len(rates) - 1) + max(wall_s - step_s * (len(rates) - 1), 1.0)
    assert sum(rates[:-1]) * step_s + rates[-1] * (covered - step_s * (len(rates) - 1)) == pytest.approx(sum(video_s))


def test_a_report_is_stored_beside_the_ledger_and_can_be_made_again(tmp_path: Path) -> None:
    storage, path = write(tmp_path)
    stored = {suffix: storage.read(path.replace(".jsonl", suffix)) for suffix in (".json", ".html")}
    document = unseal(stored[".json"], "report")
    assert document["totals"]["chunks"] == 11
    assert json.loads(stored[".json"])["run"] == "20260501T091500Z-abc123"
    store_report(storage, read_run(storage))
    assert {suffix: storage.read(path.replace(".jsonl", suffix)) for suffix in stored} == stored


class Page(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "rect", "line", "path", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_and_a_hostile_name_is_only_text(tmp_path: Path) -> None:
    source = render(report_of(ROWS, tmp_path))
    page = Page(source)
    assert page.open == [], "every element is closed"
    tags = {tag for tag, _ in page.elements}
    assert "script" not in tags
    assert "svg" in tags
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert not {"src", "href"} & attributes.keys(), "nothing is loaded"
    policies = [attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    text = "".join(page.texts)
    assert "<script>alert('x')</script>\"onload=\"x &amp;\\x1b[31m.mp4" in text
    for part in ("e.mp4 is cut off", "sampling.fps", "UnreadableVideoError", "videox2l", "6 of 7", "1:50"):
        assert part in text
    assert "sig=1" not in source
    assert "pw@" not in source


PAGES = {
    "no videos through": (),
    "one that failed": ROWS[4:5],
    "one committed": ROWS[1:2],
    "only skipped": ROWS[2:3],
    "many failures": tuple(IngestRow(f"{n}.mp4", "failed", error_type="VideoError", error="?") for n in range(600)),
}


@pytest.mark.parametrize("case", PAGES)
def test_pages_of_unusual_runs(tmp_path: Path, case: str) -> None:
    page = Page(render(report_of(PAGES[case], tmp_path)))
    assert page.open == []
    if case == "many failures":
        assert "100 more are in the JSON report" in "".join(page.texts)


def test_plots_are_svg_inside_their_borders(tmp_path: Path) -> None:
    source = render(report_of(ROWS, tmp_path))
    drawings = [f"<svg{part.split('</svg>')[0]}</svg>" for part in source.split("<svg")[1:]]
    assert len(drawings) == 4
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for shape in root.iter():
            for x, length in (("x", "width"), ("x1", ""), ("x2", "")):
                place = float(shape.get(x, 0)) + (float(shape.get(length, 0)) if shape is not root and length else 0)
                assert 0 <= place <= width
            assert 0 <= float(shape.get("y", 0)) <= height


def test_bars_and_steps_are_to_scale() -> None:
    plot = bars([("long" * 20, 8.0), ("b", 2.0), ("c", 0.0)], str)
    first, second, third = plot.bars
    assert first.width == 4 * second.width > 0
    assert third.width == 0
    assert (first.title, len(first.label)) == ("long" * 20, 31)
    assert first.y < second.y < third.y < plot.height
    curve = steps([1.0, 4.0], 10.0, 15.0, str)
    assert [tick.text for tick in curve.y_ticks] == ["0", "2", "4"]
    zero, middle, top = (tick.at for tick in curve.y_ticks)
    assert zero - middle == pytest.approx(middle - top)
    two_thirds = round(curve.left + (curve.right - curve.left) * 2 / 3, 1)
    quarter = zero - (zero - top) / 4
    assert curve.outline == f"M{curve.left} {quarter}V{quarter}H{two_thirds}V{top}H{float(curve.right)}"


def test_a_copy_that_cannot_be_written_any_more_does_not_end_the_job(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copies" / "copy.jsonl"
    with Ledger(Storage(tmp_path / "archive"), "20260501T091500Z-abc123", ABOUT, copy) as ledger:
        copy.unlink()
        copy.mkdir()  # as little of a file as one on a disk that is full
        for event in events():
            ledger.hear(event)
    assert caplog.text.count("is not kept any more") == 1
    assert read_run(Storage(tmp_path / "archive")).rows == ROWS
