"""The videos of an archive beside one model: opened once, kept within a budget, looked at again as they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from videox2l.answering.resident import ResidentVideo
from videox2l.errors import (
    ArchiveError,
    ArchiveFormatError,
    CorruptDataError,
    FingerprintMismatchError,
    VideoNotFoundError,
)
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive, IndexReader
from videox2l.store.async_reader import BackgroundFetch
from videox2l.store.byte_cache import ByteCache, CacheStats
from videox2l.store.disk_cache import DiskCache
from videox2l.store.fetch import Fetcher
from videox2l.store.low_chunks import LowChunks

logger = logging.getLogger(__name__)

# A live recording grows by the minute; looking at its manifest costs two small requests.
_FRESH_S = 10.0

# A question waits so long for that look, which takes milliseconds where storage is well. Where it is not, the question
# is answered from what is resident.
_LOOK_S = 1.0
_LOOKS = 4

_Key = tuple[str, str | None]
"""A video's id, and the index that was asked for where it has several."""


class ResidentVideos:
    """Videos by id, and caches for their low KVs. Thread-safe; a context manager that ends its threads.

    ``resident_bytes``: budget for prompts and high KVs, which videos keep once a question has looked at them; least
    recently asked out first. ``low_memory_bytes``: the same for low KVs as they are stored. ``disk``: copies of these.
    """

    def __init__(
        self,
        archive: Archive,
        model: KVCompressibleModel,
        *,
        resident_bytes: int,
        low_memory_bytes: int,
        disk: DiskCache | None = None,
    ) -> None:
        self._archive, self._model = archive, model
        self._fetch = BackgroundFetch(Fetcher(archive.storage))
        self._low = LowChunks(archive.url, self._fetch, memory_bytes=low_memory_bytes, disk=disk)
        self._videos: ByteCache[_Key, ResidentVideo] = ByteCache(resident_size, resident_bytes)
        self._checked: dict[_Key, float] = {}
        self._looks = ThreadPoolExecutor(_LOOKS, thread_name_prefix="videox2l-look")

    @contextmanager
    def use(self, video_id: str, index_fp: str | None = None) -> Iterator[ResidentVideo]:
        """The video for one question; loaded anew where its index was replaced or has grown since it was looked at.

        Raises what :meth:`~videox2l.store.Archive.open_index` does. Where the question finds data that are not what the
        manifest says, the next one looks at the archive again: perhaps the video was ingested anew meanwhile.
        """
        key = (video_id, index_fp)
        video = self._current(key)
        try:
            yield video
        except CorruptDataError:
            self._videos.discard(key)
            raise
        if video.doubtful:
            self._videos.discard(key)

    def stats(self) -> dict[str, CacheStats]:
        """``video`` (prompts and high KVs), ``low_memory`` and ``low_disk`` (low KVs as stored)."""
        return {"video": self._videos.stats(), **self._low.stats()}

    def close(self) -> None:
        """End all threads; reads under way fail."""
        self._low.close()
        self._fetch.close()
        self._looks.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> ResidentVideos:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _current(self, key: _Key) -> ResidentVideo:
        open_it = partial(self._open, key)
        video = self._videos.get(key, open_it)
        now = time.monotonic()
        if now - self._checked.setdefault(key, now) < _FRESH_S:
            return video
        self._checked[key] = now
        try:
            stored = self._looks.submit(self._find, key).result(_LOOK_S).manifest
        except (VideoNotFoundError, FingerprintMismatchError, ArchiveFormatError, CorruptDataError):
            self._videos.discard(key)
            raise
        except (TimeoutError, ArchiveError) as error:
            logger.warning("%s: answering from what is resident, the archive cannot be looked at: %s", key[0], error)
            return video
        if stored != video.manifest:
            self._videos.discard(key)
            video = self._videos.get(key, open_it)
        return video

    def _open(self, key: _Key) -> ResidentVideo:
        self._checked[key] = time.monotonic()
        reader = IndexReader(self._archive.storage, self._find(key).manifest, self._fetch)
        return ResidentVideo(self._model, reader, self._low)

    def _find(self, key: _Key) -> IndexReader:
        video_id, index_fp = key
        return self._archive.open_index(video_id, model_fingerprint=self._model.identity.fingerprint, index_fp=index_fp)


def resident_size(video: ResidentVideo) -> int:
    """Bytes that ``video`` keeps in memory once a question has looked at its high KVs."""
    manifest = video.manifest
    return manifest.spec.bytes_per_token * (manifest.prompt.tokens + manifest.totals["high"].tokens)
