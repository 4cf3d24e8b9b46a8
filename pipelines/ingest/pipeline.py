"""The ingest job: videos in, committed indexes out.

::

    sources ─▶ plan (tasks: hash, skip what is committed, cut into chunks) ─▶ prefill (actors with the model) ─▶ rows
                                                                               ▲ frames, in order, from decode tasks

The unit that moves is a video, because prefill is a recurrence over its chunks and Ray Data does not keep rows of one
video on one actor. Frames come to the actor from tasks of their own; KVs go from the actor straight to the archive.
What is committed is skipped, so an interrupted job is resumed by running it again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from pipelines.ingest.cluster import quiet_ray_data, ray_cluster
from pipelines.ingest.events import Event, JobStarted, OnProgress, RowFinished
from pipelines.ingest.follow import follow
from pipelines.ingest.job import Decoder, Job, ModelChoice
from pipelines.ingest.ledger import Ledger, new_run_id
from pipelines.ingest.model import model_facts
from pipelines.ingest.plan import PLAN_CPUS, plan_row
from pipelines.ingest.prefill import PrefillStage
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.sources import expand_sources
from pipelines.ingest.summary import IngestSummary
from pipelines.ingest.tracker import running_tracker
from videox2l.config import CompressionConfig, SamplingConfig, to_dict
from videox2l.errors import ArchiveNotFoundError, ConfigError
from videox2l.identity import source_url
from videox2l.kv import Level
from videox2l.models.registry import TINY
from videox2l.prefill.append import check_settings, known_recordings
from videox2l.prefill.chunks import check_codecs
from videox2l.prefill.ingest import wall_clock
from videox2l.store import DEFAULT_CODECS, Archive
from videox2l.store.storage import Storage
from videox2l.video import decode_chunks

# A task a block: enough to keep any cluster planning, without thousands of tasks for thousands of clips.
_PLAN_BLOCKS = 1000

# A two-hour 4K film may take minutes to be indexed, and a far keyframe to be decoded from; a hang takes for ever.
DECODE_TIMEOUT_S = 900.0


def ingest(
    sources: Sequence[str | Path],
    archive_url: str | Path,
    *,
    model: str = TINY,
    sampling: SamplingConfig | None = None,
    compression: CompressionConfig | None = None,
    dtype: str | None = None,
    device: str | None = None,
    prefill_actors: int = 1,
    gpus_per_actor: float | None = None,
    cpus_per_actor: float = 1,
    decode_timeout_s: float = DECODE_TIMEOUT_S,
    decoder: Decoder = decode_chunks,
    on_progress: OnProgress | None = None,
    storage_options: Mapping[str, Any] | None = None,
    ledger: str | Path | None = None,
    codecs: Mapping[Level, str] = DEFAULT_CODECS,
    append: bool = False,
    append_to: str | None = None,
    replace: bool = False,
    recorded_at: str | None = None,
    dry_run: bool = False,
) -> IngestSummary:
    """Prefill many videos on Ray and commit each to an archive, which is made if there is none.

    A video that cannot be ingested becomes a row with ``status="failed"`` and its reason; the others go on. Videos
    that are in the archive with the same model and settings, and repeated contents, are skipped. Every row is in the
    ledger, ``runs/<run id>.jsonl`` in the archive.

    :param sources: files, URLs, folders, globs or lists; see :func:`~pipelines.ingest.sources.expand_sources`.
    :param archive_url: a folder or any fsspec URL; ``storage_options`` go to its file system.
    :param model: as for :func:`videox2l.load_model`, and so are ``dtype`` and ``device``. Paths must exist on all
        machines. The default device is a GPU if the cluster has one when the job starts.
    :param compression: the default is the model's own.
    :param prefill_actors: processes that hold the model. Each takes ``gpus_per_actor`` (default: 1 on CUDA, 0 on a CPU)
        and ``cpus_per_actor``; on a CPU the latter, rounded up, is also its number of threads.
    :param decode_timeout_s: longest time in seconds that a decoding process may yield nothing before its video fails.
    :param decoder: how frames are decoded, in place of :func:`videox2l.video.decode_chunks`.
    :param on_progress: called with every :data:`~pipelines.ingest.events.Event`.
    :param ledger: a local file that gets a copy of the ledger, line by line.
    :param codecs: how each level is stored; see :mod:`videox2l.kv.codecs`.
    :param append: continue the indexes of recordings that have grown, known by their path or URL, without prefilling
        their past again; see :func:`videox2l.prefill.append_video`. Other videos are ingested as always.
    :param append_to: the one video given continues this one of the archive, whatever its path was.
    :param replace: videos that are in the archive are ingested again, in place of their indexes made by this model.
    :param recorded_at: wall-clock time of the one video's beginning, ISO 8601 with its offset from UTC.
    :param dry_run: only plan. Rows have ``status="planned"`` and the expected bytes; nothing is written.
    :raises ConfigError: nothing is found under ``sources``, or an impossible setting.
    :raises ModelError: no such model, or a damaged checkpoint. Like the next, before anything is started.
    :raises ArchiveError: the archive cannot be opened, made, or written.
    :raises KeyboardInterrupt: stopped by Ctrl-C; unfinished videos have left nothing behind.
    """
    _check(prefill_actors, cpus_per_actor, decode_timeout_s)
    check_codecs(codecs)
    append = append or append_to is not None
    began = time.monotonic()
    videos = expand_sources(sources)
    sampling = sampling or SamplingConfig()
    _check_single(videos, append_to=append_to, recorded_at=recorded_at)
    recorded_at = None if recorded_at is None else wall_clock(recorded_at)
    if append and replace:
        raise ConfigError("an index is either continued or replaced: give append or replace, not both")
    if append:
        check_settings(sampling, codecs)
    archive = _open_archive(archive_url, storage_options, create=not dry_run)

    with ray_cluster(prefill_actors, cpus_per_actor), quiet_ray_data(), running_tracker() as tracker:
        choice = ModelChoice(model, device or _default_device(), dtype)
        gpus = gpus_per_actor if gpus_per_actor is not None else float(choice.device.startswith("cuda"))
        facts = model_facts(choice, sampling, compression, codecs, gpus=gpus)
        recordings = _recordings(archive, videos, facts.spec.index_fp, append_to) if append else {}
        job = Job(
            archive,
            choice,
            facts,
            sampling,
            dry_run,
            decoder,
            decode_timeout_s,
            replace=replace,
            recorded_at=recorded_at,
            recordings=recordings,
        )

        dataset = ray.data.from_items(
            [{"source": video} for video in videos], override_num_blocks=min(len(videos), _PLAN_BLOCKS)
        ).map(plan_row, fn_kwargs={"job": job, "tracker": tracker}, num_cpus=PLAN_CPUS)
        if not dry_run:
            dataset = dataset.map(
                PrefillStage,
                fn_constructor_kwargs={"job": job, "tracker": tracker, "threads": math.ceil(cpus_per_actor)},
                compute=_actor_pool(prefill_actors, len(videos)),
                num_cpus=cpus_per_actor,
                num_gpus=gpus,
            )

        storage, run_id = Storage(archive_url, storage_options), new_run_id()
        log = None if dry_run else Ledger(storage, run_id, _settings(job), Path(ledger) if ledger else None)
        rows: dict[str, IngestRow] = {}

        def hear(event: Event) -> None:
            if isinstance(event, RowFinished):
                rows[event.row.source] = event.row
                if log is not None:
                    log.record(event.row)
            if on_progress is not None:
                on_progress(event)

        with log or nullcontext():
            hear(JobStarted(len(videos)))
            follow(dataset, tracker, hear)

    ordered = tuple(rows[video] for video in videos)
    return IngestSummary(run_id, storage.url, ordered, time.monotonic() - began, log.url if log else "")


def _settings(job: Job) -> dict[str, Any]:
    """What a ledger says about its run."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": job.model.name,
        "model_fingerprint": job.facts.spec.model_fingerprint,
        "index_fp": job.facts.spec.index_fp,
        "sampling": to_dict(job.sampling),
        "compression": to_dict(job.facts.compression),
        "codecs": dict(job.facts.spec.codecs),
    }


def _recordings(archive: Archive | None, videos: Sequence[str], index_fp: str, append_to: str | None) -> dict[str, str]:
    """The stored videos that ``videos`` may continue, by their path or URL."""
    if archive is None:
        return {}
    if append_to is not None:
        return {source_url(videos[0]): archive.resolve(append_to)}
    known, wanted = known_recordings(archive, index_fp), {source_url(video) for video in videos}
    return {url: video_id for url, video_id in known.items() if url in wanted}


def _actor_pool(actors: int, videos: int) -> ActorPoolStrategy:
    # With two videos at an actor, the second one decodes ahead. That is no use if each actor gets only one, and would
    # then leave others idle.
    at_once = 2 if videos > actors else 1
    return ActorPoolStrategy(
        size=actors,
        max_tasks_in_flight_per_actor=at_once,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=True,
    )


def _open_archive(url: str | Path, storage_options: Mapping[str, Any] | None, *, create: bool) -> Archive | None:
    try:
        return Archive.open(url, create=create, storage_options=storage_options)
    except ArchiveNotFoundError:
        return None  # for a dry run there is nothing to skip then


def _default_device() -> str:
    return "cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"


def _check_single(videos: Sequence[str], **given: str | None) -> None:
    for name, value in given.items():
        if value is not None and len(videos) > 1:
            raise ConfigError(f"{name} belongs to one video, but {len(videos)} were given: ingest them one by one")


def _check(prefill_actors: int, cpus_per_actor: float, decode_timeout_s: float) -> None:
    if prefill_actors < 1:
        raise ConfigError(f"prefill_actors must be at least 1, got {prefill_actors}")
    if not (math.isfinite(cpus_per_actor) and cpus_per_actor > 0):
        raise ConfigError(f"cpus_per_actor must be above 0, got {cpus_per_actor}")
    if not (math.isfinite(decode_timeout_s) and decode_timeout_s > 0):
        raise ConfigError(f"decode_timeout_s must be above 0 seconds, got {decode_timeout_s}")
