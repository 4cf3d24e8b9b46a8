"""The batch job: questions in, answers out.

::

    questions ─▶ plan (rows grouped by video) ─▶ answer (actors with the model; a video's questions together) ─▶ parts
                                                                                      parts ─▶ the output, at the end

The unit that moves is a video with all its questions: its high KVs are loaded once, and low KVs that several questions
choose are read once. Parts are kept until the output is written, so the same call goes on where another was ended.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy
from ray.exceptions import RayTaskError

from pipelines import calibrated
from pipelines.batch.answers import failed, to_table
from pipelines.batch.follow import follow
from pipelines.batch.output import Output, finished
from pipelines.batch.parts import Parts, newest, parts_folder, succeeded
from pipelines.batch.plan import Unit, digest, make_plan
from pipelines.batch.questions import read_table
from pipelines.batch.settings import BatchSettings
from pipelines.batch.stage import AnswerStage, Job
from pipelines.batch.summary import BatchSummary
from pipelines.batch.tracker import Tracker
from pipelines.ingest.cluster import quiet_ray_data, ray_cluster
from pipelines.ingest.tracker import running_tracker
from videox2l.errors import ConfigError, VideoX2LError
from videox2l.models import load_model
from videox2l.models.registry import placement
from videox2l.selection import check_selection
from videox2l.store import Archive

OnProgress = Callable[[int, int, int, int], None]
"""Called with the questions in all, those answered by an earlier run, those stored by this one, and failed of them."""


class LostRowsError(VideoX2LError):
    """The job has ended and some questions have neither an answer nor a reason."""


def batch(
    questions: str | Path | pa.Table,
    answers: str | Path,
    archive_url: str | Path,
    settings: BatchSettings | None = None,
    *,
    videos: Sequence[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> BatchSummary:
    """Ask a table of questions of the videos of an archive on Ray, and write their answers.

    A question that fails is a row with its reason. After an interruption the same call goes on; where the output is
    Parquet and whole, it asks again what has failed.

    :param questions: a table, or where one is: Parquet, CSV or JSON Lines. Columns ``question``, ``video`` and,
        if need be, ``from``, ``to``, ``select``, ``top_k``, ``max_tokens``, ``index_id``; all columns are carried into
        the output.
    :param answers: the output, likewise.
    :param videos: ask each question of every video that fits all of these: name globs, ``key=value`` of metadata.
    :param storage_options: of the archive's file system, and of the tables where they are URLs.
    :param overwrite: replace an output of another job.
    :param on_progress: see :data:`OnProgress`.
    :param stop: ends the job like Ctrl-C when it is set.
    :raises ConfigError: something is wrong with the table, a setting or the output; nothing was asked.
    :raises ModelError: no such model, or it does not load.
    :raises ArchiveError: the archive or the output's storage cannot be reached, or refuses to be written.
    :raises KeyboardInterrupt: stopped by Ctrl-C, or by ``stop``.
    """
    settings, began = settings or BatchSettings(), time.monotonic()
    check_selection(settings.selection)
    table = questions if isinstance(questions, pa.Table) else read_table(str(questions), storage_options)
    output = Output(str(answers), storage_options)
    archive = Archive.open(archive_url, storage_options=storage_options)
    entries = archive.videos()
    if not dry_run:
        output.check()
    with ray_cluster(settings.actors, max(1.0, settings.cpus_per_actor)) as ours, quiet_ray_data():
        device = settings.device or ("cuda" if ray.cluster_resources().get("GPU", 0) > 0 else "cpu")
        fingerprint = _fingerprint(settings, device, here=ours)
        plan = make_plan(table, entries, fingerprint, videos)
        key = digest(table, plan, settings, archive.url, fingerprint)
        parts = Parts(output.storage, parts_folder(output.name), key)
        earlier = output.earlier(key)
        if earlier is None and output.exists() and not (overwrite or dry_run):
            raise ConfigError(
                f"{output.url} is there already and not of this job: other questions, settings, videos or another "
                "model. Choose another name, or give --overwrite."
            )
        known = newest(pa.concat_tables([parts.read(), *([earlier] if earlier is not None else [])]))
        done = succeeded(known) & {ask.row for asks in plan.asks.values() for ask in asks}
        units = plan.units(done)
        outside = calibrated.warnings(archive, fingerprint, plan.indexes.values(), settings.selection)
        notes = [f"outside of the archive's calibration: {said}" for said in outside]
        if parts.others():
            notes.append(f"{len(parts.others())} other job(s) left parts in {output.url}.parts; they are not used")
        summary = BatchSummary(
            output.url,
            len(plan.asks),
            len(plan.targets),
            len(done),
            dict(Counter(str(error) for error in plan.failed.values())),
            read=plan.estimated_bytes(settings),
            planned=True,
            notes=notes,
        )
        if dry_run:
            return summary
        answering_s = 0.0
        if units:
            job = Job(settings, archive, parts, device, fingerprint)
            answering_s = _ask_all(job, units, len(plan.targets), len(done), on_progress, stop)
    everything = newest(
        pa.concat_tables(
            [parts.read(), known, to_table([failed(row, error) for row, error in sorted(plan.failed.items())])]
        )
    )
    if everything.num_rows != len(plan.targets):
        raise LostRowsError(
            f"{len(plan.targets) - everything.num_rows} questions have neither an answer nor a reason: run the same "
            "command again to ask them."
        )
    output.write(finished(table, plan, everything), key)
    parts.delete()
    new = everything.filter(pa.array([row not in done for row in everything["row"].to_pylist()], pa.bool_()))
    return replace(
        _counted(summary, everything, new), wall_s=time.monotonic() - began, answering_s=answering_s, planned=False
    )


def _ask_all(
    job: Job,
    units: list[Unit],
    total: int,
    earlier: int,
    on_progress: OnProgress | None,
    stop: threading.Event | None,
) -> float:
    """Have actors answer ``units``. Returns how long that took, in seconds from when the first of them was ready."""
    settings = job.settings
    asked = sum(len(unit.asks) for unit in units)
    hopeless = total - earlier - asked  # rows that the plan could not make questions of
    gpus = settings.gpus_per_actor
    gpus = float(job.device.startswith("cuda")) if gpus is None else gpus
    with running_tracker(Tracker) as tracker:
        dataset = ray.data.from_items([{"unit": unit.to_json()} for unit in units], override_num_blocks=len(units)).map(
            AnswerStage,
            fn_constructor_kwargs={"job": job, "tracker": tracker},
            compute=_actor_pool(settings, len(units), asked),
            num_cpus=settings.cpus_per_actor,
            num_gpus=gpus,
        )

        def hear(stored: int, errors: int) -> None:
            if on_progress is not None:
                on_progress(total, earlier, stored + hopeless, errors + hopeless)

        follow(dataset, tracker, hear, stop)
        answering_s: float = ray.get(tracker.ready_ago.remote())
    return answering_s


def _actor_pool(settings: BatchSettings, units: int, questions: int) -> ActorPoolStrategy:
    # As many videos at a time as keep all slots busy, and one more, so that no gap comes where one ends.
    wanted = math.ceil(2 * settings.slots / (questions / units)) + 1
    at_once = max(1, min(wanted, 2 * settings.slots, math.ceil(units / settings.actors)))
    return ActorPoolStrategy(
        size=settings.actors,
        max_tasks_in_flight_per_actor=at_once,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=True,
    )


def _fingerprint(settings: BatchSettings, device: str, *, here: bool) -> str:
    """Of the model. Unless the actors run ``here``, it is found beside them: this machine may lack its checkpoint."""
    if here:  # a process more would take seconds to start
        return _load_fingerprint(settings.model, settings.dtype, device)
    try:
        found: str = ray.get(ray.remote(_load_fingerprint).remote(settings.model, settings.dtype, device))
    except RayTaskError as error:
        raise error.cause from None
    return found


def _load_fingerprint(model: str, dtype: str | None, device: str) -> str:
    # In the precision of the actors' device, on the CPU: a task has no GPU.
    if device.startswith("cuda") and dtype is None:
        dtype = "bfloat16"
    _, chosen = placement("cpu", dtype)
    return load_model(model, device="cpu", dtype=chosen).identity.fingerprint


def _counted(summary: BatchSummary, everything: pa.Table, new: pa.Table) -> BatchSummary:
    """With what came of all questions, and what the ``new`` ones cost."""
    errors = Counter(error for error in everything["error"].to_pylist() if error is not None)

    def total(column: str) -> dict[str, int]:
        return {level: pc.sum(pc.struct_field(new[column], level)).as_py() or 0 for level in ("prompt", "high", "low")}

    lacking = pc.sum(pc.greater(pc.list_value_length(everything["degraded"]), 0)).as_py()
    return replace(
        summary,
        failed=dict(errors),
        degraded=lacking or 0,
        answer_tokens=pc.sum(new["answer_tokens"]).as_py() or 0,
        read=total("bytes_read"),
        used=total("bytes_used"),
    )
