"""An archive of indexes: which videos it holds, opening an index to read, beginning one to write."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
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
)
from videox2l.identity import (
    VideoIdentity,
    known_identity,
    source_url,
    source_version,
    video_identity,
)
from videox2l.store import catalog, layout, lookup, source_notes
from videox2l.store.catalog import CatalogRow
from videox2l.store.documents import seal, unseal
from videox2l.store.inventory import read_manifests, take_inventory
from videox2l.store.journal import find_unfinished
from videox2l.store.lookup import VideoEntry
from videox2l.store.manifest import ID, Manifest
from videox2l.store.metadata import Alias, MetadataValue, with_alias
from videox2l.store.mismatch import none_fits, several_fit
from videox2l.store.patience import patient
from videox2l.store.reader import IndexReader
from videox2l.store.spec import IndexSpec
from videox2l.store.storage import Storage
from videox2l.store.writer import Base, IndexWriter

logger = logging.getLogger(__name__)

# Of a change to a manifest that somebody else changes at the same moment.
_DESCRIBE_TRIES = 5


class Archive:
    """Indexes of videos below one fsspec URL. Open it with :meth:`open`.

    Cheap to pickle; every process connects anew. All methods raise :class:`~videox2l.errors.ArchiveError` if the
    storage cannot be reached.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._conditions_checked = False

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
    def storage(self) -> Storage:
        """The files below it."""
        return self._storage

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
        """The id of a video given by id, path or URL, name, or unique start of its id (at least 6 digits).

        Every path, URL and name counts under which its content was ingested or found again.

        :raises VideoNotFoundError: none, or several, answer to it; the message suggests what to write instead.
        """
        if lookup.is_id(video) and self._manifest_keys(video):
            return video
        return lookup.resolve(video, self.videos())

    def entry(self, video: str) -> VideoEntry:
        """The video that :meth:`resolve` finds, with its indexes. A whole id costs no listing of all the others.

        :raises VideoNotFoundError: as of :meth:`resolve`.
        """
        if lookup.is_id(video) and (found := self._manifests(video, damaged_too=True)):
            return lookup.group(CatalogRow.of(manifest) for manifest in found)[0]
        videos = self.videos()
        video_id = lookup.resolve(video, videos)
        return next(entry for entry in videos if entry.video_id == video_id)

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
        if spec is not None:
            index_fp = index_fp or spec.index_fp
        # Two small requests where the id is given: one lists the video's indexes, one reads the manifest.
        found = self._candidates(video, index_fp) if lookup.is_id(video) else []
        video_id = video if found else self.resolve(video)
        found = found or self._candidates(video_id, index_fp)
        matching = [
            manifest
            for manifest in found
            if (spec is None or manifest.index_fp == spec.index_fp)
            and model_fingerprint in (None, manifest.spec.model_fingerprint)
        ]
        if len(matching) == 1:
            return IndexReader(self._storage, matching[0])
        if matching:
            raise FingerprintMismatchError(several_fit(matching))
        raise FingerprintMismatchError(none_fits(self._manifests(video_id), model_fingerprint, spec, index_fp))

    def find_index(self, video: VideoIdentity, spec: IndexSpec) -> IndexReader | None:
        """The index of exactly this content made as ``spec`` says, however its KVs are encoded; None if there is none.

        A recording that has grown is known by the id of its beginning, so it is looked for by its source as well.

        :raises CorruptDataError: a manifest is damaged.
        """
        for video_id in self._known_as(video):
            for manifest in self._manifests(video_id):
                same = dataclasses.replace(spec, codecs=manifest.spec.codecs) == manifest.spec
                if same and manifest.video.sha256 == video.sha256:
                    return IndexReader(self._storage, manifest)
        return None

    def _known_as(self, video: VideoIdentity) -> Iterator[str]:
        yield video.video_id
        for entry in self.videos():
            if entry.video_id != video.video_id and any(row.source == video.source for row in entry.indexes):
                yield entry.video_id

    def _candidates(self, video_id: str, index_fp: str | None) -> list[Manifest]:
        if index_fp is None:
            return self._manifests(video_id)
        if ID.fullmatch(index_fp) is None:  # it becomes part of a path
            return []
        try:
            return [self._manifest(video_id, index_fp)]
        except FileNotFoundError:
            return []

    def has(self, video_id: str, spec: IndexSpec) -> bool:
        """Whether this very index is committed. One request, or two."""
        return self._storage.exists(layout.manifest(video_id, spec.index_fp))

    def patient(self, seconds: float) -> Archive:
        """This archive, but faults of its storage that may pass are waited out for up to ``seconds``.

        Other faults, and those that do not pass, are then a :class:`~videox2l.store.patience.StorageFailedError`.
        """
        return Archive(patient(self._storage, seconds))

    def unfinished(self, video: VideoIdentity, spec: IndexSpec) -> list[Manifest]:
        """What writers of this very index have stored that ended before their commit, the longest first.

        For :meth:`IndexWriter.resume`. One request where there is nothing.
        """
        found = find_unfinished(self._storage, video, spec)
        try:
            committed = self._candidates(video.video_id, spec.index_fp) if found else []
        except (ArchiveFormatError, CorruptDataError):
            return []  # nobody knows what of it is the damaged index's
        finished = {attempt for manifest in committed for attempt in manifest.attempts}
        return [manifest for manifest in found if manifest.attempt not in finished]

    def create_index(
        self,
        video: VideoIdentity,
        spec: IndexSpec,
        *,
        replace: bool = False,
        recorded_at: str | None = None,
        metadata: Mapping[str, MetadataValue] | None = None,
    ) -> IndexWriter:
        """Begin to write an index. Nothing of it is visible before :meth:`IndexWriter.commit`.

        :param replace: take the place of this index, if it is there, and of the video's other indexes of the same
            model, all in the moment of the commit. Who reads them meanwhile can go on until the next ``gc``. What the
            latest of them says of the video stays, unless it is given anew.
        :param recorded_at: wall-clock time of the video's second 0, ISO 8601 with its offset from UTC.
        :param metadata: the user's own values, at most :data:`~videox2l.store.metadata.MAX_METADATA_BYTES`.
        :raises AlreadyCommittedError: it is there already, and ``replace`` is off.
        :raises ArchiveNotWritableError: writing is refused, found out before any work is spent.
        """
        if not replace:
            if self.has(video.video_id, spec):
                raise AlreadyCommittedError(
                    f"{video.name} is already in {self.url} with these settings. Use that index."
                )
            self.prepare_to_write(spec)
            return IndexWriter(self._storage, video, spec, recorded_at=recorded_at, metadata=metadata)
        version = self._storage.version(layout.manifest(video.video_id, spec.index_fp))
        # Obsolete ones too, since this manifest may take the place of the one that hides them.
        stored = [
            manifest
            for manifest in self._stored(video.video_id, damaged_too=True)
            if manifest.spec.model_fingerprint == spec.model_fingerprint
        ]
        latest = max(stored, key=lambda manifest: manifest.created, default=None)
        self.prepare_to_write(spec)
        return IndexWriter(
            self._storage,
            video,
            spec,
            base=None if version is None else Base(version),
            replaces=[manifest for manifest in stored if manifest.index_fp != spec.index_fp],
            recorded_at=recorded_at or (latest.recorded_at if latest is not None else None),
            metadata=metadata if metadata is not None or latest is None else latest.metadata,
            aliases=() if latest is None else _aliases_of(video, latest),
        )

    def extend_index(
        self,
        manifest: Manifest,
        video: VideoIdentity,
        keep: int,
        *,
        metadata: Mapping[str, MetadataValue] | None = None,
    ) -> IndexWriter:
        """Begin to write an index that starts with the first ``keep`` chunks of a committed one and takes its place.

        It keeps the id under which the recording is known, though ``video`` has grown, and what is said of it, unless
        ``metadata`` are given anew. The kept chunks are not stored again.

        :raises AlreadyCommittedError: the index was replaced or removed since ``manifest`` was read.
        :raises ArchiveNotWritableError: writing is refused.
        """
        current, version = self._committed(manifest)
        if current.attempt != manifest.attempt or current.chunks != manifest.chunks:
            raise AlreadyCommittedError(f"{manifest.video.name} was replaced meanwhile in {self.url}. Try again.")
        self.prepare_to_write(manifest.spec)
        grown = dataclasses.replace(video, video_id=manifest.video.video_id)
        obsolete = self._stored(grown.video_id, damaged_too=True) if current.replaces else []
        return IndexWriter(
            self._storage,
            grown,
            manifest.spec,
            base=Base(version, current, keep),
            replaces=[old for old in obsolete if old.attempt in current.replaces],
            recorded_at=current.recorded_at,
            metadata=current.metadata if metadata is None else metadata,
            aliases=_aliases_of(grown, current),
        )

    def rebuild_index(
        self,
        video: VideoIdentity,
        spec: IndexSpec,
        *,
        recorded_at: str | None = None,
        metadata: Mapping[str, MetadataValue] | None = None,
        aliases: Sequence[Alias] = (),
    ) -> IndexWriter:
        """Begin to write an index anew that is there, but damaged: its manifest may be unreadable.

        The commit takes its place, and no other index's. What was said of the video is to be given again.

        :raises AlreadyCommittedError: there is no such index any more.
        :raises ArchiveNotWritableError: writing is refused.
        """
        version = self._storage.version(layout.manifest(video.video_id, spec.index_fp))
        if version is None:
            raise AlreadyCommittedError(f"{video.name} was removed meanwhile from {self.url}. Ingest it anew.")
        self.prepare_to_write(spec)
        return IndexWriter(
            self._storage,
            video,
            spec,
            base=Base(version),
            recorded_at=recorded_at,
            metadata=metadata,
            aliases=aliases,
        )

    def describe(
        self,
        video: VideoIdentity,
        index_fp: str,
        *,
        recorded_at: str | None = None,
        metadata: Mapping[str, MetadataValue] | None = None,
    ) -> list[str]:
        """Note on a committed index what is newly said of its video, in words: empty where all of it was known.

        A name or source by which the video was not known is added to its aliases; a name that was given for the same
        source takes the place of the one it had. ``metadata`` and ``recorded_at``, where given, replace what was there.
        Costs one small request where there is nothing new.

        :raises AlreadyCommittedError: the index is not there any more, or others change it all the time.
        :raises ArchiveNotWritableError: writing is refused.
        """
        key = (video.video_id, index_fp)
        row = catalog.read(self._storage, [key]).get(key)
        if row is not None and not row.description.updated(video, recorded_at, metadata)[1]:
            return []
        for attempt in range(_DESCRIBE_TRIES):
            try:
                manifest = self._manifest(*key)
                said, news = manifest.description.updated(video, recorded_at, metadata)
                if news:
                    self.swap_manifest(manifest, manifest.described(said))
            except FileNotFoundError as error:
                raise AlreadyCommittedError(f"{video.name} was removed meanwhile from {self.url}.") from error
            except AlreadyCommittedError:
                if attempt == _DESCRIBE_TRIES - 1:
                    raise
            else:
                break
        return news

    def swap_manifest(self, old: Manifest, new: Manifest) -> None:
        """Put ``new``, made from ``old``, in its place, and its row into the catalog.

        :raises AlreadyCommittedError: the index was replaced or removed since ``old`` was read.
        """
        current, version = self._committed(old)
        if current != old:
            raise AlreadyCommittedError(f"{old.video.name} was replaced meanwhile in {self.url}. Try again.")
        catalog.delete(self._storage, old)
        try:
            self._storage.swap(old.path, new.to_json(), version)
        except FileExistsError as error:
            raise AlreadyCommittedError(f"{old.video.name} was replaced meanwhile in {self.url}. Try again.") from error
        catalog.write(self._storage, new)

    def identify(self, source: str | Path) -> VideoIdentity:
        """Which video lies at ``source`` (path or URL). It is read only if it changed since it was last seen.

        :raises UnreadableVideoError: missing, not a file, not permitted, or empty.
        """
        version = source_version(source)
        if version is not None:
            digest = source_notes.recall(self._storage, source_url(source), version)
            if digest is not None:
                return known_identity(source, version.size, digest)
        identity = video_identity(source)
        if version is not None and version == source_version(source) and version.size == identity.size:
            source_notes.remember(self._storage, identity, version)
        return identity

    def manifests(self) -> Iterator[Manifest]:
        """Every committed manifest, obsolete ones left out; damaged ones are logged and left out."""
        whole, damaged = read_manifests(self._storage, take_inventory(self._storage))
        for error in damaged.values():
            logger.warning("Left out: %s", error)
        obsolete = {attempt for manifest in whole.values() for attempt in manifest.replaces}
        yield from (manifest for manifest in whole.values() if manifest.attempt not in obsolete)

    def _committed(self, manifest: Manifest) -> tuple[Manifest, str]:
        """What is committed now in the place of ``manifest``, and its version."""
        version = self._storage.version(manifest.path)
        if version is None:
            raise AlreadyCommittedError(f"{manifest.video.name} was removed meanwhile from {self.url}. Try again.")
        try:
            return self._manifest(manifest.video.video_id, manifest.index_fp), version
        except FileNotFoundError as error:
            raise AlreadyCommittedError(
                f"{manifest.video.name} was removed meanwhile from {self.url}. Try again."
            ) from error

    def check_writable(self) -> None:
        """Try to write, without changing anything: the archive's first file is created again, which is there.

        :raises ArchiveNotWritableError: writing is refused.
        """
        try:
            self._storage.create(layout.ARCHIVE, self._storage.read(layout.ARCHIVE))
        except FileExistsError:
            return

    def prepare_to_write(self, spec: IndexSpec) -> None:
        """Store what the model's fingerprint stands for, and find out whether the storage keeps its promises."""
        try:
            self._storage.create(layout.model(spec.model_fingerprint), spec.model_json())
        except FileExistsError:
            logger.debug("The model %s is already described", spec.model_fingerprint)
        if not self._conditions_checked and not self._storage.check_conditions():
            logger.warning(
                "%s ignores conditional writes: of two jobs that ingest the same video at once, the later one wins, "
                "and `videox2l gc` removes what the other left",
                self.url,
            )
        self._conditions_checked = True

    def rebuild_catalog(self) -> int:
        """Write the catalog anew from all manifests that are whole, and return the number of its rows.

        :raises ArchiveNotWritableError: writing is refused.
        """
        current = {(manifest.video.video_id, manifest.index_fp): manifest for manifest in self.manifests()}
        for stale in catalog.keys(self._storage) - current.keys():
            self._storage.delete(layout.catalog(*stale))
        for manifest in current.values():
            catalog.write(self._storage, manifest)
        return len(current)

    def _rows(self) -> list[CatalogRow]:
        known = catalog.keys(self._storage)
        video_ids = set(self._storage.names(layout.VIDEOS))
        listed = {key for key in known if key[0] in video_ids}
        rows = catalog.read(self._storage, listed)
        lacking = listed - rows.keys()
        for video_id in video_ids - {key[0] for key in known}:
            lacking |= self._manifest_keys(video_id)
        gone = set()
        for key in sorted(lacking):
            try:
                found = self._storage.version(layout.catalog(*key))
                manifest = self._manifest(*key)
            except FileNotFoundError:
                gone.add(key[0])  # the row outlived its index
                continue
            except (ArchiveFormatError, CorruptDataError) as error:
                # One damaged index must not hide the others; opening it says what is wrong.
                logger.warning("Not listed: %s", error)
                continue
            rows[key] = CatalogRow.of(manifest)
            try:
                catalog.restore(self._storage, manifest, found)
            except (ArchiveNotWritableError, FileExistsError):
                logger.debug("The catalog of %s stays without a row for %s", self.url, manifest.path)
        for video_id in gone:  # another index may have just replaced it
            found_now = self._manifests(video_id, damaged_too=True)
            rows |= {(video_id, manifest.index_fp): CatalogRow.of(manifest) for manifest in found_now}
        return list(rows.values())

    def _manifest_keys(self, video_id: str) -> set[tuple[str, str]]:
        """(video id, index fingerprint) of the video's committed indexes."""
        names = self._index_names(video_id)
        return {(video_id, name) for name in names if self._storage.exists(layout.manifest(video_id, name))}

    def _manifests(self, video_id: str, *, damaged_too: bool = False) -> list[Manifest]:
        """The video's committed indexes without those that another one replaced; arguments as of :meth:`_stored`."""
        found = self._stored(video_id, damaged_too=damaged_too)
        obsolete = {attempt for manifest in found for attempt in manifest.replaces}
        return [manifest for manifest in found if manifest.attempt not in obsolete]

    def _stored(self, video_id: str, *, damaged_too: bool = False) -> list[Manifest]:
        """The video's manifests, obsolete ones included. One request for a list, and one a manifest.

        :param damaged_too: do not raise for a damaged manifest, but leave it out.
        :raises CorruptDataError: a manifest is damaged, and ``damaged_too`` is off.
        """
        found = []
        for index_fp in self._index_names(video_id):
            try:
                found.append(self._manifest(video_id, index_fp))
            except FileNotFoundError:
                continue  # an attempt that was never committed
            except (ArchiveFormatError, CorruptDataError) as error:
                if not damaged_too:
                    raise
                logger.warning("Left out: %s", error)
        return found

    def _index_names(self, video_id: str) -> list[str]:
        return [name for name in self._storage.names(layout.video(video_id)) if ID.fullmatch(name)]

    def _manifest(self, video_id: str, index_fp: str) -> Manifest:
        path = layout.manifest(video_id, index_fp)
        manifest = Manifest.from_json(self._storage.read(path), f"{self.url}/{path}")
        if (manifest.video.video_id, manifest.index_fp) != (video_id, index_fp):
            raise ArchiveFormatError(f"{self.url}/{path} describes another index: it was copied or moved here by hand.")
        return manifest


def _aliases_of(video: VideoIdentity, before: Manifest) -> tuple[Alias, ...]:
    """What ``video`` is called besides, when its index takes the place of ``before``."""
    return with_alias(before.aliases, video.name, video.source, before.video.name, before.video.source)
