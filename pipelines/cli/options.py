"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from videox2l.config import Budget, CompressionConfig, EdgeRatio
from videox2l.errors import ConfigError
from videox2l.paths import expanded

DEFAULT_ARCHIVE = "archive"

_UNITS = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}


def duration(text: str) -> timedelta:
    """A time span such as ``30d``, ``12h`` or ``1.5y`` (365 days each).

    :raises ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.strip().lower())
    try:
        if found is not None and found[2] in _UNITS:
            return float(found[1]) * _UNITS[found[2]]
    except OverflowError:
        pass  # longer than a timedelta can be, some million years
    raise ConfigError(
        f"{text!r} is no time span: write a number and a unit, such as 90s, 30min, 12h, 30d, 2w or 1y (365 days)"
    )


def storage_options(text: str) -> dict[str, Any]:
    """Settings of the file system, from a JSON object. Errors do not repeat the text: it may hold a password.

    :raises ConfigError: it is none.
    """
    example = """'{"endpoint_url": "https://s3.example.org"}'"""
    try:
        found = json.loads(text)
    except ValueError as error:
        where = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "inside"
        raise ConfigError(f"--storage-options is not JSON ({where}). Write an object such as {example}.") from None
    if not isinstance(found, dict):
        raise ConfigError(f"--storage-options must be a JSON object such as {example}.")
    return found


# Parts of a budget as they are written, and what their numbers may be followed by.
_LIMITS = {"chunks": "max_low_chunks", "bytes": "max_bytes", "ms": "max_first_token_ms"}
_BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def budget(text: str) -> Budget:
    """What a question may cost at most, such as ``chunks=2,bytes=4MiB,ms=500``; any of the three may be left out.

    :raises ConfigError: it is none.
    """
    found: dict[str, Any] = {}
    for part in text.replace(",", " ").split():
        name, _, value = part.partition("=")
        number = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([a-z]*)", value.lower())
        factors = {"": 1, **(_BYTES if name == "bytes" else {})}
        if name not in _LIMITS or _LIMITS[name] in found or number is None or number[2] not in factors:
            raise ConfigError(
                f"{part!r} is no budget: write chunks=2 (read in detail), bytes=4MiB (of low KVs) or ms=500 (until the "
                "first token), each once, with commas between"
            )
        limit = float(number[1]) * factors[number[2]]
        found[_LIMITS[name]] = limit if name == "ms" else int(limit)
    return Budget(**found)


def budget_words(given: Budget) -> str:
    """The same as text; empty where nothing is limited."""
    limits = {name: getattr(given, field) for name, field in _LIMITS.items()}
    return ",".join(f"{name}={limit:.15g}" for name, limit in limits.items() if limit is not None)


def video_names(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: names of videos in the archive that the command line names so far. Of local archives only."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    url = str(context.params.get("archive") or os.environ.get("VIDEOX2L_ARCHIVE") or DEFAULT_ARCHIVE)
    if "://" in url:  # a key press should not wait for a network
        return []
    try:  # the catalog by itself, since what opens an archive takes a second to import
        rows = pq.read_table(str(expanded(url) / "catalog"), columns=["name", "video_id"]).to_pylist()
    except (OSError, pa.ArrowException):
        return []
    names = sorted({row["name"] for row in rows if row["name"].startswith(incomplete)})
    return names or sorted({row["video_id"] for row in rows if incomplete and row["video_id"].startswith(incomplete)})


Archive = Annotated[
    str,
    typer.Option(
        help="Where KVs are kept: a local folder or an fsspec URL (s3://bucket/path).",
        envvar="VIDEOX2L_ARCHIVE",
        show_envvar=True,
    ),
]
StorageOptions = Annotated[
    dict[str, Any] | None,
    typer.Option(
        parser=storage_options,
        metavar="JSON",
        help="Settings for the archive's file system, such as an endpoint or server-side encryption.",
        envvar="VIDEOX2L_STORAGE_OPTIONS",
        show_envvar=True,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
Index = Annotated[
    str | None, typer.Option(help="Of a video with several indexes, this one: its id, or the start of it.")
]
Model = Annotated[
    str,
    typer.Option(
        help="`tiny` or `tiny-plain` (bundled), a checkpoint folder, or a hub id such as "
        "`sy1998/Video_XL/VideoXL_weight_8`.",
        envvar="VIDEOX2L_MODEL",
        show_envvar=True,
    ),
]
Device = Annotated[str | None, typer.Option(help="`cpu`, `cuda`, `cuda:1`. Default: a GPU if there is one.")]
Dtype = Annotated[
    str | None, typer.Option(help="`bfloat16`, `float16` or `float32`. Default: bfloat16 on a GPU, float32 on a CPU.")
]
TensorParallel = Annotated[
    int, typer.Option(help="Devices that hold the model together, where it is too large for one.", min=1, metavar="N")
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

Prefill = Annotated[
    str | None,
    typer.Option(
        "--prefill",
        help="How a Video-XL makes the two levels: `exact`, by a pass for each, or `single-pass`: in about half the "
        "time, with the low level a little different.",
    ),
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


def absolute(path: str) -> str:
    """For processes that have other working directories; URLs as they are."""
    return path if "://" in path else str(expanded(path).absolute())


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
