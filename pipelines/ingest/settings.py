"""What an operator can turn about an ingest, in one place: what the command line, a YAML file and the ledger hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.ingest.job import JOURNAL_EVERY_S
from pipelines.parallel.placement import START_TIMEOUT_S
from videox2l.config import CompressionConfig, SamplingConfig, to_dict
from videox2l.errors import ConfigError
from videox2l.kv import Level
from videox2l.models.registry import TINY
from videox2l.prefill.append import check_settings
from videox2l.prefill.chunks import check_codecs
from videox2l.prefill.ingest import wall_clock
from videox2l.store import DEFAULT_CODECS

# A two-hour 4K film may take minutes to be indexed, and a far keyframe to be decoded from; a hang takes for ever.
DECODE_TIMEOUT_S = 900.0

# Storage services that restart or throttle are back within a minute; five cover a failed-over one.
STORAGE_PATIENCE_S = 300.0

# Beyond anything that is only slow: a machine that starts (half an hour), a decoder that hangs twice (half an hour), an
# archive that is waited for, a file of a hundred gigabytes that is hashed, a chunk of a large model on a few CPUs.
STALL_TIMEOUT_S = 7200.0

# A log that is read the next morning: 120 lines an hour.
PROGRESS_EVERY_S = 30.0


@dataclass(frozen=True)
class IngestSettings:
    """How videos are ingested. Impossible settings raise :class:`ConfigError` (or ``AppendError``) when it is made.

    ``model``, ``device`` and ``dtype`` are as for :func:`videox2l.load_model`. Paths must exist on all machines. The
    default device is a GPU if the cluster has one when the job starts.
    ``compression``: the default is the model's own.
    ``codecs``: how each level is stored; see :mod:`videox2l.kv.codecs`.
    ``prefill_actors``: processes that hold the model. Each takes ``gpus_per_actor`` (default: 1 on CUDA, 0 on a CPU)
    and ``cpus_per_actor``; on a CPU the latter, rounded up, is also its number of threads.
    ``memory_per_actor_gib``: device memory that such a process may take, the model's weights included. A model that
    needs more is refused, a video that does fails before its prefill. The default is what is free on the device when
    the job starts, shared out among the processes there.
    ``videos_per_actor``: of which each takes chunks through the model together, a gain where chunks are small. KVs then
    differ by rounding from those of a video alone, and from one run to the next. A video that leaves no room in memory
    for so many is prefilled alone.
    ``tensor_parallel``: processes that hold the model together, for one that is too large for one device. There is one
    such group, and each process of it takes what is said of an actor. They are waited for ``placement_timeout_s``
    seconds on a cluster that may grow.
    ``decode_timeout_s``: longest time in seconds that a decoding process may yield nothing before its video fails.
    ``append``: continue the indexes of recordings that have grown, known by their path or URL, without prefilling their
    past again; see :func:`videox2l.prefill.append_video`. Other videos are ingested as always.
    ``append_to``: the one video given continues this one of the archive, whatever its path was.
    ``replace``: videos that are in the archive are ingested again, in place of their indexes made by this model.
    ``recorded_at``: wall-clock time of the one video's beginning, ISO 8601 with its offset from UTC.
    ``progress_every_s``: without a terminal, seconds between two lines that say how far the job is.
    ``journal_every_s``: seconds of work after which what is done of a video is noted, so that a process that dies loses
    no more; 0: after each chunk. Only with lossless codecs.
    ``storage_patience_s``: how long in seconds an archive that does not answer is waited for before the job ends.
    ``stall_timeout_s``: after so many seconds in which no video was planned and no chunk prefilled, the job ends.
    ``retry_quarantined``: try videos again that failed by their own fault before.
    ``thumbnails``: also store a small picture of each chunk.
    ``retriever``: also store what this retriever makes of each chunk, for ``--select retriever``; ``own`` or a
    checkpoint of a CLIP or SigLIP, see :func:`videox2l.models.retriever.load_retriever`.
    """

    model: str = TINY
    device: str | None = None
    dtype: str | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    compression: CompressionConfig | None = None
    codecs: Mapping[Level, str] = field(default_factory=lambda: DEFAULT_CODECS)
    prefill_actors: int = 1
    gpus_per_actor: float | None = None
    cpus_per_actor: float = 1
    memory_per_actor_gib: float | None = None
    videos_per_actor: int = 1
    tensor_parallel: int = 1
    placement_timeout_s: float = START_TIMEOUT_S
    decode_timeout_s: float = DECODE_TIMEOUT_S
    append: bool = False
    append_to: str | None = None
    replace: bool = False
    recorded_at: str | None = None
    progress_every_s: float = PROGRESS_EVERY_S
    journal_every_s: float = JOURNAL_EVERY_S
    storage_patience_s: float = STORAGE_PATIENCE_S
    stall_timeout_s: float = STALL_TIMEOUT_S
    retry_quarantined: bool = False
    thumbnails: bool = True
    retriever: str | None = None

    def __post_init__(self) -> None:
        for name in ("prefill_actors", "videos_per_actor", "tensor_parallel"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.tensor_parallel > 1 and self.prefill_actors > 1:
            raise ConfigError(
                "a model over several devices prefills in one group: give tensor_parallel or prefill_actors, not both"
            )
        if self.tensor_parallel > 1 and self.videos_per_actor > 1:
            raise ConfigError("a model over several devices prefills one video at a time: leave out videos_per_actor")
        if self.tensor_parallel > 1 and self.gpus_per_actor not in (None, 0, 1):
            raise ConfigError(f"each rank of a model takes a whole GPU, not {self.gpus_per_actor} (gpus_per_actor)")
        for name in ("journal_every_s", "storage_patience_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name} must be 0 or more, got {value}")
        above_zero = (
            "cpus_per_actor",
            "memory_per_actor_gib",
            "placement_timeout_s",
            "decode_timeout_s",
            "progress_every_s",
            "stall_timeout_s",
        )
        for name in above_zero:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be above 0, got {value}")
        check_codecs(self.codecs)
        if self.recorded_at is not None:
            wall_clock(self.recorded_at)
        if self.continues and self.replace:
            raise ConfigError("an index is either continued or replaced: give append or replace, not both")
        if self.continues:
            check_settings(self.sampling, self.codecs)

    @property
    def continues(self) -> bool:
        """Whether recordings that have grown are continued."""
        return self.append or self.append_to is not None

    @property
    def actor_memory_bytes(self) -> int | None:
        """``memory_per_actor_gib`` in bytes."""
        return None if self.memory_per_actor_gib is None else round(self.memory_per_actor_gib * 2**30)

    def check_sources(self, videos: int) -> None:
        """Raise :class:`ConfigError` if a setting belongs to one video, but there are several."""
        for name in ("append_to", "recorded_at"):
            if getattr(self, name) is not None and videos > 1:
                raise ConfigError(f"{name} belongs to one video, but {videos} were given: ingest them one by one")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return to_dict(dataclasses.replace(self, codecs=dict(self.codecs)))
