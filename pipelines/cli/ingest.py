"""``videox2l ingest``: videos into an archive, on Ray Data."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli import options


def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(help="Video files, folders, globs, or a list file (.txt, .csv, .jsonl) that names them."),
    ],
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    model: options.Model = "tiny",
    fps: options.Fps = 1.0,
    frames: options.Frames = None,
    max_frames: options.MaxFrames = None,
    low_ratio: options.LowRatio = None,
    high_ratio: options.HighRatio = None,
    frames_per_chunk: options.FramesPerChunk = None,
    edge_ratio: options.EdgeRatioText = None,
    remainder: options.Remainder = None,
    prefill_actors: Annotated[int, typer.Option(help="Copies of the model that prefill side by side.", min=1)] = 1,
    device: options.Device = None,
    dtype: options.Dtype = None,
    ledger: Annotated[str | None, typer.Option(help="Also write one JSON line a video to this local file.")] = None,
    low_codec: Annotated[
        str | None, typer.Option(help="How low KVs are stored: `raw`, `squeeze`, `int8`, `int4`.")
    ] = None,
    high_codec: Annotated[str | None, typer.Option(help="How high KVs are stored, likewise.")] = None,
    append: Annotated[
        bool,
        typer.Option("--append", help="Continue recordings that have grown; their past is not prefilled again."),
    ] = False,
    append_to: Annotated[
        str | None, typer.Option(help="With one video: the video of the archive that it continues.", metavar="VIDEO")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Ingest again, in place of what this model made of the video before.")
    ] = False,
    recorded_at: Annotated[
        str | None,
        typer.Option(help="With one video: when it begins, such as 2026-05-01T09:00:00+02:00.", metavar="ISO8601"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and how large it gets.")] = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Prefill videos and keep their KVs at two levels in an archive.

    Videos that are in the archive with the same settings are skipped. A broken file is reported and the others go on;
    the exit status is 1 if any failed.

    `videox2l ingest lectures/ --archive s3://bucket/lectures --prefill-actors 4`

    `videox2l ingest "cam-*.mp4" --fps 0.5 --dry-run`

    `videox2l ingest camera.ts --append --recorded-at 2026-05-01T09:00:00+02:00`
    """
    from rich.console import Console

    from pipelines.ingest import IngestSettings
    from pipelines.ingest import ingest as run_ingest
    from pipelines.ingest.progress import IngestProgress
    from videox2l.config import SamplingConfig
    from videox2l.kv import Level
    from videox2l.store import DEFAULT_CODECS

    ratios = options.compression(
        model,
        low_ratio=low_ratio,
        high_ratio=high_ratio,
        frames_per_chunk=frames_per_chunk,
        edge_ratio=edge_ratio,
        remainder=remainder,
    )
    given: dict[Level, str | None] = {"low": low_codec, "high": high_codec}
    settings = IngestSettings(
        model=model,
        device=device,
        dtype=dtype,
        sampling=SamplingConfig(fps, frames, max_frames),
        compression=ratios,
        codecs={level: name or DEFAULT_CODECS[level] for level, name in given.items()},
        prefill_actors=prefill_actors,
        append=append,
        append_to=append_to,
        replace=replace,
        recorded_at=recorded_at,
    )
    with IngestProgress() as show:
        summary = run_ingest(
            sources,
            archive,
            settings,
            ledger=ledger,
            dry_run=dry_run,
            storage_options=storage_options,
            on_progress=show,
        )
    Console().print(summary)
    if not summary.ok:
        raise typer.Exit(1)
