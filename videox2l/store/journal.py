"""The journal of an unfinished index: what of it is stored, for whoever goes on after its writer has ended.

A journal is the manifest that a commit would have written at that moment, under a name that no reader looks for. Its
writer stores it anew after every few seconds of work, behind the shards that it names, and deletes it after the commit.
What a prefill knows after chunk i is exactly the stored KVs of the chunks up to i, so nothing else is needed.

An heir writes an attempt of its own, which refers to the shards of the unfinished one. They stay where they are because

* ``claim.json``, created only if there is none, decides once what becomes of an attempt: its first heir claims it, and
  from then on its own writer no longer deletes it; or that writer withdraws it, and it has no heirs any more;
* `gc` spares everything of an index while one of its journals is young.

Any number of heirs may go on from one attempt, also beside a writer that was only thought to be dead. It ends as with
all writers of one index: the first one to commit wins, and the others' shards are garbage.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from videox2l.errors import ArchiveFormatError, CorruptDataError
from videox2l.identity import VideoIdentity
from videox2l.store import documents, layout
from videox2l.store.documents import seal, unseal
from videox2l.store.manifest import Manifest
from videox2l.store.spec import IndexSpec
from videox2l.store.storage import Storage
from videox2l.store.uploads import UploadQueue

logger = logging.getLogger(__name__)

# A journal names every chunk so far, which takes 0.15 ms a chunk: over a second for a day of video. Then it is stored
# less often, so that it never costs more than this share of the work.
_LARGEST_SHARE = 0.02


class JournalKeeper:
    """Stores one writer's journal, behind what ``uploads`` has taken before, every ``every_s`` seconds of work.

    ``sent``: others may find it from now on. ``stored``: they do.
    """

    def __init__(self, uploads: UploadQueue, video_id: str, index_fp: str, attempt: str, every_s: float) -> None:
        self.sent = self.stored = False
        self._uploads = uploads
        self._path = layout.journal(video_id, index_fp, attempt)
        self._every_s = every_s
        self._due = time.monotonic() + every_s
        self._cost_s = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def store(self, make: Callable[[], bytes]) -> None:
        """Store what ``make`` returns, in the background.

        :raises ArchiveNotWritableError: an earlier upload failed.
        """

        def timed() -> bytes:
            began = time.perf_counter()
            data = make()
            self._cost_s = time.perf_counter() - began
            return data

        def note() -> None:
            self.stored = True

        self.sent = True
        self._uploads.put_last(self._path, timed, note)
        if self._every_s:  # otherwise it is due with every chunk
            self._due = time.monotonic() + max(self._every_s, self._cost_s / _LARGEST_SHARE)


def find_unfinished(storage: Storage, video: VideoIdentity, spec: IndexSpec) -> list[Manifest]:
    """What writers of this very index, of this very content, have stored and not committed; the longest first.

    One listing, and a read for each journal. A journal that is damaged, or whose shards are not all there, is left out.

    :raises ArchiveError: the storage cannot be listed.
    """
    stored = {info.path: info.size for info in storage.files(layout.attempts(video.video_id, spec.index_fp))}
    found = []
    for path in stored:
        if not path.endswith(f"/{layout.JOURNAL}"):
            continue
        manifest = _read(storage, path)
        if manifest is None or manifest.spec != spec or manifest.video.sha256 != video.sha256:
            continue
        if all(stored.get(manifest.shard_path(n)) == shard.size for n, shard in enumerate(manifest.shards)):
            found.append(manifest)
    return sorted(found, key=lambda manifest: len(manifest.chunks), reverse=True)


def claim(storage: Storage, unfinished: Manifest, heir: str) -> bool:
    """Whether the attempt ``heir`` may use the shards that ``unfinished`` names. They stay for as long as it works.

    :raises ArchiveError: the storage cannot be written or read.
    """
    key = _key(unfinished)
    try:
        storage.create(layout.claim(*key), _claim(heir))
    except FileExistsError:
        if _claimant(storage, layout.claim(*key)) in (None, unfinished.attempt):
            return False
    # It goes first when an attempt is deleted, so while it is there, so is everything that it names.
    if storage.exists(layout.journal(*key)):
        return True
    storage.delete(layout.claim(*key))
    return False


def withdraw(storage: Storage, video_id: str, index_fp: str, attempt: str) -> bool:
    """Whether the writer of ``attempt`` may delete it: it has no heirs, and from now on will have none.

    :raises ArchiveError: the storage cannot be written or read, or nobody knows what is committed.
    """
    path = layout.claim(video_id, index_fp, attempt)
    try:
        storage.create(path, _claim(attempt))
    except FileExistsError:
        if _claimant(storage, path) != attempt:
            return False
    # An heir that has committed deletes its claim, and its manifest tells.
    committed = layout.manifest(video_id, index_fp)
    try:
        if attempt not in Manifest.from_json(storage.read(committed), committed).attempts:
            return True
    except FileNotFoundError:
        return True
    delete(storage, video_id, index_fp, attempt)
    return False


def delete(storage: Storage, video_id: str, index_fp: str, attempt: str) -> None:
    """Delete journal and claim of an attempt whose index was committed.

    :raises ArchiveNotWritableError: deleting is refused.
    """
    storage.delete(layout.journal(video_id, index_fp, attempt))
    storage.delete(layout.claim(video_id, index_fp, attempt))


def _read(storage: Storage, path: str) -> Manifest | None:
    try:
        manifest = Manifest.from_json(storage.read(path), path)
    except FileNotFoundError:
        return None  # committed or given up meanwhile
    except (ArchiveFormatError, CorruptDataError) as error:
        logger.warning("Not gone on with: %s", error)
        return None
    return manifest if path == layout.journal(*_key(manifest)) else None


def _key(manifest: Manifest) -> tuple[str, str, str]:
    return manifest.video.video_id, manifest.index_fp, manifest.attempt


def _claim(attempt: str) -> bytes:
    return seal({"claimed_by": attempt, "created": datetime.now(UTC).isoformat(timespec="seconds")})


def _claimant(storage: Storage, path: str) -> str | None:
    """The attempt that holds the claim; None if it is damaged or has just gone, which nobody should build on."""
    try:
        return documents.field(unseal(storage.read(path), path), "claimed_by", str, path)
    except FileNotFoundError:
        return None
    except (ArchiveFormatError, CorruptDataError) as error:
        logger.warning("Nobody goes on from there: %s", error)
        return None
