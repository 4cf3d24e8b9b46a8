"""An archive of indexes: which videos it holds, opening an index to read, beginning one to write."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from videox2l.errors import ArchiveFormatError, ArchiveNotFoundError, CorruptDataError, FingerprintMismatchError
from videox2l.identity import VideoIdentity
from videox2l.store import begin, changes, commit, committed, layout, listing, lookup, source_notes
from videox2l.store.catalog import CatalogRow
from videox2l.store.documents import seal, unseal
from videox2l.store.journal import find_unfinished
from videox2l.store.lookup import VideoEntry
from videox2l.store.manifest import Manifest
from videox2l.store.metadata import Alias, MetadataValue
from videox2l.store.mismatch import none_fits, several_fit
from videox2l.store.patience import patient
from videox2l.store.reader import IndexReader
from videox2l.store.spec import IndexSpec
from videox2l.store.storage import Storage
from videox2l.store.writer import IndexWriter

logger = logging.getLogger(__name__)

# Manifests are read one after the other. Where one takes another's place meanwhile, both are found, or neither. So a
# look that does not find exactly one is not believed before it was repeated.
_LOOKS = 3


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
        return lookup.group(listing.read_rows(self._storage))

    def resolve(self, video: str) -> str:
        """The id of a video given by id, path or URL, name, or unique start of its id (at least 6 digits).

        Every path, URL and name counts under which its content was ingested or found again.

        :raises VideoNotFoundError: none, or several, answer to it; the message suggests what to write instead.
        """
        if lookup.is_id(video) and committed.keys(self._storage, video):
            return video
        return lookup.resolve(video, self.videos())

    def entry(self, video: str) -> VideoEntry:
        """The video that :meth:`resolve` finds, with its indexes. A whole id costs no listing of all the others.

        :raises VideoNotFoundError: as of :meth:`resolve`.
        """
        if lookup.is_id(video) and (found := committed.read_current(self._storage, video, damaged_too=True)):
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
        found = committed.read_asked(self._storage, video, index_fp) if lookup.is_id(video) else []
        video_id = video if found else self.resolve(video)
        found = found or committed.read_asked(self._storage, video_id, index_fp)
        for _ in range(_LOOKS):
            matching = [
                manifest
                for manifest in found
                if (spec is None or manifest.index_fp == spec.index_fp)
                and model_fingerprint in (None, manifest.spec.model_fingerprint)
            ]
            if len(matching) == 1:
                return IndexReader(self._storage, matching[0])
            found = committed.read_asked(self._storage, video_id, index_fp)
        if matching:
            raise FingerprintMismatchError(several_fit(matching))
        stored = committed.read_current(self._storage, video_id)
        raise FingerprintMismatchError(none_fits(stored, model_fingerprint, spec, index_fp))

    def find_index(self, video: VideoIdentity, spec: IndexSpec) -> IndexReader | None:
        """The index of exactly this content made as ``spec`` says, however its KVs are encoded; None if there is none.

        A recording that has grown is known by the id of its beginning, so it is looked for by its source as well.

        :raises CorruptDataError: a manifest is damaged.
        """
        for video_id in self._known_as(video):
            for manifest in committed.read_current(self._storage, video_id):
                same = dataclasses.replace(spec, codecs=manifest.spec.codecs) == manifest.spec
                if same and manifest.video.sha256 == video.sha256:
                    return IndexReader(self._storage, manifest)
        return None

    def _known_as(self, video: VideoIdentity) -> Iterator[str]:
        yield video.video_id
        for entry in self.videos():
            if entry.video_id != video.video_id and any(row.source == video.source for row in entry.indexes):
                yield entry.video_id

    def has(self, video_id: str, spec: IndexSpec) -> bool:
        """Whether this very index is committed, and no other has replaced it; see :func:`commit.is_current`."""
        return commit.is_current(self._storage, (video_id, spec.index_fp))

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
            current = committed.read_asked(self._storage, video.video_id, spec.index_fp) if found else []
        except (ArchiveFormatError, CorruptDataError):
            return []  # nobody knows what of it is the damaged index's
        finished = {attempt for manifest in current for attempt in manifest.attempts}
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
        start = begin.replacing if replace else begin.new
        writer = start(self._storage, video, spec, recorded_at, metadata)
        self.prepare_to_write(spec)
        return writer

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
        writer = begin.extending(self._storage, manifest, video, keep, metadata)
        self.prepare_to_write(manifest.spec)
        return writer

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
        writer = begin.rebuilding(self._storage, video, spec, recorded_at, metadata, aliases)
        self.prepare_to_write(spec)
        return writer

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
        return changes.describe(self._storage, video, index_fp, recorded_at=recorded_at, metadata=metadata)

    def swap_manifest(self, old: Manifest, new: Manifest) -> None:
        """Put ``new``, made from ``old``, in its place, and its row into the catalog.

        :raises AlreadyCommittedError: the index was replaced or removed since ``old`` was read.
        """
        changes.swap_manifest(self._storage, old, new)

    def identify(self, source: str | Path) -> VideoIdentity:
        """Which video lies at ``source`` (path or URL). It is read only if it changed since it was last seen.

        :raises UnreadableVideoError: missing, not a file, not permitted, or empty.
        """
        return source_notes.identify(self._storage, source)

    def manifests(self) -> Iterator[Manifest]:
        """Every committed manifest, obsolete ones left out; damaged ones are logged and left out."""
        yield from committed.read_all(self._storage)

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
        return listing.rebuild(self._storage)
