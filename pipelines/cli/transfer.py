"""``videox2l export`` and ``videox2l import``: one index as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import options, output


def export(
    video: Annotated[str, typer.Argument(help="Id, name or source of a video in the archive.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; it must not exist yet.")],
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    index: options.Index = None,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Write one index of a video to one file (ZIP, uncompressed), to keep or to hand on. Every byte is verified.

    `videox2l export lecture.mp4 -o lecture.kv.zip --archive archive`
    """
    from pipelines.indexes import one_index
    from videox2l.store import Archive
    from videox2l.store.transfer import export_index

    opened = Archive.open(archive, storage_options=storage_options)
    manifest = one_index(opened, video, index)
    size = export_index(opened, manifest, out)
    if as_json:
        output.print_json({"id": manifest.video.video_id, "index": manifest.index_fp, "file": str(out), "bytes": size})
    else:
        output.console().print(f"wrote {output.plain(str(out))}, {output.size(size)}", soft_wrap=True)


def import_(
    file: Annotated[Path, typer.Argument(help="A file that `videox2l export` wrote.")],
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Bring an exported index into an archive, which is made if there is none. Every byte is verified first.

    `videox2l import lecture.kv.zip --archive s3://bucket/lectures`
    """
    from videox2l.store import Archive
    from videox2l.store.transfer import import_index, open_export

    open_export(file)  # before an archive is made for it
    manifest = import_index(Archive.open(archive, create=True, storage_options=storage_options), file)
    if as_json:
        output.print_json({"id": manifest.video.video_id, "index": manifest.index_fp, "name": manifest.video.name})
    else:
        output.console().print(f"imported {output.plain(manifest.video.name)}, id {manifest.video.video_id}")
