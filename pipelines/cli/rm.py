"""``videox2l rm``, ``gc`` and ``retain``: everything that makes an archive smaller."""

from __future__ import annotations

import sys
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import options, output

if TYPE_CHECKING:
    from videox2l.store.retention import Expiry
    from videox2l.store.sweep import Garbage


def rm(
    videos: Annotated[list[str], typer.Argument(help="Ids, names or sources of videos in the archive.")],
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    index: options.Index = None,
    dry_run: options.DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. A script or a pipe is never asked.")] = False,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Remove videos, or one index of a video, from an archive. The video files themselves are not touched.

    All videos are looked up before the first is removed, so a wrong name removes nothing.

    `videox2l rm lecture.mp4 3f2a9c --archive archive --dry-run`
    """
    from pipelines.indexes import index_ids
    from videox2l.store import Archive, layout
    from videox2l.store.sweep import remove_index

    opened = Archive.open(archive, storage_options=storage_options)
    video_ids = list(dict.fromkeys(opened.resolve(video) for video in videos))
    keys = [(video_id, found) for video_id in video_ids for found in index_ids(opened, video_id, index)]
    names = {video.video_id: video.name for video in opened.videos()}
    removed: list[dict[str, Any]] = []
    for video_id, found in keys:
        # What the storage holds rather than what the manifest says: a damaged one must be removable, too.
        size = sum(info.size for info in opened.storage.files(f"{layout.video(video_id)}/{found}"))
        removed.append({"id": video_id, "name": names.get(video_id, ""), "index": found, "bytes": size})
    if not as_json:
        table = output.table("name", "id", "index", "MiB>")
        for row in removed:
            table.add_row(output.plain(row["name"]), row["id"][:12], row["index"][:12], output.mib(row["bytes"]))
        output.console().print(table)
    if not dry_run:
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Remove {output.many(len(keys), 'index', 'indexes')} for good?", abort=True, err=True)
        for key in keys:
            remove_index(opened.storage, key)
    if as_json:
        output.print_json({"dry_run": dry_run, "removed": removed, "bytes": sum(row["bytes"] for row in removed)})
    elif not dry_run:
        output.console().print(f"removed {output.many(len(keys), 'index', 'indexes')}")


def gc(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    older_than: Annotated[
        timedelta,
        typer.Option(
            parser=options.duration,
            metavar="TIME",
            help="Spare files given up more recently: a writer may be at work on them, or a reader use them.",
        ),
    ] = "24h",  # type: ignore[assignment]
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Remove what nothing refers to: shards of killed ingests and of replaced indexes, stale rows, temporary files.

    Nothing that a committed index uses is ever removed. An ingest that has stored nothing for `--older-than` is taken
    for dead; if it still runs, it fails and has to be repeated.

    `videox2l gc --archive s3://bucket/lectures --dry-run`
    """
    from videox2l.store import Archive
    from videox2l.store.sweep import collect, find_garbage

    storage = Archive.open(archive, storage_options=storage_options).storage
    garbage = find_garbage(storage, older_than=older_than)
    if not dry_run:
        collect(storage, garbage)
    files, total = sum(len(item.paths) for item in garbage), sum(item.bytes for item in garbage)
    if as_json:
        found = [{"reason": item.reason, "bytes": item.bytes, "paths": list(item.paths)} for item in garbage]
        output.print_json({"dry_run": dry_run, "files": files, "bytes": total, "garbage": found})
        return
    console = output.console()
    if garbage:
        table = output.table("what", "files>", "MiB>")
        for reason, (count, size) in _by_reason(garbage).items():
            table.add_row(reason, str(count), output.mib(size))
        console.print(table)
    done = "would remove" if dry_run else "removed"
    console.print(f"{done} {output.many(files, 'file')}, {output.size(total)}" if garbage else "nothing to remove")


def _by_reason(garbage: list[Garbage]) -> dict[str, tuple[int, int]]:
    """Files and bytes by reason."""
    sums: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for item in garbage:
        count, size = sums[item.reason]
        sums[item.reason] = (count + len(item.paths), size + item.bytes)
    return sums


def retain(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    low: Annotated[
        timedelta | None,
        typer.Option(parser=options.duration, metavar="TIME", help="Keep the low (detailed) level this long."),
    ] = None,
    high: Annotated[
        timedelta | None,
        typer.Option(parser=options.duration, metavar="TIME", help="Keep the high level, and so the index, this long."),
    ] = None,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Remove levels that are older than they are to be kept, counted from their ingest.

    Without its low level a video is still answered from the gist, and answers say so. Without `--low` or `--high` that
    level is kept for ever. Times: `90s`, `30min`, `12h`, `30d`, `2w`, `1y`.

    `videox2l retain --low 30d --high 1y --archive s3://bucket/cameras --dry-run`
    """
    from videox2l.errors import AlreadyCommittedError, ConfigError
    from videox2l.store import Archive
    from videox2l.store.retention import expire, find_expired

    if low is None and high is None:
        raise ConfigError("say what to keep and how long: --low 30d, --high 1y, or both")
    if low is not None and high is not None and low > high:
        raise ConfigError("--low must not be longer than --high: without its high level an index cannot be used")
    opened = Archive.open(archive, storage_options=storage_options)
    done: list[Expiry] = []
    for expiry in find_expired(opened.manifests(), low=low, high=high):
        try:
            if not dry_run:
                expire(opened, expiry)
            done.append(expiry)
        except AlreadyCommittedError as error:  # it is new again
            output.notes().print(f"kept: {output.plain(str(error))}", style="yellow", soft_wrap=True)
    total = sum(expiry.bytes for expiry in done)
    if as_json:
        output.print_json({"dry_run": dry_run, "bytes": total, "removed": [_expiry_document(item) for item in done]})
        return
    console = output.console()
    if done:
        table = output.table("name", "id", "index", "created", "what", "MiB>")
        for expiry in done:
            row = _expiry_document(expiry)
            what = "low level" if expiry.level == "low" else "whole index"
            created = row["created"][:16].replace("T", " ")
            table.add_row(
                output.plain(row["name"]), row["id"][:12], row["index"][:12], created, what, output.mib(expiry.bytes)
            )
        console.print(table)
    verb = "would remove" if dry_run else "removed"
    console.print(f"{verb} {output.size(total)}" if done else "nothing is older than it is to be kept")


def _expiry_document(expiry: Expiry) -> dict[str, Any]:
    manifest = expiry.manifest
    return {
        "id": manifest.video.video_id,
        "name": manifest.video.name,
        "index": manifest.index_fp,
        "created": manifest.created,
        "level": expiry.level,
        "bytes": expiry.bytes,
    }
