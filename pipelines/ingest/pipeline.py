"""The ingest job: videos in, committed indexes out.

::

    sources, longest first
       └─▶ plan (tasks: hash, skip what is committed, cut into chunks)
              └─▶ prefill (actors with the model; frames come in order from decode tasks) ─▶ rows

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
from pipelines.ingest.order import longest_first
from pipelines.ingest.plan import PLAN_CPUS, plan_row
from pipelines.ingest.prefill import PrefillStage
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.settings import IngestSettings
from pipelines.ingest.sources import expand_sources
from pipelines.ingest.summary import IngestSummary
from pipelines.ingest.tracker import running_tracker
from videox2l.config import to_dict
from videox2l.errors import ArchiveNotFoundError
from videox2l.identity import source_url
from videox2l.prefill.append import known_recordings
from videox2l.prefill.ingest import wall_clock
from videox2l.store import Archive
from videox2l.store.storage import Storage
from videox2l.video import decode_chunks

# A task a block: enough to keep any cluster planning, without thousands of tasks for thousands of clips.
_PLAN_BLOCKS = 1000


def ingest(
    sources: Sequence[str | Path],
    archive_url: str | Path,
    settings: IngestSettings | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    ledger: str | Path | None = None,
    decoder: Decoder = decode_chunks,
    on_progress: OnProgress | None = None,
    dry_run: bool = False,
) -> IngestSummary:
    """Prefill many videos on Ray and commit each to an archive, which is made if there is none.

    A video that cannot be ingested becomes a row with ``status="failed"`` and its reason; the others go on. Videos
    that are in the archive with the same model and settings, and repeated contents, are skipped. Every row is in the
    ledger, ``runs/<run id>.jsonl`` in the archive.

    :param sources: files, URLs, folders, globs or lists; see :func:`~pipelines.ingest.sources.expand_sources`.
    :param archive_url: a folder or any fsspec URL; ``storage_options`` go to its file system.
    :param ledger: a local file that gets a copy of the ledger, line by line.
    :param decoder: how frames are decoded, in place of :func:`videox2l.video.decode_chunks`.
    :param on_progress: called with every :data:`~pipelines.ingest.events.Event`.
    :param dry_run: only plan. Rows have ``status="planned"`` and the expected bytes; nothing is written.
    :raises ConfigError: nothing is found under ``sources``, or a setting that they do not allow.
    :raises ModelError: no such model, or a damaged checkpoint. Like the next, before anything is started.
    :raises ArchiveError: the archive cannot be opened, made, or written.
    :raises KeyboardInterrupt: stopped by Ctrl-C; unfinished videos have left nothing behind.
    """
    settings = settings or IngestSettings()
    began = time.monotonic()
    videos = expand_sources(sources)
    settings.check_sources(len(videos))
    archive = _open_archive(archive_url, storage_options, create=not dry_run)

    with (
        ray_cluster(settings.prefill_actors, settings.cpus_per_actor),
        quiet_ray_data(),
        running_tracker() as tracker,
    ):
        choice = ModelChoice(settings.model, settings.device or _default_device(), settings.dtype)
        on_gpu = float(choice.device.startswith("cuda"))
        gpus = settings.gpus_per_actor if settings.gpus_per_actor is not None else on_gpu
        facts = model_facts(choice, settings.sampling, settings.compression, settings.codecs, gpus=gpus)
        job = Job(
            archive,
            choice,
            facts,
            settings.sampling,
            dry_run,
            decoder,
            settings.decode_timeout_s,
            replace=settings.replace,
            recorded_at=None if settings.recorded_at is None else wall_clock(settings.recorded_at),
            recordings=_recordings(archive, videos, facts.spec.index_fp, settings),
        )

        dataset = ray.data.from_items(
            [{"source": video} for video in longest_first(videos, str)],
            override_num_blocks=min(len(videos), _PLAN_BLOCKS),
        ).map(plan_row, fn_kwargs={"job": job, "tracker": tracker}, num_cpus=PLAN_CPUS)
        if not dry_run:
            threads = math.ceil(settings.cpus_per_actor)
            dataset = dataset.map(
                PrefillStage,
                fn_constructor_kwargs={"job": job, "tracker": tracker, "threads": threads},
                compute=_actor_pool(settings.prefill_actors, len(videos)),
                num_cpus=settings.cpus_per_actor,
                num_gpus=gpus,
            )

        storage, run_id = Storage(archive_url, storage_options), new_run_id()
        log = None if dry_run else Ledger(storage, run_id, _about(job, settings), Path(ledger) if ledger else None)
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


def _about(job: Job, settings: IngestSettings) -> dict[str, Any]:
    """What a ledger says about its run: when, and with which settings in effect."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "model_fingerprint": job.facts.spec.model_fingerprint,
        "index_fp": job.facts.spec.index_fp,
        "settings": settings.to_dict() | {"compression": to_dict(job.facts.compression), "device": job.model.device},
    }


def _recordings(
    archive: Archive | None, videos: Sequence[str], index_fp: str, settings: IngestSettings
) -> dict[str, str]:
    """The stored videos that ``videos`` may continue, by their path or URL."""
    if archive is None or not settings.continues:
        return {}
    if settings.append_to is not None:
        return {source_url(videos[0]): archive.resolve(settings.append_to)}
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
