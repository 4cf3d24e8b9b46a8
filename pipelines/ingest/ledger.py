"""The ledger of a run: one JSON line for every finished video, in the archive under ``runs/<run id>.jsonl``."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pipelines.ingest.rows import IngestRow
from videox2l.errors import ArchiveError, ConfigError
from videox2l.store.documents import seal_line
from videox2l.store.storage import Storage

logger = logging.getLogger(__name__)

# Objects in object storage cannot be appended to, so the growing ledger is stored anew; this often costs nothing
# next to a prefill, and a driver that is killed leaves all but its last seconds.
_STORE_EVERY_S = 5.0


def new_run_id() -> str:
    """Sorts by time and tells apart runs that start in the same second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class Ledger:
    """Records rows as they finish. A context manager: leaving it stores what there is.

    The first line describes the run (``{"run": …}``), every other one is an :class:`IngestRow`; each has a checksum.
    ``copy`` names a local file that gets each line at once as well.

    :raises ArchiveNotWritableError: when entered, if the archive does not take it: nothing has been done then.
    :raises ConfigError: the local copy cannot be written.
    """

    def __init__(self, storage: Storage, run_id: str, settings: Mapping[str, Any], copy: Path | None = None) -> None:
        self.path = f"runs/{run_id}.jsonl"
        self.url = f"{storage.url}/{self.path}"
        self._storage = storage
        self._lines = [seal_line({"run": run_id, **settings})]
        self._copy = copy
        self._stored = (0, 0.0)  # lines, and when

    def record(self, row: IngestRow) -> None:
        """Append ``row``."""
        self._lines.append(seal_line(dataclasses.asdict(row)))
        if self._copy is not None:
            with self._copy.open("ab") as stream:
                stream.write(self._lines[-1])
        if time.monotonic() - self._stored[1] > _STORE_EVERY_S:
            self._try_to_store()

    def _try_to_store(self) -> None:
        try:
            self._store()
        except ArchiveError as error:
            # What is committed is committed; the ledger only tells of it, and its next version holds everything.
            logger.warning("The ledger of this run could not be brought up to date: %s", error)

    def _store(self) -> None:
        self._stored = (self._stored[0], time.monotonic())
        if self._stored[0] < len(self._lines):
            self._storage.write(self.path, b"".join(self._lines))
            self._stored = (len(self._lines), time.monotonic())

    def __enter__(self) -> Ledger:
        if self._copy is not None:
            try:
                self._copy.parent.mkdir(parents=True, exist_ok=True)
                self._copy.write_bytes(self._lines[0])
            except OSError as error:
                raise ConfigError(f"the ledger {self._copy} cannot be written: {error}") from error
        self._store()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._try_to_store()
