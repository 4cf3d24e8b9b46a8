"""How many bytes an archive takes, by level, video and model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from videox2l.store.catalog import CatalogRow
from videox2l.store.inventory import Inventory


@dataclass(frozen=True)
class Usage:
    """Bytes of the KVs of one group of indexes, and how many indexes they are. ``id`` names the group.

    ``duration_s``: seconds of video, each video counted once.
    """

    id: str
    name: str
    indexes: int
    low: int
    high: int
    duration_s: float

    @property
    def total(self) -> int:
        return self.low + self.high


def by_video(rows: Iterable[CatalogRow]) -> list[Usage]:
    """One entry a video, the largest first."""
    return _grouped((row.video_id, row.name, row) for row in rows)


def by_model(rows: Iterable[CatalogRow]) -> list[Usage]:
    """One entry a model, the largest first."""
    return _grouped((row.model_fingerprint, row.model_fingerprint[:12], row) for row in rows)


def stored_bytes(inventory: Inventory) -> dict[str, int]:
    """Bytes of all files by kind, those that nothing refers to included: what the storage bills."""
    return {
        "shards": sum(info.size for files in inventory.attempts.values() for info in files),
        "manifests": sum(info.size for info in inventory.manifests.values()),
        "catalog": sum(info.size for info in inventory.catalog.values()),
        "other": sum(
            info.size
            for info in (
                *([inventory.archive] if inventory.archive else []),
                *inventory.models.values(),
                *inventory.calibrations,
                *inventory.sources,
                *inventory.quarantine.values(),
                *inventory.runs,
                *inventory.reports,
                *inventory.leftovers,
                *inventory.unknown,
            )
        ),
    }


def _grouped(items: Iterable[tuple[str, str, CatalogRow]]) -> list[Usage]:
    groups: dict[str, tuple[str, list[CatalogRow]]] = {}
    for key, name, row in items:
        groups.setdefault(key, (name, []))[1].append(row)
    found = [
        Usage(
            key,
            name,
            len(rows),
            sum(row.low_bytes for row in rows),
            sum(row.high_bytes for row in rows),
            sum({row.video_id: row.duration_s for row in rows}.values()),
        )
        for key, (name, rows) in groups.items()
    ]
    return sorted(found, key=lambda usage: (-usage.total, usage.name))
