"""``videox2l bench prefill``: how fast a device prefills, and what memory it takes."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pipelines.cli import options
from videox2l.errors import ConfigError

if TYPE_CHECKING:
    from videox2l.models.video_xl.configuration import VideoXLConfig

_LENGTHS = [16, 64, 256]


def prefill(
    preset: Annotated[
        str | None, typer.Option(help="`video-xl-7b` (the published size) or `tiny` (bundled). Default: `tiny`.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Instead of a preset: a checkpoint folder or a hub id.")] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Make weights up on the device: nothing is downloaded or read.")
    ] = False,
    chunks: Annotated[
        list[int] | None,
        typer.Option(help="Length of a video to prefill; may be repeated. Default: 16, 64 and 256.", min=1),
    ] = None,
    videos: Annotated[int, typer.Option(help="Videos prefilled at once, in shared forwards.", min=1)] = 1,
    frames_per_chunk: options.FramesPerChunk = None,
    low_ratio: options.LowRatio = None,
    high_ratio: options.HighRatio = None,
    prefill: options.Prefill = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    attention: Annotated[
        str,
        typer.Option(help="`sdpa`, `flash_attention_2` or `flash_attention_3`; these need a GPU and their packages."),
    ] = "sdpa",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
) -> None:
    """Measure prefill on this machine: tokens a second, time by part, share of the matrix peak, memory by length.

    `--prefill single-pass` is measured by turns with the exact one, whose time its own is then held against.

    Frames are random, so no video is decoded; Ray is not used. What does not fit the device is refused before anything
    is loaded, with what would fit. `videox2l bench passes` holds both passes against the stock model.

    `videox2l bench prefill --preset video-xl-7b --random-weights --chunks 16 --chunks 256`
    """
    from pipelines.bench.prefill import measure, plan
    from pipelines.bench.prefill_tables import plan_table, report_table
    from videox2l.models.memory import check_fits
    from videox2l.models.registry import find_checkpoint, placement
    from videox2l.models.video_xl.attention import use_attention
    from videox2l.models.video_xl.checkpoint import load_network
    from videox2l.models.video_xl.memory import VideoXLWorkload
    from videox2l.models.video_xl.presets import random_network

    name = preset_or_model(preset, model, random_weights)
    config = configuration(name)
    given: dict[str, Any] = {
        "frames_per_chunk": frames_per_chunk,
        "low_ratio": low_ratio,
        "high_ratio": high_ratio,
        "prefill": prefill,
    }
    compression = dataclasses.replace(
        config.compression, **{field: value for field, value in given.items() if value is not None}
    )
    at, kind = placement(device, dtype)
    lengths = chunks or _LENGTHS
    work = VideoXLWorkload(config=config, compression=compression, dtype=kind, chunks=max(lengths), videos=videos)
    if dry_run:
        plans = plan(work, at, lengths)
        if as_json:
            typer.echo(json.dumps([dataclasses.asdict(one) for one in plans], indent=1))
        else:
            Console(highlight=False).print(plan_table(plans))
            check_fits(work, at)
        return
    notes = Console(stderr=True, highlight=False)
    check_fits(work, at)
    with notes.status("making weights" if random_weights else "loading weights") as status:
        if random_weights:
            network = random_network(config, device=at, dtype=kind)
        else:
            network = load_network(find_checkpoint(name), device=at, dtype=kind)
        use_attention(network.language_model, attention)
        report = measure(network, name, work, lengths, status.update)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        Console(highlight=False).print(report_table(report))


def preset_or_model(preset: str | None, model: str | None, random_weights: bool) -> str:
    """The name of what is to be measured; :class:`ConfigError` for a combination that there is not."""
    from videox2l.models.registry import TINY
    from videox2l.models.video_xl.presets import VIDEO_XL_7B

    if preset is not None and model is not None:
        raise ConfigError("give either --preset or --model")
    if preset not in (None, TINY, VIDEO_XL_7B):
        raise ConfigError(f"no preset {preset!r}: there are {TINY} and {VIDEO_XL_7B}; --model takes a folder or hub id")
    if preset == VIDEO_XL_7B and not random_weights:
        raise ConfigError(f"{preset} has no weights here: add --random-weights, or give a checkpoint with --model")
    return model or preset or TINY


def configuration(name: str) -> VideoXLConfig:
    """Of a preset, or of a checkpoint, whose weights are not read for it."""
    from videox2l.models.registry import find_checkpoint
    from videox2l.models.video_xl.checkpoint import load_config, weight_files
    from videox2l.models.video_xl.presets import VIDEO_XL_7B, video_xl_7b

    if name == VIDEO_XL_7B:
        return video_xl_7b()
    folder = find_checkpoint(name)
    return load_config(folder, weight_files(folder))
