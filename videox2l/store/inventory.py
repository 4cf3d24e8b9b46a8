"""Every file of an archive, sorted by what it is. One listing, for whatever looks at a whole archive."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from videox2l.errors import ArchiveError, ArchiveFormatError, CorruptDataError
from videox2l.store import layout
from videox2l.store.manifest import ID, Manifest
from videox2l.store.storage import FileInfo, Storage

_READERS = 16  # small documents at once: their reading is all latency

IndexKey = tuple[str, str]
"""Video id and index fingerprint."""

AttemptKey = tuple[str, str, str]
"""Video id, index fingerprint and attempt."""


@dataclass
class Inventory:
    """What one listing found. ``leftovers``: temporary files of killed writers; ``unknown``: none of ours.

    ``attempts`` hold the ``journals``, too, and the claims beside them. ``reports`` are made of ``runs``, the
    ledgers; the states of ingests that a service was given are among them.
    """

    archive: FileInfo | None = None
    manifests: dict[IndexKey, FileInfo] = field(default_factory=dict)
    attempts: dict[AttemptKey, list[FileInfo]] = field(default_factory=lambda: defaultdict(list))
    journals: dict[AttemptKey, FileInfo] = field(default_factory=dict)
    catalog: dict[IndexKey, FileInfo] = field(default_factory=dict)
    quarantine: dict[IndexKey, FileInfo] = field(default_factory=dict)
    models: dict[str, FileInfo] = field(default_factory=dict)
    calibrations: list[FileInfo] = field(default_factory=list)
    sources: list[FileInfo] = field(default_factory=list)
    runs: list[FileInfo] = field(default_factory=list)
    reports: list[FileInfo] = field(default_factory=list)
    leftovers: list[FileInfo] = field(default_factory=list)
    unknown: list[FileInfo] = field(default_factory=list)


def take_inventory(storage: Storage) -> Inventory:
    """List the archive.

    :raises ArchiveError: the storage cannot be listed.
    """
    inventory = Inventory()
    for info in storage.files():
        _sort(info, inventory)
    return inventory


def read_manifests(
    storage: Storage, inventory: Inventory
) -> tuple[dict[IndexKey, Manifest], dict[IndexKey, ArchiveError]]:
    """All manifests that are whole, and what is wrong with the others; those just removed are in neither.

    :raises ArchiveError: the storage stops answering, which says nothing about the manifests.
    """
    whole: dict[IndexKey, Manifest] = {}
    damaged: dict[IndexKey, ArchiveError] = {}

    def read(key: IndexKey) -> None:
        path = inventory.manifests[key].path
        try:
            manifest = Manifest.from_json(storage.read(path), path)
        except FileNotFoundError:
            return
        except (ArchiveFormatError, CorruptDataError) as error:
            damaged[key] = error
            return
        if (manifest.video.video_id, manifest.index_fp) == key:
            whole[key] = manifest
        else:
            damaged[key] = ArchiveFormatError(f"{path} describes another index: it was copied or moved by hand.")

    with ThreadPoolExecutor(_READERS) as pool:
        for _ in pool.map(read, inventory.manifests):
            pass  # raises the first error
    return {key: whole[key] for key in inventory.manifests if key in whole}, damaged


def _sort(info: FileInfo, into: Inventory) -> None:
    parts = info.path.split("/")
    name = parts[-1]
    if name.startswith("."):
        if name.endswith(".tmp"):
            into.leftovers.append(info)
        elif not name.endswith(".lock"):
            into.unknown.append(info)
        return
    match parts:
        case [layout.ARCHIVE]:
            into.archive = info
        case [layout.VIDEOS, video_id, index_fp, layout.MANIFEST] if _is_index(video_id, index_fp):
            into.manifests[video_id, index_fp] = info
        case [layout.VIDEOS, video_id, index_fp, layout.ATTEMPTS, attempt, file] if _is_index(
            video_id, index_fp
        ) and layout.ATTEMPT_NAME.fullmatch(attempt):
            into.attempts[video_id, index_fp, attempt].append(info)
            if file == layout.JOURNAL:
                into.journals[video_id, index_fp, attempt] = info
        case [layout.CATALOG, row] if (key := _index_key(row, ".parquet")) is not None:
            into.catalog[key] = info
        case [layout.QUARANTINE, record] if (key := _index_key(record, ".json")) is not None:
            into.quarantine[key] = info
        case [layout.MODELS, model] if model.endswith(".json"):
            into.models[model.removesuffix(".json")] = info
        case [layout.CALIBRATIONS, calibration] if calibration.endswith(".json"):
            into.calibrations.append(info)
        case [layout.SOURCES, note] if note.endswith(".json"):
            into.sources.append(info)
        case [layout.RUNS, ledger] if ledger.endswith(".jsonl"):
            into.runs.append(info)
        case [layout.INGESTS, job] if job.endswith(".json"):
            into.reports.append(info)
        case [layout.RUNS, report] if report.endswith((".json", ".html")):
            into.reports.append(info)
        case _:
            into.unknown.append(info)


def _is_index(video_id: str, index_fp: str) -> bool:
    return ID.fullmatch(video_id) is not None and ID.fullmatch(index_fp) is not None


def _index_key(name: str, suffix: str) -> IndexKey | None:
    """The index in the name of a file that belongs to one."""
    video_id, _, index_fp = name.removesuffix(suffix).partition("-")
    return (video_id, index_fp) if name.endswith(suffix) and _is_index(video_id, index_fp) else None
