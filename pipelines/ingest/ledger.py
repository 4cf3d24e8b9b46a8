"""The ledger of a run: one JSON line for every finished video, in the archive under ``runs/<run id>.jsonl``.

Beside it lie, when the run has ended, its report for people, ``.html``, and for programs, ``.json``. Both can be made
again from the ledger at any time.
"""

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

from pipelines.ingest.events import Event, RowFinished
from pipelines.ingest.report import store_report
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.runs import SUFFIX, Outcome, parse_ledger
from pipelines.ingest.tally import Tally, Timeline
from videox2l.errors import ArchiveError, ConfigError
from videox2l.store.documents import seal_line
from videox2l.store.layout import RUNS
from videox2l.store.storage import Storage

logger = logging.getLogger(__name__)

# Objects in object storage cannot be appended to, so the growing ledger is stored anew; this often costs nothing
# next to a prefill, and a driver that is killed leaves all but its last seconds.
_STORE_EVERY_S = 5.0

# A hundred thousand rows are 50 MB. Storing them may take one part in so many of the driver's time.
_STORE_SHARE = 20


def new_run_id() -> str:
    """Sorts by time and tells apart runs that start in the same second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class Ledger:
    """Records what becomes of the videos. A context manager: leaving it stores what there is, and the run's report.

    The first line describes the run (``{"run": …}``), the last one how it ended (``{"end": …}``), every other one is an
    :class:`IngestRow` with ``finished_s``, the seconds since the beginning; each has a checksum. ``copy`` names a local
    file that gets each line at once as well.

    :raises ArchiveNotWritableError: when entered, if the archive does not take it: nothing has been done then.
    :raises ConfigError: the local copy cannot be written.
    """

    def __init__(self, storage: Storage, run_id: str, about: Mapping[str, Any], copy: Path | None = None) -> None:
        self.path = f"{RUNS}/{run_id}{SUFFIX}"
        self.url = f"{storage.url}/{self.path}"
        self._storage = storage
        self._lines = [seal_line({"run": run_id, "archive": storage.url, "started": _now(), **about})]
        self._copy = copy
        self._stored = 0  # lines
        self._store_at = 0.0  # the next time, on the monotonic clock
        self._tally = Tally()
        self._timeline = Timeline()

    def hear(self, event: Event) -> None:
        """Take in one event of the job; rows are recorded."""
        chunks, video_s = self._tally.prefilled_chunks, self._tally.prefilled_s
        self._tally.hear(event)
        if (new := self._tally.prefilled_chunks - chunks) > 0:
            self._timeline.add(self._tally.elapsed_s, new, self._tally.prefilled_s - video_s)
        if isinstance(event, RowFinished):
            self._record(event.row)

    def _record(self, row: IngestRow) -> None:
        self._append({**dataclasses.asdict(row), "finished_s": round(self._tally.elapsed_s, 3)})
        if time.monotonic() > self._store_at:
            self._try_to_store()

    def _append(self, line: Mapping[str, Any]) -> None:
        self._lines.append(seal_line(line))
        if self._copy is None:
            return
        try:
            with self._copy.open("ab") as stream:
                stream.write(self._lines[-1])
        except OSError as error:
            # It would be a pity to end a job of days for this; the archive has the ledger itself.
            logger.warning("The copy %s of the ledger is not kept any more: %s", self._copy, error)
            self._copy = None

    def _try_to_store(self) -> None:
        try:
            self._store()
        except ArchiveError as error:
            # What is committed is committed; the ledger only tells of it, and its next version holds everything.
            logger.warning("The ledger of this run could not be brought up to date: %s", error)

    def _store(self) -> None:
        began = time.monotonic()
        try:
            if self._stored < len(self._lines):
                self._storage.write(self.path, b"".join(self._lines))
                self._stored = len(self._lines)
        finally:
            took = time.monotonic() - began
            self._store_at = began + took + max(_STORE_EVERY_S, _STORE_SHARE * took)

    def _end(self, error: BaseException | None) -> dict[str, Any]:
        outcome: Outcome = "stopped"
        if error is None:
            outcome = "finished"
        elif isinstance(error, KeyboardInterrupt):
            outcome = "interrupted"
        return {
            "outcome": outcome,
            "finished": _now(),
            "wall_s": round(self._tally.elapsed_s, 3),
            "error": str(error) if outcome == "stopped" else "",
            "timeline": self._timeline.to_dict(),
        }

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
        self._append({"end": self._end(error)})
        self._try_to_store()
        try:
            store_report(self._storage, parse_ledger(b"".join(self._lines), self.url))
        except ArchiveError as problem:
            logger.warning("The report of this run could not be stored: %s", problem)
        except Exception:  # the work is done, and `videox2l report` can be run when this is mended
            logger.exception("The report of this run could not be made")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
