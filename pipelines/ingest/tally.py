"""How far an ingest is, counted from its events. What a terminal, a log file and the ledger show comes from here."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.ingest.events import ChunkDone, Event, JobStarted, RowFinished, VideoPlanned, VideoStarted
from pipelines.ingest.rows import IngestRow, Status

Clock = Callable[[], float]
"""Seconds from any fixed point; never goes back."""

# The rate is that of the last ten minutes: long enough for chunks of a large model, which take seconds each, and for
# short videos between long ones; short enough to follow a cluster that grows or loses machines.
WINDOW_S = 600.0

# One chunk tells nothing of a rate: the first comes late, behind the start of processes and the loading of weights.
_ENOUGH_CHUNKS = 3

# At least so many points of a run's throughput are kept, at most twice as many: what a plot can show.
_POINTS = 120


@dataclass(frozen=True)
class AtWork:
    """A video that a prefill worker has taken on: ``done`` of ``chunks``."""

    source: str
    name: str
    done: int
    chunks: int


@dataclass(frozen=True)
class Snapshot:
    """How far a job is. ``None`` stands for what is not known yet.

    ``chunks`` are those of the videos planned so far; ``unplanned`` videos add theirs later. ``video_s``: seconds of
    video that are done, with those that an earlier job left. ``video_hours_per_hour`` and ``eta_s`` (seconds left) go
    by the chunks of the last :data:`WINDOW_S`; for videos that are not planned yet, the latter takes the mean of those
    that are.
    """

    elapsed_s: float
    videos: int
    finished: int
    unplanned: int
    failed: int
    chunks: int
    chunks_done: int
    video_s: float
    video_hours_per_hour: float | None
    eta_s: float | None
    at_work: tuple[AtWork, ...]


@dataclass
class _Video:
    name: str
    chunks: int
    chunk_s: float  # seconds of video in one of its chunks
    done: int = 0


class Tally:
    """Takes in every event of a job, in their order.

    ``prefilled_chunks`` and ``prefilled_s`` (seconds of video) are what this job has worked off. A chunk that is done
    again, because its process was lost, is not counted twice; chunks that an earlier job left are not counted at all.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._working_since: float | None = None
        self._recent: deque[tuple[float, int, float]] = deque()  # when, chunks done, their seconds of video
        self._open: dict[str, _Video] = {}
        self._at_work: dict[str, None] = {}  # in the order they were taken on
        self._known = 0  # videos of which it is known how many chunks they have
        self._statuses: Counter[Status] = Counter()
        self._chunks = 0
        self._done = 0
        self._done_s = 0.0
        self.videos = 0
        self.prefilled_chunks = 0
        self.prefilled_s = 0.0

    def hear(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case JobStarted(videos):
                self.videos = videos
            case VideoPlanned():
                self._plan(event)
            case VideoStarted(source):
                self._at_work[source] = None
                if self._working_since is None:
                    self._working_since = self._clock()
            case ChunkDone(source, done, new):
                self._advance(source, done, new)
            case RowFinished(row):
                self._finish(row)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the tally was made."""
        return self._clock() - self._began

    @property
    def waiting(self) -> int:
        """Videos that no prefill worker has taken on, and that are not through without one."""
        return self.videos - self._statuses.total() - len(self._at_work)

    def snapshot(self) -> Snapshot:
        """How far the job is now."""
        rates = self._rates()
        return Snapshot(
            self.elapsed_s,
            self.videos,
            self._statuses.total(),
            self.videos - self._known,
            self._statuses["failed"],
            self._chunks,
            self._done,
            self._done_s,
            rates[1] if rates else None,
            self._left() / rates[0] if rates else None,
            tuple(self._work(source) for source in self._at_work),
        )

    def _plan(self, event: VideoPlanned) -> None:
        if event.source in self._open:
            return  # planned again, by a process that took a lost one's place
        self._known += 1
        self._chunks += event.chunks
        chunk_s = event.duration_s / (event.chunks + event.kept) if event.chunks else 0.0
        self._open[event.source] = _Video(event.name, event.chunks, chunk_s)

    def _advance(self, source: str, done: int, new: int) -> None:
        video = self._open.get(source)
        if video is None or done <= video.done:
            return
        now, further = self._clock(), done - video.done
        worked_off = min(new, further)  # what is done again, or was found done, is not
        self._recent.append((now, worked_off, worked_off * video.chunk_s))
        while self._recent[0][0] < now - WINDOW_S:
            self._recent.popleft()
        self._done += further
        self._done_s += further * video.chunk_s
        self.prefilled_chunks += worked_off
        self.prefilled_s += worked_off * video.chunk_s
        video.done = done

    def _finish(self, row: IngestRow) -> None:
        self._statuses[row.status] += 1
        self._at_work.pop(row.source, None)
        video = self._open.pop(row.source, None)
        if video is None:
            self._known += 1
        else:
            # A video that failed half-way, or was skipped after all, has no chunks left to wait for.
            self._chunks -= video.chunks - video.done

    def _rates(self) -> tuple[float, float] | None:
        """Chunks, and seconds of video, per second."""
        now = self._clock()
        recent = [(chunks, seconds) for when, chunks, seconds in self._recent if when >= now - WINDOW_S]
        chunks = sum(chunks for chunks, _ in recent)
        if self._working_since is None or chunks < _ENOUGH_CHUNKS:
            return None
        span = min(now - self._working_since, WINDOW_S)
        return (chunks / span, sum(seconds for _, seconds in recent) / span) if span > 0 else None

    def _left(self) -> float:
        """Chunks to be done; videos that are not planned yet count as much as those that are, on average."""
        mean = self._chunks / self._known if self._known else 0.0
        return self._chunks - self._done + (self.videos - self._known) * mean

    def _work(self, source: str) -> AtWork:
        video = self._open.get(source, _Video(source, 0, 0.0))
        return AtWork(source, video.name, video.done, video.chunks)


class Timeline:
    """How much was prefilled when, in equal steps that double whenever there are too many of them."""

    def __init__(self) -> None:
        self.step_s = 1.0
        self._steps: list[list[float]] = []  # chunks, seconds of video

    def add(self, elapsed_s: float, chunks: int, video_s: float) -> None:
        """``chunks`` with ``video_s`` seconds of video were done ``elapsed_s`` seconds after the beginning."""
        while elapsed_s >= 2 * _POINTS * self.step_s:
            self.step_s *= 2
            pairs = [self._steps[start : start + 2] for start in range(0, len(self._steps), 2)]
            self._steps = [[sum(column) for column in zip(*pair, strict=True)] for pair in pairs]
        number = int(elapsed_s / self.step_s)
        self._steps.extend([0, 0.0] for _ in range(number + 1 - len(self._steps)))
        self._steps[number][0] += chunks
        self._steps[number][1] += video_s

    def to_dict(self) -> dict[str, object]:
        """``step_s``, and by step the ``chunks`` and the seconds of video, ``video_s``, that were prefilled in it."""
        return {
            "step_s": self.step_s,
            "chunks": [int(chunks) for chunks, _ in self._steps],
            "video_s": [round(seconds, 3) for _, seconds in self._steps],
        }
