"""``videox2l videos``: what an archive holds."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipelines.cli import options


def videos(archive: options.Archive = options.DEFAULT_ARCHIVE) -> None:
    """List the videos of an archive.

    `videox2l videos --archive s3://bucket/lectures`
    """
    from videox2l.store import Archive

    table = Table(box=None, header_style="bold")
    for heading in ("name", "id", "duration", "chunks", "low", "high", "model"):
        table.add_column(heading, justify="right" if heading in ("duration", "chunks", "low", "high") else "left")
    for video in Archive.open(archive).videos():
        for index in video.indexes:
            sizes = (f"{size / 2**20:.2f} MiB" for size in (index.low_bytes, index.high_bytes))
            table.add_row(
                video.name,
                video.video_id[:12],
                f"{index.duration_s:.1f} s",
                str(index.chunks),
                *sizes,
                index.model_fingerprint[:12],
            )
    Console(highlight=False).print(table)
