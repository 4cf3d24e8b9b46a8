"""``videox2l ls`` and ``videox2l du``: what an archive holds, and how much of it."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import options, output

if TYPE_CHECKING:
    from videox2l.store import CatalogRow
    from videox2l.store.usage import Usage


def ls(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    name: Annotated[
        str | None, typer.Option(help="Only videos whose name fits this glob, such as `cam-*.mp4`.")
    ] = None,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """List the videos of an archive, a line for each index.

    A video has several indexes if it was ingested with several settings or models; `videox2l show` tells them apart.

    `videox2l ls --archive s3://bucket/lectures --name "2025-*.mp4"`
    """
    from videox2l.store import Archive

    rows = [
        row
        for video in Archive.open(archive, storage_options=storage_options).videos()
        for row in video.indexes
        if name is None or any(fnmatch(known, name) for known in video.names)
    ]
    if as_json:
        output.print_json([_to_document(row) for row in rows])
        return
    table = output.table(
        "name", "id", "duration>", "chunks>", "low MiB>", "high MiB>", "codecs", "model", "created", "recorded at"
    )
    # Most archives have none, and the table is wide already.
    described = any(row.description.metadata for row in rows)
    if described:
        table.add_column("metadata")
    for row in rows:
        table.add_row(
            output.plain(_called(row)),
            row.video_id[:12],
            output.clock(row.duration_s),
            str(row.chunks),
            output.mib(row.low_bytes) if row.low_bytes else "–",
            output.mib(row.high_bytes),
            f"{row.low_codec}, {row.high_codec}",
            row.model_fingerprint[:12],
            row.created[:16].replace("T", " "),
            output.plain(row.recorded_at),
            *([output.plain(output.words(row.description.metadata))] if described else []),
        )
    if rows:
        output.console().print(table)
    else:
        output.notes().print("no videos" if name is None else f"no video is called {output.plain(name)}")


def _called(row: CatalogRow) -> str:
    """The name and, in short, the other names; `show` has all of them."""
    others = list(dict.fromkeys(also.name for also in row.other_names if also.name != row.name))
    if len(others) > 1:
        return f"{row.name}, also {others[0]} and {len(others) - 1} more"
    return ", also ".join([row.name, *others])


def _to_document(row: CatalogRow) -> dict[str, Any]:
    return {
        "id": row.video_id,
        "index": row.index_fp,
        "name": row.name,
        "source": row.source,
        "size": row.size,
        "duration_s": row.duration_s,
        "chunks": row.chunks,
        "tokens": {"low": row.low_tokens, "high": row.high_tokens},
        "bytes": {"low": row.low_bytes, "high": row.high_bytes},
        "codecs": {"low": row.low_codec, "high": row.high_codec},
        "dtype": row.dtype,
        "model_fingerprint": row.model_fingerprint,
        "model": json.loads(row.model),
        "sampling": json.loads(row.sampling),
        "compression": json.loads(row.compression),
        "created": row.created,
        "recorded_at": row.recorded_at or None,
        "metadata": json.loads(row.metadata),
        "aliases": json.loads(row.aliases),
        "retriever": row.retrieved_by and row.retrieved_by.name,
    }


def du(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Show how much an archive takes: by level, by video, by model, and in all.

    `videox2l du --archive archive`
    """
    from videox2l.store import Archive
    from videox2l.store.inventory import take_inventory
    from videox2l.store.sweep import find_garbage
    from videox2l.store.usage import by_model, by_video, stored_bytes

    opened = Archive.open(archive, storage_options=storage_options)
    rows = [row for video in opened.videos() for row in video.indexes]
    videos, models = by_video(rows), by_model(rows)
    levels = {"low": sum(usage.low for usage in videos), "high": sum(usage.high for usage in videos)}
    inventory = take_inventory(opened.storage)
    stored = stored_bytes(inventory)
    garbage = find_garbage(opened.storage, older_than=timedelta(0), inventory=inventory)
    unused = sum(item.bytes for item in garbage)
    if as_json:
        output.print_json(
            {
                "levels": levels,
                "videos": [_usage_document(usage) for usage in videos],
                "models": [_usage_document(usage) for usage in models],
                "stored": stored,
                "total": sum(stored.values()),
                "unused": unused,
            }
        )
        return
    console = output.console()
    for heading, usages in (("video", videos), ("model", models)):
        table = output.table(heading, "indexes>", "duration>", "low MiB>", "high MiB>", "both MiB>")
        for usage in usages:
            sizes = (output.mib(count) for count in (usage.low, usage.high, usage.total))
            table.add_row(output.plain(usage.name), str(usage.indexes), output.clock(usage.duration_s), *sizes)
        console.print(table)
    console.print(f"KVs: low {output.size(levels['low'])}, high {output.size(levels['high'])}")
    kinds = ", ".join(f"{kind} {output.size(count)}" for kind, count in stored.items())
    console.print(f"stored in all: {output.size(sum(stored.values()))} ({kinds})")
    if unused:
        console.print(f"nothing refers to {output.size(unused)} of it; `videox2l gc` removes what is old enough")


def _usage_document(usage: Usage) -> dict[str, Any]:
    return {**dataclasses.asdict(usage), "total": usage.total}
