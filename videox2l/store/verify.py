"""An audit of a whole archive: every byte of every file is read and compared with what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial

import xxhash

from videox2l.errors import ArchiveFormatError, CorruptDataError
from videox2l.store import catalog, documents, layout
from videox2l.store.catalog import CatalogRow
from videox2l.store.documents import unseal, unseal_line
from videox2l.store.entries import ShardEntry
from videox2l.store.inventory import IndexKey, Inventory, read_manifests, take_inventory
from videox2l.store.manifest import Manifest
from videox2l.store.storage import FileInfo, Range, Storage

_READERS = 8  # files at once: hides the latency of object storage, and hashing uses several cores
_BLOCK = 16 * 2**20  # bytes read at a time, which bounds memory to this times the readers

Progress = Callable[[int, int], None]
"""Called with (bytes checked, bytes in all)."""


@dataclass(frozen=True)
class Damage:
    """One file that is not what was written. ``index``: the index that cannot be fully used because of it."""

    path: str
    problem: str
    index: IndexKey | None = None


@dataclass(frozen=True)
class Report:
    """What an audit found. ``unused``: files that nothing refers to, which is no damage; ``gc`` removes old ones."""

    damaged: tuple[Damage, ...]
    files: int
    bytes: int
    indexes: int
    unused: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.damaged


def verify(storage: Storage, progress: Progress | None = None) -> Report:
    """Check every file of the archive at ``storage``.

    :raises ArchiveError: the storage cannot be listed, or stops answering; that says nothing about the files.
    """
    inventory = take_inventory(storage)
    manifests, unreadable = read_manifests(storage, inventory)
    damaged = [Damage(inventory.manifests[key].path, str(error), key) for key, error in unreadable.items()]
    checks = [*_document_checks(storage, inventory, manifests), *_shard_checks(storage, inventory, manifests)]
    total = sum(info.size for info, _ in checks)
    done = 0
    with ThreadPoolExecutor(_READERS) as pool:
        sizes: dict[Future[Damage | None], int] = {pool.submit(check): info.size for info, check in checks}
        try:
            for future in as_completed(sizes):
                if found := future.result():
                    damaged.append(found)
                done += sizes[future]
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    damaged += _missing(inventory, manifests)
    return Report(
        damaged=tuple(sorted(damaged, key=lambda damage: damage.path)),
        files=len(checks) + len(inventory.manifests),
        bytes=total + sum(info.size for info in inventory.manifests.values()),
        indexes=len(inventory.manifests),
        unused=_unused(inventory, manifests),
    )


def verify_index(storage: Storage, manifest: Manifest) -> list[Damage]:
    """Check all files of one index."""
    key = (manifest.video.video_id, manifest.index_fp)
    found = (_check_shard(storage, manifest.shard_path(n), shard, key) for n, shard in enumerate(manifest.shards))
    return [damage for damage in found if damage is not None]


_Check = tuple[FileInfo, Callable[[], Damage | None]]


def _document_checks(storage: Storage, inventory: Inventory, manifests: dict[IndexKey, Manifest]) -> Iterator[_Check]:
    def document(info: FileInfo, fits: Callable[[dict[str, object]], bool] | None = None) -> _Check:
        return info, partial(_check_document, storage, info.path, fits)

    if inventory.archive is not None:
        yield document(inventory.archive)
    for name, info in inventory.models.items():
        yield document(info, partial(_is_model, name))
    for info in inventory.calibrations:
        yield document(info, partial(_is_calibration, info.path))
    for info in inventory.sources:
        yield document(info, partial(_is_source, info.path))
    for (video_id, index_fp, attempt), info in inventory.journals.items():
        yield document(info, partial(_is_journal, (video_id, index_fp), attempt))
    for info in (*inventory.quarantine.values(), *inventory.reports):
        if info.path.endswith(".json"):  # a report's other form, for people, has no checksum
            yield document(info)
    for info in inventory.runs:
        yield info, partial(_check_ledger, storage, info.path)
    for key, info in inventory.catalog.items():
        yield info, partial(_check_row, storage, info.path, key, manifests.get(key))


def _is_calibration(path: str, found: dict[str, object]) -> bool:
    return layout.calibration(str(found.get("model_fingerprint"))) == path


def _is_model(name: str, found: dict[str, object]) -> bool:
    return found.get("fingerprint") == name


def _is_source(path: str, found: dict[str, object]) -> bool:
    return layout.source(str(found.get("url"))) == path


def _is_journal(key: IndexKey, attempt: str, found: dict[str, object]) -> bool:
    return (found.get("index_fp"), found.get("attempt")) == (key[1], attempt)


def _shard_checks(storage: Storage, inventory: Inventory, manifests: dict[IndexKey, Manifest]) -> Iterator[_Check]:
    stored = {info.path: info for files in inventory.attempts.values() for info in files}
    for key, manifest in manifests.items():
        for number, shard in enumerate(manifest.shards):
            path = manifest.shard_path(number)
            if path in stored:
                yield stored[path], partial(_check_shard, storage, path, shard, key)


def _check_document(storage: Storage, path: str, fits: Callable[[dict[str, object]], bool] | None) -> Damage | None:
    try:
        found = unseal(storage.read(path), path)
        if fits is not None and not fits(found):
            return Damage(path, "what it says does not belong under its name")
    except (ArchiveFormatError, CorruptDataError, FileNotFoundError) as error:
        return Damage(path, str(error))
    return None


def _check_ledger(storage: Storage, path: str) -> Damage | None:
    try:
        lines = storage.read(path, documents.MAX_BYTES).split(b"\n")
        if lines.pop() != b"":
            return Damage(path, "its last line is cut short")
        for number, line in enumerate(lines, start=1):
            unseal_line(line, f"{path}, line {number}")
    except (ArchiveFormatError, CorruptDataError, FileNotFoundError) as error:
        return Damage(path, str(error))
    return None


def _check_row(storage: Storage, path: str, key: IndexKey, manifest: Manifest | None) -> Damage | None:
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return None  # removed meanwhile, with its index
    if catalog.is_announcement(data):
        return None  # of an index that is being committed, or was not after all; if it was, who lists makes its row
    row = catalog.from_parquet(data)
    if manifest is None and not storage.exists(layout.manifest(*key)):
        return Damage(path, "it lists an index whose manifest is missing", key)
    if row is None or (row.video_id, row.index_fp) != key:
        return Damage(path, "the row is damaged; it is made again from its manifest")
    if manifest is not None and row != CatalogRow.of(manifest):
        return Damage(path, "the row is not that of its manifest; it is made again from it")
    return None


def _check_shard(storage: Storage, path: str, shard: ShardEntry, key: IndexKey) -> Damage | None:
    digest, size = xxhash.xxh3_128(), 0
    try:
        while block := storage.read_ranges([Range(path, size, _BLOCK)])[0]:
            digest.update(block)
            size += len(block)
            if len(block) < _BLOCK:
                break
    except FileNotFoundError:
        return Damage(path, "it is missing", key)
    if size != shard.size:
        return Damage(path, f"it has {size} bytes where {shard.size} were written", key)
    if digest.hexdigest() != shard.checksum:
        return Damage(path, "its checksum does not match", key)
    return None


def _missing(inventory: Inventory, manifests: dict[IndexKey, Manifest]) -> Iterator[Damage]:
    stored = {info.path for files in inventory.attempts.values() for info in files}
    if inventory.archive is None:
        yield Damage(layout.ARCHIVE, "it is missing")
    for key, manifest in manifests.items():
        for number in range(len(manifest.shards)):
            if (path := manifest.shard_path(number)) not in stored:
                yield Damage(path, "it is missing", key)
    for model in sorted({manifest.spec.model_fingerprint for manifest in manifests.values()} - inventory.models.keys()):
        yield Damage(layout.model(model), "it is missing")


def _unused(inventory: Inventory, manifests: dict[IndexKey, Manifest]) -> tuple[str, ...]:
    used = {manifest.shard_path(number) for manifest in manifests.values() for number in range(len(manifest.shards))}
    attempts = [info.path for files in inventory.attempts.values() for info in files]
    others = [info.path for info in (*inventory.leftovers, *inventory.unknown)]
    return tuple(sorted([path for path in attempts if path not in used] + others))
