"""``videox2l verify`` and ``videox2l catalog``: checking an archive, and making its table of contents anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pipelines.cli import options, output

if TYPE_CHECKING:
    from videox2l.store.storage import Storage
    from videox2l.store.verify import Damage, Report


def verify(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Read every byte of an archive and compare it with what was written. Changes nothing.

    The exit status is 1 if anything is damaged or missing. `videox2l repair` makes it again from the source videos.

    `videox2l verify --archive s3://bucket/lectures`
    """
    from videox2l.errors import ArchiveNotFoundError
    from videox2l.store.storage import Storage

    # Not Archive.open: an archive whose first file is damaged needs this command most.
    storage = Storage(archive, storage_options)
    report = _verify(storage)
    if not report.files:
        raise ArchiveNotFoundError(f"{storage.url} is no archive: nothing in it belongs to one. Check the address.")
    if as_json:
        output.print_json(_to_document(report))
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)


def _verify(storage: Storage) -> Report:
    from videox2l.store.verify import verify as run

    notes = output.notes()
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("", total=None)
        return run(storage, lambda done, total: bar.update(task, completed=done, total=total))


def _print(report: Report) -> None:
    console = output.console()
    for damage in report.damaged:
        console.print(f"[red]damaged[/] {output.plain(damage.path)}", soft_wrap=True)
        console.print(f"        {output.plain(_problem(damage))}", soft_wrap=True)
    if report.unused:
        files = output.many(len(report.unused), "file")
        console.print(f"{files} not used by any index, which is no damage; `videox2l gc` removes old ones")
    console.print(
        f"{output.many(report.files, 'file')} ({output.size(report.bytes)}) "
        f"of {output.many(report.indexes, 'index', 'indexes')} checked, {len(report.damaged)} damaged"
    )
    if not report.ok:
        console.print("`videox2l repair` makes damaged files again from the source videos")


def _problem(damage: Damage) -> str:
    # Errors of single files name the file first, which stands above already.
    problem = damage.problem.removeprefix(f"{damage.path} ").removeprefix("is damaged: ")
    where = f"; affects index {damage.index[1]} of video {damage.index[0]}" if damage.index is not None else ""
    return f"{problem.rstrip('.')}{where}"


def _to_document(report: Report) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "indexes": report.indexes,
        "files": report.files,
        "bytes": report.bytes,
        "damaged": [
            {
                "path": damage.path,
                "problem": damage.problem,
                "id": damage.index[0] if damage.index is not None else None,
                "index": damage.index[1] if damage.index is not None else None,
            }
            for damage in report.damaged
        ],
        "unused": list(report.unused),
    }


def catalog(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Write all rows anew from the manifests.")] = False,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Say where an archive's catalog is, for DuckDB, Polars or any reader of Parquet.

    The catalog has a row for each index. It is a cache: `ls` repairs single rows, `--rebuild` all of them.

    `duckdb -c "SELECT name, duration_s FROM '$(videox2l catalog --archive archive)'"`
    """
    from videox2l.store import Archive, layout

    opened = Archive.open(archive, storage_options=storage_options)
    glob = f"{opened.url}/{layout.CATALOG}/*.parquet"
    rows = opened.rebuild_catalog() if rebuild else sum(len(video.indexes) for video in opened.videos())
    if as_json:
        output.print_json({"glob": glob, "rows": rows, "rebuilt": rebuild})
        return
    if rebuild:
        output.notes().print(f"wrote {output.many(rows, 'row')}")
    typer.echo(glob)
