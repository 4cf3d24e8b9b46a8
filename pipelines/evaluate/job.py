"""A benchmark run: videos into the archive, all questions about each under every condition, a report.

::

    annotations ─▶ ingest of the videos that the archive lacks
                      └─▶ ask (actors with the model, a video at a time) ─▶ one Parquet part a video ─▶ report

Parts are named by what their answers follow from, so an interrupted run goes on where it stopped, and a run with other
settings in the same folder asks anew.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy
from ray.exceptions import RayError

from pipelines.evaluate.parts import Parts, part_key
from pipelines.evaluate.settings import BenchmarkSettings
from pipelines.evaluate.stage import AskStage, StageSettings, Work
from pipelines.ingest import IngestSummary, VideoRequest, ingest
from pipelines.ingest.cluster import quiet_ray_data, ray_cluster
from pipelines.ingest.events import OnProgress
from pipelines.ingest.runs import read_run
from videox2l.errors import ConfigError, VideoX2LError
from videox2l.evaluation.benchmarks import Benchmark, Item, Loaded, Problem, benchmark
from videox2l.evaluation.benchmarks.markdown import render
from videox2l.evaluation.benchmarks.records import Record
from videox2l.evaluation.benchmarks.summary import Summary, summarise
from videox2l.store import Archive

REPORT_JSON, REPORT_MARKDOWN = "report.json", "report.md"

OnVideo = Callable[[int, int], None]
"""Called with (videos done, videos in all)."""


@dataclass(frozen=True)
class Plan:
    """What a run would ask: ``items`` by video, in the order of the annotations, and what is left out."""

    benchmark: Benchmark
    items: Mapping[Path, Sequence[Item]]
    problems: Sequence[Problem]

    @property
    def questions(self) -> int:
        return sum(map(len, self.items.values()))


def plan_benchmark(settings: BenchmarkSettings) -> Plan:
    """Read the annotations and look for the videos; nothing is started.

    :raises ConfigError: no such benchmark or split, or a folder of another layout.
    """
    chosen = benchmark(settings.benchmark)
    loaded: Loaded = chosen.read(settings.data, settings.split, subtitles=settings.subtitles)
    by_video: defaultdict[Path, list[Item]] = defaultdict(list)
    for item in loaded.items:
        by_video[item.video].append(item)
    kept = list(by_video)[: settings.limit]
    return Plan(chosen, {video: by_video[video] for video in kept}, loaded.problems)


def run_benchmark(
    settings: BenchmarkSettings,
    archive_url: str,
    output: Path,
    *,
    storage_options: Mapping[str, Any] | None = None,
    on_ingest: OnProgress | None = None,
    on_video: OnVideo | None = None,
) -> Summary:
    """Run a benchmark and write ``report.json`` and ``report.md`` beside the parts in ``output``.

    Videos that cannot be ingested or asked about are named in the report; the others go on.

    :raises ConfigError: as of :func:`plan_benchmark`; no video is there; the results cannot be written.
    :raises VideoX2LError: as of :func:`~pipelines.ingest.ingest`.
    :raises KeyboardInterrupt: stopped. The same call goes on where this one ended.
    """
    plan = plan_benchmark(settings)
    if not plan.items:
        where = f", such as {plan.problems[0].where}: {plan.problems[0].why}" if plan.problems else ""
        raise ConfigError(f"no question of {plan.benchmark.title} in {settings.data} can be asked{where}")
    parts = Parts(output / "parts")
    with ray_cluster(settings.ingest.prefill_actors, max(1, settings.ingest.cpus_per_actor)):
        ingested = ingest(
            [VideoRequest(str(video)) for video in plan.items],
            archive_url,
            settings.ingest,
            storage_options=storage_options,
            on_progress=on_ingest,
        )
        archive = Archive.open(archive_url, storage_options=storage_options)
        head = read_run(archive.storage, ingested.run_id).about
        works, problems = _works(plan, ingested, str(head["index_fp"]), settings)
        before = {work.key: parts.read(work.key) for work in works}
        records = [record for found in before.values() for record in found or ()]
        due = [work for work in works if before[work.key] is None]
        done = len(works) - len(due)
        if on_video is not None:
            on_video(done, len(works))
        stage = _stage(settings, archive, str(head["settings"]["device"]))
        for work, found, error in _ask(due, stage, settings):
            done += 1
            if error:
                problems.append(Problem("not_asked", str(work.source), error, len(work.items)))
            else:
                parts.write(work.key, found)
                records += found
            if on_video is not None:
                on_video(done, len(works))
    asked = [item for work in works for item in work.items]
    about = {
        "title": plan.benchmark.title,
        "model": settings.ingest.model,
        **replace(settings, split=settings.split or plan.benchmark.splits[0]).about(),
        "model fingerprint": head["model_fingerprint"],
        "compression": _words(head["settings"]["compression"]),
        "definition": plan.benchmark.source,
    }
    summary = summarise(plan.benchmark, asked, records, [*plan.problems, *problems], about)
    (output / REPORT_JSON).write_text(json.dumps(summary.to_dict(), indent=1, ensure_ascii=False))
    (output / REPORT_MARKDOWN).write_text(render(summary))
    return summary


def _works(
    plan: Plan, ingested: IngestSummary, index_fp: str, settings: BenchmarkSettings
) -> tuple[list[Work], list[Problem]]:
    """The videos that are in the archive now, and the others as problems."""
    rows = {row.source: row for row in ingested.rows}
    works: list[Work] = []
    problems: list[Problem] = []
    for video, items in plan.items.items():
        row = rows[str(video)]
        if row.status not in ("committed", "skipped"):
            problems.append(Problem("not_ingested", str(video), row.error, len(items)))
            continue
        key = part_key(settings.benchmark, row.video_id, index_fp, items, settings.asking)
        works.append(Work(key, row.video_id, index_fp, str(video), tuple(items)))
    return works, problems


def _stage(settings: BenchmarkSettings, archive: Archive, device: str) -> StageSettings:
    ingesting = settings.ingest
    return StageSettings(
        settings.benchmark,
        archive.patient(ingesting.storage_patience_s),
        ingesting.model,
        device,
        ingesting.dtype,
        settings.asking,
        settings.slots,
        ingesting.cpus_per_actor,
    )


def _ask(
    due: Sequence[Work], stage: StageSettings, settings: BenchmarkSettings
) -> Iterator[tuple[Work, list[Record], str]]:
    """Each video with its records, as soon as it is done, or with the error that it met."""
    if not due:
        return
    ingesting = settings.ingest
    gpus = ingesting.gpus_per_actor if ingesting.gpus_per_actor is not None else float(stage.device.startswith("cuda"))
    with quiet_ray_data():
        dataset = ray.data.from_items([{"number": n} for n in range(len(due))], override_num_blocks=len(due)).map(
            AskStage,
            fn_constructor_kwargs={"settings": stage, "works": dict(enumerate(due))},
            compute=ActorPoolStrategy(size=min(ingesting.prefill_actors, len(due)), max_tasks_in_flight_per_actor=1),
            num_cpus=ingesting.cpus_per_actor,
            num_gpus=gpus,
        )
        try:
            # By block: an iterator over rows would hold a finished video back until the next one is.
            for bundle in dataset.iter_internal_ref_bundles():
                for block in ray.get(list(bundle.block_refs)):
                    for row in block.to_pylist():
                        rows = json.loads(row["records"]) if row["records"] else []
                        yield due[row["number"]], [Record.from_dict(record) for record in rows], row["error"]
        except RayError as error:
            cause = getattr(error, "cause", None)
            raise cause if isinstance(cause, VideoX2LError) else error from None


def _words(compression: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in compression.items())
