"""An ingest's progress in a terminal: two bars for the job and one for each video that is being worked on."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipelines.ingest.lines import line, pace, printable, remaining
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.summary import clock
from pipelines.ingest.tally import AtWork, Snapshot

# Beside the job's own two bars, what a terminal of 24 lines has room for.
_MOST_VIDEOS = 12

# A long name would leave no room for its bar.
_NAME_WIDTH = 40


class Bars:
    """Bars that vanish at the end. Videos that fail leave a line behind."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._videos = self._bars.add_task("videos", total=None, note="")
        self._chunks = self._bars.add_task("chunks", total=None, note="")
        self._at_work: dict[str, TaskID] = {}
        self._more = self._bars.add_task("", total=None, note="", visible=False)
        self._bars.start()

    def started(self, videos: int) -> None:
        self._bars.update(self._videos, total=videos)

    def update(self, now: Snapshot) -> None:
        failed = f"[red]{now.failed} failed[/]" if now.failed else ""
        self._bars.update(self._videos, completed=now.finished, note=failed)
        note = ", ".join(filter(None, (f"{clock(now.video_s)} of video{pace(now)}", remaining(now))))
        self._bars.update(self._chunks, total=now.chunks, completed=now.chunks_done, note=note)
        self._show(now.at_work)

    def finished(self, row: IngestRow) -> None:
        if row.status == "failed":
            self._bars.console.print(escape(printable(line(row))), soft_wrap=True, highlight=False)

    def close(self) -> None:
        self._bars.stop()

    def _show(self, videos: Sequence[AtWork]) -> None:
        shown = {video.source: video for video in videos[:_MOST_VIDEOS]}
        for source in self._at_work.keys() - shown.keys():
            self._bars.remove_task(self._at_work.pop(source))
        for source, video in shown.items():
            if source not in self._at_work:
                self._at_work[source] = self._bars.add_task(f"  {_short(video.name)}", total=None, note="")
            self._bars.update(self._at_work[source], total=video.chunks, completed=video.done)
        more = len(videos) - len(shown)
        self._bars.update(self._more, visible=more > 0, description=f"  and {more} more")


def _short(name: str) -> str:
    name = printable(name)
    return escape(name if len(name) <= _NAME_WIDTH else name[: _NAME_WIDTH - 1] + "…")
