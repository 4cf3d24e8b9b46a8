"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from videox2l.config import CompressionConfig, EdgeRatio
from videox2l.errors import ConfigError

DEFAULT_ARCHIVE = "archive"

Archive = Annotated[
    str,
    typer.Option(
        help="Where KVs are kept: a local folder or an fsspec URL (s3://bucket/path).",
        envvar="VIDEOX2L_ARCHIVE",
        show_envvar=True,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="`tiny` (bundled), a checkpoint folder, or a hub id such as `sy1998/Video_XL/VideoXL_weight_8`.",
        envvar="VIDEOX2L_MODEL",
        show_envvar=True,
    ),
]
Device = Annotated[str | None, typer.Option(help="`cpu`, `cuda`, `cuda:1`. Default: a GPU if there is one.")]
Dtype = Annotated[
    str | None, typer.Option(help="`bfloat16`, `float16` or `float32`. Default: bfloat16 on a GPU, float32 on a CPU.")
]
Fps = Annotated[float, typer.Option(help="Frames looked at per second of video, by presentation time.")]
Frames = Annotated[int | None, typer.Option(help="Instead of --fps: this many frames, spread evenly.")]
MaxFrames = Annotated[int | None, typer.Option(help="With --fps: never more frames than this.")]
LowRatio = Annotated[int | None, typer.Option(help="Raw tokens per kept token at the low (detailed) level.")]
HighRatio = Annotated[int | None, typer.Option(help="Raw tokens per kept token at the high (gist) level.")]
FramesPerChunk = Annotated[int | None, typer.Option(help="Frames in a chunk, the unit that is re-loaded.")]
EdgeRatioText = Annotated[
    str | None,
    typer.Option("--edge-ratio", help="Ratio of a video's first and last chunk: `low`, `level` or a number."),
]
Remainder = Annotated[
    str | None,
    typer.Option(help="Tokens behind a chunk's last full group: `close` (one more kept token) or `floor` (none)."),
]


def compression(model: str, **given: int | str | None) -> CompressionConfig | None:
    """The model's own compression with what was given on the command line; ``None`` where nothing was."""
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        return None
    if "edge_ratio" in changes:
        changes["edge_ratio"] = edge_ratio(str(changes["edge_ratio"]))
    from videox2l.models.registry import default_compression

    return dataclasses.replace(default_compression(model), **changes)  # type: ignore[arg-type]


def edge_ratio(text: str) -> EdgeRatio:
    """``low``, ``level`` or a number; raises :class:`ConfigError` otherwise."""
    if text == "low":
        return "low"
    if text == "level":
        return "level"
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"edge ratio must be low, level or a number, got {text!r}") from None
