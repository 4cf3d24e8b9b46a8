"""An archive of indexes: which videos it holds, opening an index to read, beginning one to write."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from videox2l.errors import (
    AlreadyCommittedError,
    ArchiveFormatError,
    ArchiveNotFoundError,
    ArchiveNotWritableError,
    CorruptDataError,
    FingerprintMismatchError,
    VideoNotFoundError,
)
from videox2l.identity import VideoIdentity, canonical_json, describe_difference
from videox2l.store import catalog, layout, lookup
from videox2l.store.catalog import CatalogRow
from videox2l.store.documents import seal, unseal
from videox2l.store.lookup import VideoEntry
from videox2l.store.manifest import Manifest
from videox2l.store.reader import IndexReader
from videox2l.store.spec import IndexSpec
from videox2l.store.storage import Storage
from videox2l.store.writer import IndexWriter

logger = logging.getLogger(__name__)


class Archive:
    """Indexes of videos below one fsspec URL. Open it with :meth:`open`.

    Cheap to pickle; every process connects anew. All methods raise :class:`~videox2l.errors.ArchiveError` if the
    storage cannot be reached.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @classmethod
    def open(
        cls, url: str | Path, *, create: bool = False, storage_options: Mapping[str, Any] | None = None
    ) -> Archive:
        """The archive at a local folder or any fsspec URL (``s3://bucket/path``, ``memory://…``).

        :param create: make it if there is none. Buckets are never made.
        :param storage_options: passed to the file system. ``AWS_ENDPOINT_URL`` and AWS's other variables work too.
        :raises ArchiveNotFoundError: none there, and ``create`` is off.
        :raises ArchiveFormatError: written in another format version.
        :raises ArchiveNotWritableError: it cannot be made there.
        """
        storage = Storage(url, storage_options)
        try:
            document = storage.read(layout.ARCHIVE)
        except FileNotFoundError as error:
            if not create:
                raise ArchiveNotFoundError(
                    f"{storage.url} is no archive: it has no {layout.ARCHIVE}. "
                    "Check the address; ingesting a video makes an archive."
                ) from error
            try:
                storage.create(layout.ARCHIVE, seal({"created": datetime.now(UTC).isoformat(timespec="seconds")}))
            except FileExistsError:
                logger.debug("Another process made the archive %s at the same time", storage.url)
            document = storage.read(layout.ARCHIVE)
        unseal(document, f"{storage.url}/{layout.ARCHIVE}")
        return cls(storage)

    @property
    def url(self) -> str:
        """Where it lies, as it was given; local folders as absolute paths."""
        return self._storage.url

    def videos(self) -> list[VideoEntry]:
        """All videos with a committed index, sorted by name.

        Reads the catalog, and the manifests of videos that it lacks.
        """
        return lookup.group(self._rows())

    def resolve(self, video: str) -> str:
        """The id of a video given by id, path or URL it was ingested from, file name, or unique start of its id (≥ 6).

        :raises VideoNotFoundError: none, or several, answer to it; the message suggests what to write instead.
        """
        if lookup.is_id(video) and self._manifest_keys(video):
            return video
        return lookup.resolve(video, self.videos())

    def open_index(
        self,
        video: str,
        *,
        model_fingerprint: str | None = None,
        spec: IndexSpec | None = None,
        index_fp: str | None = None,
    ) -> IndexReader:
        """Open the index of ``video`` (see :meth:`resolve`) that was made as asked.

        Of several, ``spec`` or ``index_fp`` chooses; ``model_fingerprint`` leaves only those of that model.

        :raises VideoNotFoundError: no committed index for this video.
        :raises FingerprintMismatchError: there are indexes, but none as asked, or several; the message lists how they
            differ.
        :raises CorruptDataError: a manifest is damaged.
        """
        video_id = self.resolve(video)
        if spec is not None:
            index_fp = index_fp or spec.index_fp
        if index_fp is not None:
            try:
                found = [self._manifest(video_id, index_fp)]
            except FileNotFoundError:
                found = []
        else:
            found = self._manifests(video_id)
        matching = [
            manifest
            for manifest in found
            if (spec is None or manifest.index_fp == spec.index_fp)
            and model_fingerprint in (None, manifest.spec.model_fingerprint)
        ]
        if len(matching) == 1:
            return IndexReader(self._storage, matching[0])
        if matching:
            raise FingerprintMismatchError(_several(matching))
        raise FingerprintMismatchError(_none_fits(self._manifests(video_id), model_fingerprint, spec, index_fp))

    def has(self, video_id: str, spec: IndexSpec) -> bool:
        """Whether this very index is committed. One request, or two."""
        return self._storage.exists(layout.manifest(video_id, spec.index_fp))

    def create_index(self, video: VideoIdentity, spec: IndexSpec) -> IndexWriter:
        """Begin to write an index. Nothing of it is visible before :meth:`IndexWriter.commit`.

        :raises AlreadyCommittedError: it is there already.
        :raises ArchiveNotWritableError: writing is refused, found out before any work is spent.
        """
        if self.has(video.video_id, spec):
            raise AlreadyCommittedError(f"{video.name} is already in {self.url} with these settings. Use that index.")
        document = {"fingerprint": spec.model_fingerprint, "model": dict(spec.model)}
        try:
            self._storage.create(layout.model(spec.model_fingerprint), seal(document))
        except FileExistsError:
            logger.debug("The model %s is already described", spec.model_fingerprint)
        return IndexWriter(self._storage, video, spec)

    def rebuild_catalog(self) -> int:
        """Write the catalog anew from all manifests and return the number of its rows.

        :raises ArchiveNotWritableError: writing is refused.
        """
        committed = {key for video_id in self._storage.names(layout.VIDEOS) for key in self._manifest_keys(video_id)}
        for stale in catalog.keys(self._storage) - committed:
            self._storage.delete_folder(layout.catalog(*stale))
        for key in sorted(committed):
            catalog.write(self._storage, self._manifest(*key))
        return len(committed)

    def _rows(self) -> list[CatalogRow]:
        known = catalog.keys(self._storage)
        video_ids = set(self._storage.names(layout.VIDEOS))
        listed = {key for key in known if key[0] in video_ids}
        rows = catalog.read(self._storage, listed)
        lacking = listed - rows.keys()
        for video_id in video_ids - {key[0] for key in known}:
            lacking |= self._manifest_keys(video_id)
        for key in sorted(lacking):
            try:
                manifest = self._manifest(*key)
            except FileNotFoundError:
                continue  # the row outlived its index
            except (ArchiveFormatError, CorruptDataError) as error:
                # One damaged index must not hide the others; opening it says what is wrong.
                logger.warning("Not listed: %s", error)
                continue
            rows[key] = CatalogRow.of(manifest)
            try:
                catalog.write(self._storage, manifest)
            except ArchiveNotWritableError:
                logger.debug("The catalog of %s stays without a row for %s", self.url, manifest.path)
        return list(rows.values())

    def _manifest_keys(self, video_id: str) -> set[tuple[str, str]]:
        """(video id, index fingerprint) of the video's committed indexes."""
        names = self._storage.names(layout.video(video_id))
        return {(video_id, name) for name in names if self._storage.exists(layout.manifest(video_id, name))}

    def _manifests(self, video_id: str) -> list[Manifest]:
        return [self._manifest(*key) for key in sorted(self._manifest_keys(video_id))]

    def _manifest(self, video_id: str, index_fp: str) -> Manifest:
        path = layout.manifest(video_id, index_fp)
        manifest = Manifest.from_json(self._storage.read(path), f"{self.url}/{path}")
        if (manifest.video.video_id, manifest.index_fp) != (video_id, index_fp):
            raise ArchiveFormatError(f"{self.url}/{path} describes another index: it was copied or moved here by hand.")
        return manifest


def _several(manifests: list[Manifest]) -> str:
    first, *others = manifests
    lines = [f"{first.video.name} has {len(manifests)} indexes that fit; choose one by its settings or its index id:"]
    lines.append(f"{first.index_fp} ({first.created})")
    for other in others:
        difference = describe_difference(
            first.spec.to_document(), other.spec.to_document(), labels=("the first", "this one")
        )
        lines.append(f"{other.index_fp} ({other.created})")
        lines += [f"  {line}" for line in difference.splitlines()]
    return "\n".join(lines)


def _none_fits(
    stored: list[Manifest], model_fingerprint: str | None, spec: IndexSpec | None, index_fp: str | None
) -> str:
    if not stored:
        raise VideoNotFoundError("the video's last index has just been removed. Ingest it again.")
    name = stored[0].video.name
    remedy = "Ingest the video with what you asked for, or ask with what is stored."
    if spec is not None:
        # The nearest stored index gives the shortest and most telling list.
        nearest = min(stored, key=lambda manifest: len(manifest.spec.difference(spec).splitlines()))
        model_fingerprint = model_fingerprint or spec.model_fingerprint
        what = "another model" if nearest.spec.model_fingerprint != model_fingerprint else "other settings"
        lines = nearest.spec.difference(spec).splitlines()
    elif model_fingerprint is not None:
        what = "another model"
        lines = [
            describe_difference(
                {"model_fingerprint": manifest.spec.model_fingerprint}, {"model_fingerprint": model_fingerprint}
            )
            + f"; the stored one is {canonical_json(manifest.spec.model).decode()}"
            for manifest in stored
        ]
    else:
        return f"{name}: no index {index_fp}. There are: {', '.join(manifest.index_fp for manifest in stored)}."
    return "\n".join([f"{name}: the archive was made with {what}:", *(f"  {line}" for line in lines), remedy])
