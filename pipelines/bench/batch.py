"""Questions a second of a batch, against asking one by one; on the bundled model, in one run."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.table import Table

from pipelines.batch import BatchSettings, batch
from pipelines.bench.random_archive import write_videos
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
class BatchReport:
    """Questions a second: ``one_by_one`` on as many CPU threads as there are ``actors``, and of a ``batch`` from when
    an actor has its model.

    ``batch_whole``: of the whole call, on a Ray that runs already. ``started_s``: what that adds, in seconds.
    ``ratio``: the median over pairs that were measured in turn. ``same_answers``: how many of all.
    """

    actors: int
    videos: int
    questions: int
    answer_tokens: float
    one_by_one: float
    batch: float
    batch_whole: float
    started_s: float
    ratio: float
    ratio_whole: float
    same_answers: int

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


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
) -> BatchReport:
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
) -> BatchReport:
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
        return count / (time.perf_counter() - began), texts

    one_by_one(_WARM_UP)
    pairs: list[tuple[float, float, float]] = []
    same = 0
    for number in range(repeats):
        progress(f"one by one, {number + 1} of {repeats}")
        alone, texts = one_by_one(len(rows))
        progress(f"batch, {number + 1} of {repeats}")
        out = folder / f"answers-{number}.parquet"
        began = time.perf_counter()
        summary = batch(pa.Table.from_pylist(rows), out, archive.url, settings)
        whole = len(rows) / (time.perf_counter() - began)
        answers = pq.read_table(out)["answer"].to_pylist()
        same = sum(a == b for a, b in zip(texts, answers, strict=True))
        pairs.append((alone, summary.per_second, whole))
    alone_s, batch_s, whole_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return BatchReport(
        actors,
        videos,
        len(rows),
        summary.answer_tokens / len(rows),
        alone_s,
        batch_s,
        whole_s,
        len(rows) / whole_s - len(rows) / batch_s,
        statistics.median(pair[1] / pair[0] for pair in pairs),
        statistics.median(pair[2] / pair[0] for pair in pairs),
        same,
    )


def batch_table(report: BatchReport) -> Table:
    """The figures for people."""
    title = f"{report.questions} questions about {report.videos} videos, {report.answer_tokens:.1f} tokens an answer"
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for heading in ("", "questions a second", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right")
    threads = f"{report.actors} thread{'s' if report.actors > 1 else ''}"
    table.add_row(f"one by one with ask, {threads}", f"{report.one_by_one:.1f}", "")
    table.add_row(
        f"batch, {report.actors} process{'es' if report.actors > 1 else ''} of one thread",
        f"{report.batch:.1f}",
        f"{report.ratio:.2f}x",
    )
    table.add_row(
        f"batch with its start ({report.started_s:.1f} s)", f"{report.batch_whole:.1f}", f"{report.ratio_whole:.2f}x"
    )
    table.add_row(f"same answers: {report.same_answers} of {report.questions}")
    return table
