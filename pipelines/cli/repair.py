"""``videox2l repair``: what verify finds damaged, made again from the source videos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.cli import options, output

if TYPE_CHECKING:
    from videox2l.models import KVCompressibleModel
    from videox2l.prefill import Repair
    from videox2l.store.storage import Storage


def repair(
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    model: options.Model = "tiny",
    device: options.Device = None,
    vectors: Annotated[
        bool,
        typer.Option(
            "--vectors/--no-vectors",
            help="Also make a retriever's vectors again, where there were any; or go on without that retriever.",
        ),
    ] = True,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Verify an archive and make again what is damaged.

    Indexes are rebuilt from their source videos, which must not have changed, with their own settings, and with the
    model and the retriever that made them; until that is done, what is left of them can be read. The exit status is 1
    if anything could not be repaired.

    `videox2l repair --archive s3://bucket/lectures --model checkpoints/video-xl`
    """
    from videox2l.store.storage import Storage

    # Not Archive.open: an archive whose first file is damaged is repaired, too.
    results = _repair(Storage(archive, storage_options), model, device, dry_run=dry_run, vectors=vectors)
    if as_json:
        output.print_json({"dry_run": dry_run, "results": [_to_document(result) for result in results]})
    else:
        _print(results, dry_run)
    if any(result.error for result in results):
        raise typer.Exit(1)


def _repair(storage: Storage, name: str, device: str | None, *, dry_run: bool, vectors: bool) -> list[Repair]:
    from videox2l.errors import ArchiveNotFoundError
    from videox2l.models import load_model
    from videox2l.prefill import repair as run
    from videox2l.store import Archive
    from videox2l.store.verify import verify

    notes = output.notes()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[unit]}"), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task("verifying", total=None, unit="KiB")
        report = verify(storage, lambda done, total: bar.update(task, completed=done // 1024, total=total // 1024))
        if not report.files:
            raise ArchiveNotFoundError(f"{storage.url} is no archive: nothing in it belongs to one. Check the address.")

        def load(dtype: str) -> KVCompressibleModel:
            return load_model(name, device=device, dtype=dtype)

        def show(video: str, done: int, total: int) -> None:
            bar.update(task, description=f"rebuilding {output.plain(video)}", completed=done, total=total, unit="chunk")

        return run(Archive(storage), load, report.damaged, dry_run=dry_run, vectors=vectors, progress=show)


def _print(results: list[Repair], dry_run: bool) -> None:
    console = output.console()
    for result in results:
        what = f"{result.name}, index {result.index[1]}" if result.index is not None else result.paths[0]
        if result.error:
            console.print(f"[red]left[/] {output.plain(what)}: {output.plain(result.error)}", soft_wrap=True)
        else:
            done = f"would be {result.action}" if dry_run else result.action
            console.print(f"[green]{done}[/] {output.plain(what)}", soft_wrap=True)
    left = sum(bool(result.error) for result in results)
    if not results:
        console.print("nothing is damaged")
    elif not dry_run:
        console.print(f"{len(results) - left} of {output.many(len(results), 'damaged thing')} repaired")


def _to_document(result: Repair) -> dict[str, Any]:
    return {
        "action": result.action,
        "error": result.error or None,
        "problem": result.problem,
        "paths": list(result.paths),
        "id": result.index[0] if result.index is not None else None,
        "index": result.index[1] if result.index is not None else None,
        "name": result.name or None,
    }
