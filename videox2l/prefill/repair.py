"""Making damaged indexes anew from their source videos, and the archive's small files from what they were made of.

An index is rebuilt with the settings that its manifest names, or its catalog row where the manifest is damaged too, and
only from the very video, the very model and the very retriever: the result is what was there before. It takes the
damaged index's place in one step. Catalog rows, descriptions of models and notes about sources are made again or
removed, since all they say is known from elsewhere; a ledger is not.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Literal

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import (
    ArchiveFormatError,
    CorruptDataError,
    FingerprintMismatchError,
    ModelError,
    VideoX2LError,
)
from videox2l.identity import RetrieverIdentity, VideoIdentity, source_name, video_identity
from videox2l.models import KVCompressibleModel
from videox2l.models.retriever import Retriever, check_recorded, load_recorded
from videox2l.prefill.chunks import index_spec
from videox2l.prefill.ingest import write_index
from videox2l.store import Archive, CatalogRow, Manifest, catalog, layout
from videox2l.store.documents import seal, unseal
from videox2l.store.inventory import IndexKey
from videox2l.store.metadata import Description
from videox2l.store.retention import Expiry, expire
from videox2l.store.verify import Damage
from videox2l.video import plan_video_isolated

ModelLoader = Callable[[str], KVCompressibleModel]
"""Loads the model that indexes are rebuilt with, to compute in the dtype that is given by its name."""

Action = Literal["rebuilt", "rewritten", "removed", "left"]

RepairProgress = Callable[[str, int, int], None]
"""Called with (name of the video, chunks done, chunks in all)."""


class RepairError(VideoX2LError):
    """Something damaged cannot be made again. The message says what would help."""


@dataclass(frozen=True)
class Repair:
    """What became of one damaged thing: an index (``index`` set, with the name of its video) or a file.

    ``action``: done, or in a dry run to be done; ``left`` where it could not be, and ``error`` says why.
    """

    paths: tuple[str, ...]
    problem: str
    action: Action
    error: str = ""
    index: IndexKey | None = None
    name: str = ""


def repair(
    archive: Archive,
    load: ModelLoader,
    damaged: Sequence[Damage],
    *,
    dry_run: bool = False,
    vectors: bool = True,
    progress: RepairProgress | None = None,
) -> list[Repair]:
    """Repair what :func:`videox2l.store.verify.verify` found. What cannot be repaired is reported, never raised.

    ``load`` is called once for each dtype that is needed, and not at all where no index is damaged. A dry run checks
    the source videos and retrievers, loads no model, and writes nothing.

    ``vectors``: of an index that had a retriever's, also make those again, which takes that retriever. Without them it
    is rebuilt as if it had been ingested without one.

    :raises ArchiveFormatError: the archive is of another format version, which this software could only spoil.
    """
    _check_version(archive)
    load = cache(load)
    by_index: dict[IndexKey, list[Damage]] = {}
    for damage in damaged:
        if damage.index is not None:
            by_index.setdefault(damage.index, []).append(damage)
    found = [_repair_index(archive, load, key, group, dry_run, vectors, progress) for key, group in by_index.items()]
    # Afterwards, because a rebuilt index knows what its catalog row and its model's description should say.
    return found + [_repair_file(archive, damage, dry_run) for damage in damaged if damage.index is None]


def _check_version(archive: Archive) -> None:
    try:
        unseal(archive.storage.read(layout.ARCHIVE), f"{archive.url}/{layout.ARCHIVE}")
    except (FileNotFoundError, CorruptDataError):
        return  # can be made again
    except ArchiveFormatError as error:
        raise ArchiveFormatError(
            f"{error} If it is only damaged, and all other files are of this version, delete it and repair again."
        ) from error


@dataclass(frozen=True)
class _Lost:
    """What is known of a damaged index. ``manifest`` is None where that is damaged itself."""

    video: VideoIdentity
    sampling: SamplingConfig
    compression: CompressionConfig
    codecs: dict[Literal["low", "high"], str]
    dtype: str
    model_fingerprint: str
    description: Description
    retriever: RetrieverIdentity | None
    manifest: Manifest | None


def _repair_index(
    archive: Archive,
    load: ModelLoader,
    key: IndexKey,
    damaged: Sequence[Damage],
    dry_run: bool,
    vectors: bool,
    progress: RepairProgress | None,
) -> Repair:
    result = Repair(tuple(d.path for d in damaged), damaged[0].problem, "rebuilt", index=key, name=key[0])
    try:
        lost = _find_settings(archive, key)
        if not vectors:
            lost = dataclasses.replace(lost, retriever=None)
        result = dataclasses.replace(result, name=lost.video.name)
        _check_source(lost.video)
        _check_retriever(lost)
        if not dry_run:
            _rebuild(archive, load(lost.dtype), key, lost, progress)
    except VideoX2LError as error:
        return dataclasses.replace(result, action="left", error=str(error))
    return result


def _find_settings(archive: Archive, key: IndexKey) -> _Lost:
    manifest, row = _manifest(archive, key), catalog.read(archive.storage, [key]).get(key)
    if manifest is not None:
        row = CatalogRow.of(manifest)
    if row is None:
        raise RepairError(
            f"both the manifest and the catalog row of {layout.manifest(*key)} are damaged, so nobody knows of what it "
            "was made. Remove it and ingest the video again."
        )
    try:
        sampling, compression = (
            SamplingConfig(**json.loads(row.sampling)),
            CompressionConfig(**json.loads(row.compression)),
        )
    except (TypeError, ValueError) as error:
        raise RepairError(
            f"{row.name} was made with settings that this version does not know ({error}). Ingest it with --replace."
        ) from error
    return _Lost(
        video=VideoIdentity(row.video_id, row.name, row.source, row.size, row.sha256),
        sampling=sampling,
        compression=compression,
        codecs={"low": row.low_codec, "high": row.high_codec},
        dtype=row.dtype,
        model_fingerprint=row.model_fingerprint,
        description=row.description,
        retriever=row.retrieved_by,
        manifest=manifest,
    )


def _manifest(archive: Archive, key: IndexKey) -> Manifest | None:
    """The manifest in place, or None if it is damaged or gone."""
    path = layout.manifest(*key)
    try:
        manifest = Manifest.from_json(archive.storage.read(path), path)
    except (FileNotFoundError, ArchiveFormatError, CorruptDataError):
        return None
    return manifest if (manifest.video.video_id, manifest.index_fp) == key else None


def _check_source(video: VideoIdentity) -> None:
    found = video_identity(video.source)
    if found.sha256 != video.sha256:
        raise RepairError(
            f"{video.source} is no longer the video that was ingested: it had {video.size} bytes with SHA-256 "
            f"{video.sha256[:12]}…, now {found.size} bytes with {found.sha256[:12]}…. Put the original back, or remove "
            "the index and ingest what is there now."
        )


def _check_retriever(lost: _Lost) -> None:
    """Before any work is spent. Loaded it is only where the index is rebuilt."""
    if lost.retriever is not None:
        with _saying_how_to_go_on():
            check_recorded(lost.retriever, lost.model_fingerprint)


def _load_retriever(lost: _Lost, model: KVCompressibleModel) -> Retriever | None:
    if lost.retriever is None:
        return None
    with _saying_how_to_go_on():
        return load_recorded(lost.retriever, model)


@contextmanager
def _saying_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except (ModelError, FingerprintMismatchError) as error:
        raise RepairError(
            f"its vectors cannot be made again (--no-vectors rebuilds it without them): {error}"
        ) from error


def _rebuild(
    archive: Archive, model: KVCompressibleModel, key: IndexKey, lost: _Lost, progress: RepairProgress | None
) -> None:
    name = lost.video.name
    if model.identity.fingerprint != lost.model_fingerprint:
        raise RepairError(
            f"{name} was made by model {lost.model_fingerprint}, not by {model.name} ({model.identity.fingerprint}). "
            "Give that one, with --model."
        )
    spec = index_spec(model, lost.sampling, lost.compression, lost.codecs)
    if spec.index_fp != key[1]:
        raise RepairError(
            f"{name} was made with settings that this version no longer has. Remove the index and ingest the video."
        )
    retriever = _load_retriever(lost, model)
    plan = plan_video_isolated(lost.video.source, lost.sampling, lost.compression.frames_per_chunk)
    said = lost.description
    with archive.rebuild_index(
        lost.video, spec, recorded_at=said.recorded_at, metadata=said.metadata, aliases=said.aliases
    ) as writer:
        made = write_index(
            model,
            lost.compression,
            lost.video.source,
            plan.chunks,
            writer,
            progress=None if progress is None else lambda done, total: progress(name, done, total),
            thumbnails=lost.manifest is None or any(chunk.thumbnail for chunk in lost.manifest.chunks),
            retriever=retriever,
        )
    if lost.manifest is not None and "low" in lost.manifest.dropped:
        expire(archive, Expiry(made, "low", made.totals["low"].bytes))


def _repair_file(archive: Archive, damage: Damage, dry_run: bool) -> Repair:
    try:
        action, mend = _plan_file(archive, damage.path)
        if not dry_run:
            mend()
    except VideoX2LError as error:
        return Repair((damage.path,), damage.problem, "left", str(error))
    return Repair((damage.path,), damage.problem, action)


def _plan_file(archive: Archive, path: str) -> tuple[Action, Callable[[], None]]:
    """What is to be done about one damaged file that belongs to no index."""
    storage = archive.storage

    def remove() -> None:
        storage.delete(path)

    match path.split("/"):
        case [layout.ARCHIVE]:
            document = {"created": datetime.now(UTC).isoformat(timespec="seconds")}
            return "rewritten", lambda: storage.write(path, seal(document))
        # Caches, or what is only paid for once more without them.
        case [layout.SOURCES, _] | [layout.QUARANTINE, _] | [layout.VIDEOS, *_, layout.JOURNAL]:
            return "removed", remove
        case [layout.MODELS, name]:
            return _plan_model(archive, path, name.removesuffix(".json"))
        case [layout.CATALOG, name]:
            video_id, _, index_fp = name.removesuffix(".parquet").partition("-")
            manifest = _manifest(archive, (video_id, index_fp))
            if manifest is not None:
                return "rewritten", lambda: catalog.write(storage, manifest)
            if storage.exists(layout.manifest(video_id, index_fp)):
                raise RepairError(f"it is made from its manifest, which is damaged ({source_name(path)}).")
            return "removed", remove
    raise RepairError("it is kept in no other place. Restore it from a backup, or delete it.")


def _plan_model(archive: Archive, path: str, model_fingerprint: str) -> tuple[Action, Callable[[], None]]:
    used = (manifest.spec for manifest in archive.manifests())
    spec = next((spec for spec in used if spec.model_fingerprint == model_fingerprint), None)
    if spec is None:
        return "removed", lambda: archive.storage.delete(path)
    return "rewritten", lambda: archive.storage.write(path, spec.model_json())
