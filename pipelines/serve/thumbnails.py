"""Pictures of chunks, out of the archive."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pipelines.serve.errors import ThumbnailNotFoundError
from videox2l.store import Archive, CatalogRow, IndexReader, layout
from videox2l.store.byte_cache import ByteCache

# Of manifests that are kept, as a page of pictures asks for the same one again and again. A chunk takes 1.8 KB in one
# that is parsed, so these are 36 MB.
_CHUNKS_KEPT = 20_000


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG, and the checksum that it is stored with: another picture has another one."""

    jpeg: bytes
    checksum: str


class Thumbnails:
    """Those of one archive. Safe to use from several coroutines."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._readers: ByteCache[tuple[str, str], IndexReader] = ByteCache(
            lambda found: len(found.manifest.chunks), _CHUNKS_KEPT
        )

    async def get(self, row: CatalogRow, chunk: int) -> Thumbnail:
        """The picture of a chunk of the index that ``row`` lists.

        :raises ThumbnailNotFoundError: there is no such chunk, no picture of it, or no such index any more.
        :raises CorruptDataError: what is stored is damaged.
        """
        return await asyncio.to_thread(self._get, row, chunk)

    def _get(self, row: CatalogRow, chunk: int) -> Thumbnail:
        # A small request each time, so that no picture is shown of an index that has been replaced.
        path = layout.manifest(row.video_id, row.index_fp)
        version = self._archive.storage.version(path)
        if version is None:
            raise ThumbnailNotFoundError(f"{row.name} was removed or ingested anew just now: try again")
        reader = self._readers.get(
            (path, version), lambda: self._archive.open_index(row.video_id, index_fp=row.index_fp)
        )
        return _read(reader, chunk)


def _read(reader: IndexReader, chunk: int) -> Thumbnail:
    try:
        jpeg = reader.thumbnail(chunk)
    except IndexError as error:
        raise ThumbnailNotFoundError(str(error)) from error
    stored = reader.manifest.chunks[chunk].thumbnail
    if jpeg is None or stored is None:
        raise ThumbnailNotFoundError(
            f"{reader.manifest.video.name} has no thumbnail of chunk {chunk}: it was ingested without them "
            "(--no-thumbnails). Ingested again with --replace it has one of each chunk."
        )
    return Thumbnail(jpeg, stored.checksum)
