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

import dataclasses
import json
import math
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from pipelines.ingest.aliases import Aliases
from pipelines.ingest.cluster import quiet_ray_data, ray_cluster
from pipelines.ingest.estimate import Prices
from pipelines.ingest.events import Event, JobStarted, OnProgress, RowFinished
from pipelines.ingest.follow import follow
from pipelines.ingest.job import Decoder, Job, ModelChoice, ModelFacts
from pipelines.ingest.ledger import Ledger, new_run_id
from pipelines.ingest.logs import LoggedDecoder
from pipelines.ingest.memory import Share
from pipelines.ingest.metrics import IngestMetrics
from pipelines.ingest.model import model_facts
from pipelines.ingest.order import longest_first
from pipelines.ingest.plan import PLAN_CPUS, PlanStage
from pipelines.ingest.prefill import PrefillStage
from pipelines.ingest.ranks import prefill_place
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.settings import IngestSettings
from pipelines.ingest.sources import VideoRequest, check_some_exist, requests_for
from pipelines.ingest.summary import IngestSummary
from pipelines.ingest.tracker import running_tracker
from pipelines.local_ray import named_cluster
from videox2l.config import to_dict
from videox2l.errors import ArchiveNotFoundError
from videox2l.identity import source_url
from videox2l.models.registry import check_model_name
from videox2l.models.retriever import check_retriever
from videox2l.prefill.append import known_recordings
from videox2l.store import Archive
from videox2l.store.storage import Storage
from videox2l.video import decode_chunks

# A task a block: enough to keep any cluster planning, without thousands of tasks for thousands of clips.
_PLAN_BLOCKS = 1000

# Planning reads a file once, at the pace of its disk; decoding takes ten times as long. Each planner more is a process
# more that starts when the first frames are waited for.
_CPUS_PER_PLANNER = 4

# Decoding processes have one CPU each, and there are several to a video.
ONE_THREAD: Decoder = partial(decode_chunks, threads=1)

# What decides how frames look, how KVs come out and how they are stored; a run's record names their versions.
_PACKAGES = ("videox2l", "torch", "transformers", "av", "ray", "pyarrow")


def ingest(
    sources: Sequence[str | Path | VideoRequest],
    archive_url: str | Path,
    settings: IngestSettings | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    ledger: str | Path | None = None,
    decoder: Decoder = ONE_THREAD,
    on_progress: OnProgress | None = None,
    dry_run: bool = False,
    prices: Prices | None = None,
    stop: threading.Event | None = None,
) -> IngestSummary:
    """Prefill many videos on Ray and commit each to an archive, which is made if there is none.

    A video that cannot be ingested becomes a row with ``status="failed"`` and its reason; the others go on. Videos
    that are in the archive with the same model and settings, and repeated contents, are skipped. Every row is in the
    ledger, ``runs/<run id>.jsonl`` in the archive.

    :param sources: files, URLs, folders, globs or lists; see :func:`~pipelines.ingest.sources.expand_sources`.
    :param archive_url: a folder or any fsspec URL; ``storage_options`` go to its file system.
    :param ledger: a local file that gets a copy of the ledger, line by line.
    :param decoder: how frames are decoded, in place of :func:`videox2l.video.decode_chunks` on one thread.
    :param on_progress: called with every :data:`~pipelines.ingest.events.Event`.
    :param dry_run: only plan. Rows have ``status="planned"`` and the expected bytes, and the summary has an estimate of
        the costs at these ``prices``, after a short calibration on the device; nothing is written.
    :param stop: ends the job like Ctrl-C when it is set, which a program does from another thread.
    :raises ConfigError: nothing is found under ``sources``, or a setting that they do not allow.
    :raises ModelError: no such model, a damaged checkpoint, or one that does not fit the device. Like the next, before
        anything is started.
    :raises ArchiveError: the archive cannot be opened, made, or written.
    :raises StorageFailedError: the archive refuses, is full, or stays silent. Like the next two, the same call goes on
        later where this one ended.
    :raises StalledError: nothing has happened for a long time.
    :raises KeyboardInterrupt: stopped by Ctrl-C, or by ``stop``.
    """
    settings = settings or IngestSettings()
    check_model_name(settings.model)
    began = time.monotonic()
    requests = {request.source: request for request in requests_for(sources, settings)}
    videos = list(requests)
    if not ray.is_initialized() and named_cluster() is None:
        check_some_exist(videos)  # machines of a cluster may have files that this one lacks
    archive = _open_archive(archive_url, storage_options, create=not dry_run)

    with (
        ray_cluster(settings.prefill_actors * settings.tensor_parallel, max(1, settings.cpus_per_actor)) as ours,
        quiet_ray_data(),
        running_tracker() as tracker,
        ExitStack() as stack,
    ):
        if ours and settings.retriever is not None:  # elsewhere a machine that only drives the job may lack it
            check_retriever(settings.retriever)
        choice = ModelChoice(settings.model, settings.device or _default_device(), settings.dtype)
        on_gpu = float(choice.device.startswith("cuda"))
        gpus = settings.gpus_per_actor if settings.gpus_per_actor is not None else on_gpu
        ranks, limit = settings.tensor_parallel, settings.actor_memory_bytes
        share = Share(gpus, settings.cpus_per_actor, settings.prefill_actors, ranks, limit)
        place = stack.enter_context(prefill_place(settings, gpus, fixed=ours))
        facts = model_facts(choice, settings.sampling, settings.compression, settings.codecs, share, place)
        job = Job(
            # Not before: a wrong address should be said at once.
            None if archive is None else archive.patient(settings.storage_patience_s),
            choice,
            facts,
            settings.sampling,
            dry_run,
            LoggedDecoder(decoder),
            settings.decode_timeout_s,
            replace=settings.replace,
            recordings=_recordings(archive, list(requests.values()), facts, settings),
            journal_every_s=settings.journal_every_s,
            retry_quarantined=settings.retry_quarantined,
            ranks=ranks,
            videos_at_once=settings.videos_per_actor,
            thumbnails=settings.thumbnails,
            retriever=settings.retriever,
        )

        dataset = ray.data.from_items(
            [
                {"source": video, "request": json.dumps(dataclasses.asdict(requests[video]))}
                for video in longest_first(videos, str)
            ],
            override_num_blocks=min(len(videos), _PLAN_BLOCKS),
        ).map(
            PlanStage,
            fn_constructor_kwargs={"job": job, "tracker": tracker},
            compute=ActorPoolStrategy(size=_planners(len(videos))),
            num_cpus=PLAN_CPUS,
        )
        if not dry_run:
            threads = math.ceil(settings.cpus_per_actor)
            dataset = dataset.map(
                PrefillStage,
                fn_constructor_kwargs={"job": job, "tracker": tracker, "threads": threads},
                compute=_actor_pool(settings.prefill_actors, settings.videos_per_actor, len(videos)),
                num_cpus=settings.cpus_per_actor,
                num_gpus=gpus,
                **place,
            )

        storage, run_id = Storage(archive_url, storage_options), new_run_id()
        about = _about(job, settings, len(videos))
        log = None if dry_run else Ledger(storage, run_id, about, Path(ledger) if ledger else None)
        aliases = None if dry_run or archive is None else Aliases(archive, requests, facts, settings.sampling)
        listeners = [
            listener
            for listener in (log and log.hear, log and IngestMetrics(), aliases and aliases.hear, on_progress)
            if listener
        ]
        rows: dict[str, IngestRow] = {}

        def hear(event: Event) -> None:
            if isinstance(event, RowFinished):
                rows[event.row.source] = event.row
            for listener in listeners:
                listener(event)

        with log or nullcontext():
            hear(JobStarted(len(videos)))
            follow(dataset, tracker, hear, settings.stall_timeout_s, stop)
        costs = None
        if dry_run and ranks == 1:  # no single device could be calibrated on otherwise
            # Answering, and with it all of transformers, is imported by dry runs only.
            from pipelines.ingest.calibration import planned_costs

            free, cpus = storage.free_bytes(), settings.cpus_per_actor
            costs = planned_costs(
                rows.values(), choice, facts, prices or Prices(), gpus=gpus, cpus=cpus, free_bytes=free
            )

    ordered = tuple(rows[video] for video in videos)
    return IngestSummary(run_id, storage.url, ordered, time.monotonic() - began, log.url if log else "", costs)


def _planners(videos: int) -> int:
    return max(1, min(videos, int(ray.cluster_resources().get("CPU", 1) / _CPUS_PER_PLANNER)))


def _about(job: Job, settings: IngestSettings, videos: int) -> dict[str, Any]:
    """What a ledger says about its run: of how many videos, with which settings in effect, by which software."""
    return {
        "videos": videos,
        "versions": {"python": platform.python_version()} | {package: version(package) for package in _PACKAGES},
        "model_fingerprint": job.facts.spec.model_fingerprint,
        "index_fp": job.facts.spec.index_fp,
        "settings": settings.to_dict() | {"compression": to_dict(job.facts.compression), "device": job.model.device},
    }


def _recordings(
    archive: Archive | None, requests: Sequence[VideoRequest], facts: ModelFacts, settings: IngestSettings
) -> dict[str, str]:
    """The stored videos that those asked for may continue, by their path or URL."""
    if archive is None or not settings.continues:
        return {}
    if settings.append_to is not None:
        return {source_url(requests[0].source): archive.resolve(settings.append_to)}
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for request in requests:
        index_fp = facts.spec_of(request.sampling(settings.sampling)).index_fp
        wanted[index_fp].add(source_url(request.source))
    return {
        url: video_id
        for index_fp, urls in wanted.items()
        for url, video_id in known_recordings(archive, index_fp).items()
        if url in urls
    }


def _actor_pool(actors: int, videos_per_actor: int, videos: int) -> ActorPoolStrategy:
    # With one video more at an actor than it prefills, that one decodes ahead. It is no use where there are not so many
    # videos, and would then leave other actors idle.
    at_once = min(videos_per_actor + 1, math.ceil(videos / actors))
    return ActorPoolStrategy(
        size=actors,
        max_tasks_in_flight_per_actor=at_once,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=True,
    )


def _open_archive(url: str | Path, storage_options: Mapping[str, Any] | None, *, create: bool) -> Archive | None:
    try:
        archive = Archive.open(url, create=create, storage_options=storage_options)
    except ArchiveNotFoundError:
        return None  # for a dry run there is nothing to skip then
    if create:
        archive.check_writable()
    return archive


def _default_device() -> str:
    return "cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu"
