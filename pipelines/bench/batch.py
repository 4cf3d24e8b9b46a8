"""The time of a batch beside that of asking one by one, measured in turn: ``videox2l bench batch``."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.table import Table

from pipelines.batch import BatchSettings, batch
from pipelines.bench.random_archive import write_videos
from pipelines.bench.rows.process_memory import MemorySampler
from pipelines.bench.rows.report import Report, Section, Setup, row_of
from pipelines.bench.rows.timing import Times
from pipelines.ingest.cluster import ray_cluster
from videox2l.answering import ResidentVideo, ask
from videox2l.config import GenerationConfig
from videox2l.models import KVCompressibleModel, load_model
from videox2l.store import Archive

# Of the clips that the bundled model was trained on: about two minutes.
_CHUNKS = 16

# What is asked before anything is timed.
_WARM_UP = 3


@dataclass(frozen=True)
class BatchFigures:
    """Seconds that all questions took: of a batch, and one by one on as many CPU threads as there are ``actors``.

    ``ready``: from when an actor has its model. ``whole``: of the whole call, on a Ray that runs already. The second
    way of both is one by one. ``same_answers``: how many of all. Peaks are of all processes, also of the one that asks
    one by one.
    """

    model: str
    dtype: str
    actors: int
    slots: int
    max_new_tokens: int
    videos: int
    questions: int
    answer_tokens: float
    ready: Times
    whole: Times
    same_answers: int


def bench_batch(
    model: str = "tiny",
    *,
    videos: int = 4,
    questions: int = 96,
    max_new_tokens: int = 64,
    slots: int = 32,
    actors: int = 1,
    repeats: int = 3,
    progress: Callable[[str], None] = lambda _: None,
) -> BatchFigures:
    """Ask ``questions`` of each of ``videos`` of random KVs, both ways, ``repeats`` times in turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(actors)  # both sides have as many cores
    try:
        with tempfile.TemporaryDirectory() as folder, ray_cluster(actors, 1.0):
            return _measure(
                Path(folder),
                load_model(model, device="cpu"),
                model,
                videos,
                questions,
                max_new_tokens,
                slots,
                actors,
                repeats,
                progress,
            )
    finally:
        torch.set_num_threads(threads)


def _measure(
    folder: Path,
    loaded: KVCompressibleModel,
    model: str,
    videos: int,
    questions: int,
    max_new_tokens: int,
    slots: int,
    actors: int,
    repeats: int,
    progress: Callable[[str], None],
) -> BatchFigures:
    archive = Archive.open(folder / "archive", create=True)
    ids = write_videos(archive, loaded, videos, _CHUNKS)
    rows = [
        {"video": video, "question": f"{number}: which scene comes right after the red circle scene?"}
        for number in range(questions)
        for video in ids
    ]
    generation = GenerationConfig(max_new_tokens)
    settings = BatchSettings(model, device="cpu", generation=generation, slots=slots, actors=actors)

    def one_by_one(count: int) -> tuple[float, list[str]]:
        """As a loop over ``ask`` does that opens each video once."""
        began = time.perf_counter()
        resident = {video: ResidentVideo(loaded, archive.open_index(video)) for video in ids}
        texts = [
            ask(loaded, resident[row["video"]], row["question"], generation=generation).text for row in rows[:count]
        ]
        return time.perf_counter() - began, texts

    one_by_one(_WARM_UP)
    alone, ready, whole = list[float](), list[float](), list[float]()
    same = 0
    with MemorySampler() as memory:
        for number in range(repeats):
            progress(f"one by one, {number + 1} of {repeats}")
            seconds, texts = one_by_one(len(rows))
            alone.append(seconds)
            progress(f"batch, {number + 1} of {repeats}")
            out = folder / f"answers-{number}.parquet"
            began = time.perf_counter()
            summary = batch(pa.Table.from_pylist(rows), out, archive.url, settings)
            whole.append(time.perf_counter() - began)
            ready.append(summary.answering_s)
            answers = pq.read_table(out)["answer"].to_pylist()
            same = sum(a == b for a, b in zip(texts, answers, strict=True))
    peak = memory.peak or None
    return BatchFigures(
        model=model,
        dtype=loaded.geometry.dtype,
        actors=actors,
        slots=slots,
        max_new_tokens=max_new_tokens,
        videos=videos,
        questions=len(rows),
        answer_tokens=summary.answer_tokens / len(rows),
        ready=Times((tuple(ready), tuple(alone)), peak),
        whole=Times((tuple(whole), tuple(alone)), peak),
        same_answers=same,
    )


def report(figures: BatchFigures) -> Report:
    """A batch beside the same questions one by one: without its start, and with it."""
    case = (
        f"questions {figures.questions}, videos {figures.videos}, tokens at most {figures.max_new_tokens}, "
        f"actors {figures.actors} of {figures.slots} slots"
    )
    rows = tuple(
        row_of(times, part="batch", case=case + how, chunks=_CHUNKS, bound="the same questions, one by one with `ask`")
        for how, times in (("", figures.ready), (", with its start", figures.whole))
    )
    setup = Setup(figures.model, "cpu", figures.dtype, threads=1)
    return Report((Section(setup, rows),), {"batch": dataclasses.asdict(figures)})


def table(figures: BatchFigures) -> Table:
    """The figures for people."""
    title = f"{figures.questions} questions about {figures.videos} videos, {figures.answer_tokens:.1f} tokens an answer"
    shown = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for heading in ("", "questions a second", "times as fast"):
        shown.add_column(heading, justify="left" if not heading else "right")
    one_by_one, started_s = figures.ready.median(1), figures.whole.median() - figures.ready.median()
    threads = f"{figures.actors} thread{'s' if figures.actors > 1 else ''}"
    shown.add_row(f"one by one with ask, {threads}", f"{figures.questions / one_by_one:.1f}", "")
    processes = f"batch, {figures.actors} process{'es' if figures.actors > 1 else ''} of one thread"
    for name, times in ((processes, figures.ready), (f"batch with its start ({started_s:.1f} s)", figures.whole)):
        shown.add_row(name, f"{figures.questions / times.median():.1f}", f"{1 / times.ratio():.2f}x")
    shown.add_row(f"same answers: {figures.same_answers} of {figures.questions}")
    return shown
