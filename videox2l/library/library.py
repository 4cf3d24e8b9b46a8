"""An archive beside the model that answers about its videos."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from videox2l.answering import AnswerEngine, EngineConfig
from videox2l.answering.residents import ResidentVideos
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.library.asked import Running
from videox2l.library.video import Video
from videox2l.models import TINY, KVCompressibleModel, load_model
from videox2l.prefill import index_spec, ingest_video
from videox2l.store import Archive
from videox2l.store.byte_cache import CacheStats
from videox2l.store.metadata import MetadataValue

if TYPE_CHECKING:
    from videox2l.prefill.chunks import Progress


# A program, or a person at a terminal, rather waits for slow storage than takes the gist. Reading itself gives up then.
_PATIENCE_S = 60.0


class Library:
    """The videos of an archive, to be asked. Open it with :func:`videox2l.open`; a context manager that closes it.

    Safe to share between threads: questions of several threads are decoded together. The model is loaded by the first
    question. Whatever fails raises a :class:`~videox2l.errors.VideoX2LError` that says what to do.
    """

    def __init__(
        self,
        archive: Archive,
        model: str | KVCompressibleModel = TINY,
        *,
        device: str | None = None,
        dtype: str | None = None,
        resident_bytes: int = 4 * 2**30,
        low_memory_bytes: int = 2**30,
        engine: EngineConfig | None = None,
    ) -> None:
        """As of :func:`open`, for an archive that is open already."""
        self.archive = archive
        self._model, self._device, self._dtype = model, device, dtype
        self._resident_bytes, self._low_memory_bytes, self._config = resident_bytes, low_memory_bytes, engine
        self._lock = threading.RLock()
        self._running: Running | None = None
        self._closed = False

    @property
    def url(self) -> str:
        """Where the archive lies."""
        return self.archive.url

    @property
    def model(self) -> KVCompressibleModel:
        """The model, loaded when it is first needed. Raises what :func:`~videox2l.load_model` does."""
        with self._lock:
            if isinstance(self._model, str):
                self._model = load_model(self._model, device=self._device, dtype=self._dtype)
            return self._model

    def videos(self) -> list[Video]:
        """All videos of the archive, sorted by name. Does not load the model, which may fit only some of them."""
        return [Video(self._started, entry) for entry in self.archive.videos()]

    def video(self, video: str, *, index: str | None = None) -> Video:
        """A video by its id, the start of its id (6 digits or more), its name, path or URL.

        ``index``: the id of one of its indexes, where several fit the model; ``videox2l show`` lists them.

        :raises VideoNotFoundError: none, or several, answer to that.
        """
        return Video(self._started, self.archive.entry(video), index)

    def ingest(
        self,
        source: str | Path,
        *,
        sampling: SamplingConfig | None = None,
        compression: CompressionConfig | None = None,
        name: str | None = None,
        recorded_at: str | None = None,
        metadata: Mapping[str, MetadataValue] | None = None,
        progress: Progress | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> Video:
        """Prefill a video file, unless the archive has it with these settings already, and return it.

        One video after the other, in this process; ``videox2l ingest`` takes many at once. Questions go on meanwhile.
        ``progress(done, total)`` is told of chunks. ``recorded_at``: ISO 8601, when the recording began. ``metadata``:
        values of your own that stay with the video.

        :raises VideoError: the file cannot be used.
        """
        sampling = sampling or SamplingConfig()
        spec = index_spec(self.model, sampling, compression or self.model.default_compression)
        known = self.archive.find_index(self.archive.identify(source), spec)
        if known is not None and (name, recorded_at, metadata) == (None, None, None):
            return self.video(known.manifest.video.video_id, index=known.manifest.index_fp)
        identity, _ = ingest_video(
            self.model,
            self.archive,
            source,
            sampling=sampling,
            compression=compression,
            name=name,
            recorded_at=recorded_at,
            metadata=metadata,
            progress=progress,
            warn=warn,
        )
        return self.video(identity.video_id, index=spec.index_fp)

    def stats(self) -> dict[str, CacheStats]:
        """What is kept in memory, by kind; empty before the first question."""
        with self._lock:
            if self._running is None:
                return {}
            running = self._running
        return {**running.residents.stats(), **running.engine.stats()}

    def close(self) -> None:
        """End all threads and free what is kept. Questions under way raise."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, None
        if running is not None:
            for part in running:
                part.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        name = self._model if isinstance(self._model, str) else self._model.name
        return f"<Library {self.url}, model {name}>"

    def _started(self) -> Running:
        with self._lock:
            if self._closed:
                raise RuntimeError("the archive was closed: open it again")
            if self._running is None:
                engine = AnswerEngine(self.model, self._config or EngineConfig(low_deadline_s=_PATIENCE_S))
                residents = ResidentVideos(
                    self.archive,
                    self.model,
                    resident_bytes=self._resident_bytes,
                    low_memory_bytes=self._low_memory_bytes,
                )
                self._running = Running(engine, residents)
            return self._running


def open(  # noqa: A001 # meant to be read as `videox2l.open`
    url: str | Path,
    model: str | KVCompressibleModel = TINY,
    *,
    create: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    resident_bytes: int = 4 * 2**30,
    low_memory_bytes: int = 2**30,
    engine: EngineConfig | None = None,
) -> Library:
    """The archive at a local folder or any fsspec URL, beside a model.

    :param model: a name for :func:`~videox2l.load_model`, with ``device`` and ``dtype``; or a loaded model, which
        nobody else may use meanwhile.
    :param create: make the archive if there is none.
    :param storage_options: passed to the archive's file system.
    :param resident_bytes: budget for the high KVs of videos that were asked about; the least recently used go.
    :param low_memory_bytes: the same for low KVs.
    :param engine: how many answers are decoded together, and further budgets.
    :raises ArchiveNotFoundError: none there, and ``create`` is off.
    """
    return Library(
        Archive.open(url, create=create, storage_options=storage_options),
        model,
        device=device,
        dtype=dtype,
        resident_bytes=resident_bytes,
        low_memory_bytes=low_memory_bytes,
        engine=engine,
    )
