"""Whether what is asked of an archive was calibrated."""

from __future__ import annotations

import json
from collections.abc import Iterable

from videox2l.config import SelectionConfig
from videox2l.store import Archive, CatalogRow
from videox2l.store.calibration import CalibrationWatch


def warnings(
    archive: Archive, model_fingerprint: str, rows: Iterable[CatalogRow], selection: SelectionConfig
) -> list[str]:
    """What about the model's indexes among ``rows``, asked with ``selection``, was not found good enough.

    Empty where nothing of the archive was calibrated. Costs one small request where that is so.
    """
    watch = CalibrationWatch(archive.storage, model_fingerprint)
    said: list[str] = []
    if watch.state == "none":
        return said
    for row in rows:
        if row.model_fingerprint == model_fingerprint:
            codecs = {"low": row.low_codec, "high": row.high_codec}
            said += watch.news(json.loads(row.compression), codecs, selection)  # type: ignore[arg-type]
    return said
