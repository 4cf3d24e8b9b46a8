"""The work of an ingest without the pipeline: one stage after the other in one process, nothing waited for.

It is what the pipeline's time is held against. A lower bound, and a strict one: two processes on two cores share caches
and memory, and so are each slower than one alone.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.bench.prefill import device_name
from pipelines.ingest import IngestSettings
from pipelines.ingest.pipeline import ONE_THREAD
from videox2l.models import load_model
from videox2l.prefill import prefill_chunks
from videox2l.prefill.chunks import index_spec, timeline_of
from videox2l.store import Archive
from videox2l.video import DecodedChunk, plan_video


@dataclass(frozen=True)
class BareWork:
    """Seconds, over all videos. ``plan``: hash, and reading the packets. ``prefill``: both passes, vision and storing.

    ``first``: what nothing can run beside, as it comes before the first chunk: the first video's plan.
    ``on_gpu``: whether prefill leaves the processors to decoding. ``model``, ``device``, ``dtype`` and ``threads`` are
    those of a prefill worker.
    """

    first: float
    plan: float
    decode: float
    prefill: float
    on_gpu: bool
    model: str
    device: str
    dtype: str
    threads: int

    def least_s(self, actors: int, cpus: int) -> float:
        """The least that it can take: the prefill of so many actors, or the work of so many processors."""
        processors = self.plan + self.decode + (0 if self.on_gpu else self.prefill)
        return self.first + max(self.prefill / actors, (processors - self.first) / cpus)


def bare_work(videos: Sequence[Path], archive: Path, settings: IngestSettings) -> BareWork:
    """Ingest ``videos`` into a new archive in a new process, which has as many threads as a prefill worker."""
    settings = dataclasses.replace(
        settings, codecs=dict(settings.codecs)
    )  # the default is a view, which no pickle takes
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_bare_work, videos, archive, settings).result()


def _bare_work(videos: Sequence[Path], folder: Path, settings: IngestSettings) -> BareWork:
    torch.set_num_threads(max(1, round(settings.cpus_per_actor)))
    model = load_model(settings.model, device=settings.device, dtype=settings.dtype)
    compression = settings.compression or model.default_compression
    spec = index_spec(model, settings.sampling, compression, settings.codecs)
    archive = Archive.open(folder, create=True)
    plan_s, decode_s, prefill_s = [], 0.0, 0.0
    for video in videos:
        began = time.perf_counter()
        identity = archive.identify(video)
        plan = plan_video(video, settings.sampling, compression.frames_per_chunk)
        planned = time.perf_counter()
        frames = _Timed(ONE_THREAD(str(video), plan.chunks, model.frame_format))
        with archive.create_index(identity, spec) as writer:
            prefill_chunks(model, compression, frames, len(plan.chunks), writer, timeline=timeline_of(plan.chunks))
            writer.commit()
        plan_s.append(planned - began)
        decode_s += frames.seconds
        prefill_s += time.perf_counter() - planned - frames.seconds
    device, dtype = model.decoder.device, model.decoder.dtype
    return BareWork(
        first=plan_s[0],
        plan=sum(plan_s),
        decode=decode_s,
        prefill=prefill_s,
        on_gpu=device.type == "cuda",
        model=settings.model,
        device=device_name(device),
        dtype=str(dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
    )


class _Timed:
    """Iterates over ``chunks``; ``seconds`` is how long they took to come."""

    def __init__(self, chunks: Iterator[DecodedChunk]) -> None:
        self._chunks = chunks
        self.seconds = 0.0

    def __iter__(self) -> Iterator[DecodedChunk]:
        return self

    def __next__(self) -> DecodedChunk:
        began = time.perf_counter()
        try:
            return next(self._chunks)
        finally:
            self.seconds += time.perf_counter() - began
