"""``videox2l show``: what an index is, what it was made from, and which spans of the video it holds."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli import options, output

if TYPE_CHECKING:
    from videox2l.kv import Level
    from videox2l.kv.heads import HeadRange
    from videox2l.store import Manifest

_SHA256 = re.compile("[0-9a-f]{64}")

# Chunks shown at either end of a long table.
_ENDS = 3


def show(
    video: Annotated[
        str,
        typer.Argument(help="Id, name or source of a video in the archive.", autocompletion=options.video_names),
    ],
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    chunks: Annotated[bool, typer.Option("--chunks", help="Show every chunk, not only the first and last.")] = False,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Explain the indexes of a video: what they hold, what they were made from, how large they are.

    `videox2l show lecture.mp4 --archive archive --chunks`
    """
    from pipelines.indexes import manifests
    from videox2l.errors import CorruptDataError
    from videox2l.store import Archive
    from videox2l.store.calibration import CalibrationWatch

    opened = Archive.open(archive, storage_options=storage_options)
    found, damaged = manifests(opened, opened.resolve(video))
    if not found:
        raise CorruptDataError("\n".join(damaged))
    for problem in damaged:
        output.notes().print(f"warning: {output.plain(problem)}", style="yellow", soft_wrap=True)
    if as_json:
        output.print_json([_to_document(manifest) for manifest in found])
        return
    console = output.console()
    for number, manifest in enumerate(found):
        if len(found) > 1:
            console.print(f"[dim]── index {number + 1} of {len(found)} ──[/]")
        _print_index(console, manifest, all_chunks=chunks)
    for fingerprint in dict.fromkeys(manifest.spec.model_fingerprint for manifest in found):
        watch = CalibrationWatch(opened.storage, fingerprint)
        if watch.calibration is not None:
            words = output.plain(watch.calibration.words)
            console.print(f"[bold]calibration[/]  of {fingerprint[:12]}: {words}", soft_wrap=True)
    for line in _differences(found):
        console.print(output.plain(line), soft_wrap=True)


def _differences(found: Sequence[Manifest]) -> list[str]:
    """How each further index differs from the first, in words."""
    lines = []
    for number, other in enumerate(found[1:], start=2):
        lines.append(f"index {number} differs from index 1 in:")
        text = found[0].spec.difference(other.spec, labels=("index 1 has", f"index {number} has"))
        lines += [f"  {line}" for line in text.splitlines()]
    return lines


def _print_index(console: Console, manifest: Manifest, *, all_chunks: bool) -> None:
    for name, text in _facts(manifest):
        console.print(f"[bold]{name:<12}[/] {output.plain(text)}", soft_wrap=True)
    console.print(_level_table(manifest))
    console.print(_chunk_table(manifest, all_chunks=all_chunks))


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    video, spec = manifest.video, manifest.spec
    facts = [
        ("video", f"{video.name} ({output.size(video.size)}, {output.clock(manifest.duration_s)})"),
        ("id", video.video_id),
        ("index", manifest.index_fp),
        ("source", video.source),
        ("sha256", video.sha256),
        ("recorded at", manifest.recorded_at or "not given"),
        *(("also called", f"{also.name} ({also.source})") for also in manifest.aliases),
        *([("metadata", output.words(manifest.metadata))] if manifest.metadata else []),
        ("model", f"{spec.model_fingerprint}: {_words(spec.model)}"),
        ("sampling", _words(spec.sampling)),
        ("decoded to", _words(spec.decode)),
        ("compression", _words(spec.compression)),
        ("KVs", f"{spec.layers} layers, {spec.kv_heads} KV heads, head dimension {spec.head_dim}, {spec.dtype}"),
        ("computed by", "; ".join(_ranks(ranges) for ranges in manifest.head_ranges)),
        ("codecs", ", ".join(f"{level} {codec}" for level, codec in spec.codecs.items())),
        ("RoPE", spec.rope),
        ("created", manifest.created),
        ("written by", _words(manifest.software)),
        ("attempts", ", ".join(sorted(manifest.attempts))),
    ]
    facts += [("removed", f"the {level} level, on {when}") for level, when in manifest.dropped.items()]
    return facts


def _ranks(ranges: Sequence[HeadRange]) -> str:
    """``one device``; ``2 ranks, KV heads 0–1 and 2–3``."""
    if len(ranges) == 1:
        return "one device"
    shares = [str(part.start) if len(part) == 1 else f"{part.start}–{part.stop - 1}" for part in ranges]
    return f"{len(ranges)} ranks, KV heads {', '.join(shares[:-1])} and {shares[-1]}"


def _words(document: Mapping[str, Any]) -> str:
    """A nested document in one line. What is not set is left out, and digests are cut short."""
    parts = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            parts.append(f"{name} ({_words(value)})")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value)
            parts.append(f"{name} {text[:12] + '…' if _SHA256.fullmatch(text) else text}")
    return ", ".join(parts)


def _level_table(manifest: Manifest) -> Table:
    table = output.table("level", "tokens>", "bytes>", "bytes a token>", "shards>")
    for level, total in manifest.totals.items():
        shards = sum(shard.part == level for shard in manifest.shards)
        each = f"{total.bytes / total.tokens:.0f}" if total.tokens else "–"
        table.add_row(level, str(total.tokens), output.size(total.bytes), each, str(shards))
    ratio = _ratio(manifest)
    if ratio is not None:
        table.add_row("low : high", f"{ratio['tokens']:.1f}", f"{ratio['bytes']:.1f}", "", "", style="dim")
    return table


def _ratio(manifest: Manifest) -> dict[str, float] | None:
    """How many times the high level the low one is."""
    low, high = manifest.totals["low"], manifest.totals["high"]
    if "low" in manifest.dropped or not (high.tokens and high.bytes):
        return None
    return {"tokens": low.tokens / high.tokens, "bytes": low.bytes / high.bytes}


def _chunk_table(manifest: Manifest, *, all_chunks: bool) -> Table:
    headings = ("chunk", "from", "to", "frames", "low tokens", "high tokens", "low bytes", "high bytes")
    table = output.table(*(f"{heading}>" for heading in headings))
    count = len(manifest.chunks)
    for number, chunk in enumerate(manifest.chunks):
        if not all_chunks and count > 2 * _ENDS + 1 and _ENDS <= number < count - _ENDS:
            if number == _ENDS:
                table.add_row(*["…"] * len(headings), style="dim")
            continue
        levels: tuple[Level, Level] = ("low", "high")
        stored = [chunk.levels.get(level) for level in levels]
        table.add_row(
            str(chunk.index),
            output.clock(chunk.start_s),
            output.clock(chunk.end_s),
            str(chunk.frames),
            *(str(kv.tokens) if kv is not None else "–" for kv in stored),
            *(output.size(kv.length) if kv is not None else "–" for kv in stored),
        )
    return table


def _to_document(manifest: Manifest) -> dict[str, Any]:
    shards = {level: sum(shard.part == level for shard in manifest.shards) for level in manifest.totals}
    return {
        "id": manifest.video.video_id,
        "index": manifest.index_fp,
        "video": dataclasses.asdict(manifest.video),
        "duration_s": manifest.duration_s,
        "recorded_at": manifest.recorded_at,
        "metadata": dict(manifest.metadata),
        "aliases": [dataclasses.asdict(also) for also in manifest.aliases],
        **manifest.spec.to_document(),
        "levels": {
            level: {**dataclasses.asdict(total), "shards": shards[level]} for level, total in manifest.totals.items()
        },
        "ratio": _ratio(manifest),
        "head_ranges": [[[part.start, part.stop] for part in ranges] for ranges in manifest.head_ranges],
        "dropped": dict(manifest.dropped),
        "created": manifest.created,
        "software": dict(manifest.software),
        "attempts": sorted(manifest.attempts),
        "chunks": [
            {
                "index": chunk.index,
                "start_s": chunk.start_s,
                "end_s": chunk.end_s,
                "frames": chunk.frames,
                "tokens": {level: kv.tokens for level, kv in chunk.levels.items()},
                "bytes": {level: kv.length for level, kv in chunk.levels.items()},
            }
            for chunk in manifest.chunks
        ],
    }
