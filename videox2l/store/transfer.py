"""One video's index as one file, to keep or to hand on.

The file is a ZIP archive, without compression, whose entries are laid out as in an archive: whoever opens it with any
ZIP program finds the same manifest and shards.
"""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

from videox2l.errors import AlreadyCommittedError, ArchiveFormatError, ArchiveNotWritableError, CorruptDataError
from videox2l.store import catalog, commit, layout
from videox2l.store.archive import Archive
from videox2l.store.documents import MAX_BYTES, checksum, seal, unseal
from videox2l.store.inventory import take_inventory
from videox2l.store.manifest import Manifest
from videox2l.store.storage import Storage


def export_index(archive: Archive, manifest: Manifest, target: Path) -> int:
    """Write the index to ``target``, verified on the way, and return the file's size. A half-written file is removed.

    :raises CorruptDataError: stored bytes are not what was written.
    :raises ArchiveNotWritableError: ``target`` exists, or cannot be written.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        if target.exists():
            raise FileExistsError(f"{target} exists")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as out:
            out.writestr(layout.ARCHIVE, seal({"created": manifest.created}))
            out.writestr(layout.model(manifest.spec.model_fingerprint), manifest.spec.model_json())
            for number in range(len(manifest.shards)):
                out.writestr(manifest.shard_path(number), read_shard(archive.storage, manifest, number))
            out.writestr(manifest.path, manifest.to_json())
        partial.rename(target)
    except OSError as error:
        raise ArchiveNotWritableError(f"cannot export to {target}: {error}. Give a new file.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def import_index(archive: Archive, file: Path) -> Manifest:
    """Bring an exported index into ``archive``: every byte is verified before anything of it can be seen.

    It comes as an attempt of its own, for it is a commit of its own: indexes beside it neither replace it nor are
    replaced by it, as they may have been, or would have been, where and when it was exported.

    :raises ArchiveFormatError: ``file`` is no export.
    :raises CorruptDataError: it is damaged.
    :raises AlreadyCommittedError: the archive has this very index.
    """
    source = open_export(file)
    try:
        (found,) = take_inventory(source).manifests.values()
        manifest = Manifest.from_json(source.read(found.path), f"{file}, {found.path}")
    except ValueError as error:
        raise ArchiveFormatError(f"{file} holds no index, or several: `videox2l export` did not write it.") from error
    if manifest.path != found.path:
        raise ArchiveFormatError(f"{file}: {found.path} describes another index. Export it again.")
    if not commit.make_way(archive.storage, (manifest.video.video_id, manifest.index_fp)):
        raise AlreadyCommittedError(f"{manifest.video.name} is already in {archive.url} with these settings.")
    archive.prepare_to_write(manifest.spec)
    manifest = dataclasses.replace(manifest, attempt=layout.new_attempt(), replaces=())
    for number in range(len(manifest.shards)):
        archive.storage.write(manifest.shard_path(number), read_shard(source, manifest, number))
    commit.check_stored(
        archive.storage, (manifest.video.video_id, manifest.index_fp), manifest.attempts, manifest.shards
    )
    catalog.announce(archive.storage, manifest, anew=True)
    if not commit.put_in_place(archive.storage, manifest, None):
        raise AlreadyCommittedError(f"{manifest.video.name} is already in {archive.url} with these settings.")
    commit.tidy_up(archive.storage, manifest, (), ())
    return manifest


def read_shard(storage: Storage, manifest: Manifest, number: int) -> bytes:
    """A whole shard, verified.

    :raises CorruptDataError: it is missing or not what was written.
    """
    shard, path = manifest.shards[number], manifest.shard_path(number)
    try:
        data = storage.read(path, shard.size)
    except FileNotFoundError as error:
        raise CorruptDataError(f"{path} is missing. Run `videox2l repair`, or ingest the video again.") from error
    if len(data) != shard.size or checksum(data) != shard.checksum:
        raise CorruptDataError(f"{path} is not what was written. Run `videox2l repair`, or ingest the video again.")
    return data


def open_export(file: Path) -> Storage:
    """The entries of an exported index, to be read.

    :raises ArchiveFormatError: ``file`` is no export, or is not there.
    """
    if not zipfile.is_zipfile(file):
        raise ArchiveFormatError(f"{file} is no file that `videox2l export` wrote. Check the path.")
    try:
        # Not the file system that fsspec made before for this path: it would list what the file held then.
        storage = Storage(f"zip://::file://{file.absolute()}", {"skip_instance_cache": True})
        unseal(storage.read(layout.ARCHIVE, MAX_BYTES), f"{file}, {layout.ARCHIVE}")
    except (FileNotFoundError, zipfile.BadZipFile) as error:
        raise ArchiveFormatError(f"{file} is no file that `videox2l export` wrote. Check the path.") from error
    return storage
