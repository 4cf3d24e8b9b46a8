"""What the job reports for each video. A failure is a row like any other, so a broken file never ends a job."""

from __future__ import annotations

import dataclasses
import json
import traceback
from dataclasses import dataclass, field
from typing import Literal

from videox2l.identity import source_name, source_url

Status = Literal["committed", "skipped", "failed", "quarantined", "planned"]
"""``quarantined``: failed by its own fault in earlier runs, and left alone. ``planned`` occurs in dry runs only."""

# The innermost frames, where the reason stands. A whole traceback through Ray would be most of the ledger.
_TRACEBACK_LINES = 20


@dataclass(frozen=True)
class IngestRow:
    """One video's result.

    ``source`` is what was asked for; ``video_id`` is empty where the content could not be read. ``error_type`` and
    ``error`` say why a row failed or was skipped, ``traceback`` where in the code a failure arose. ``kept`` of the
    ``chunks`` were stored before and only continued, their frames not counted in ``frames``. ``low_bytes`` and
    ``high_bytes`` are the stored KVs of each level (in a dry run: expected). ``seconds`` are by stage: ``identify``
    (reading the file's hash), ``plan``, ``wait`` (for decoded frames), ``vision``, ``low`` and ``high`` (the passes),
    ``store`` (encoding KVs, and waiting for uploads), and ``commit``. ``same_as``: the source of this run that has the
    same content and stands for it. ``worker``: the process that prefilled it, ``host:pid``; ``began`` and ``ended``:
    when that was, in seconds since 1970.
    """

    source: str
    status: Status
    video_id: str = ""
    name: str = ""
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    warning: str = ""
    chunks: int = 0
    kept: int = 0
    frames: int = 0
    duration_s: float = 0.0
    low_bytes: int = 0
    high_bytes: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    same_as: str = ""
    worker: str = ""
    began: float = 0.0
    ended: float = 0.0

    @classmethod
    def of_error(
        cls, source: str, error: BaseException, status: Status = "failed", video_id: str = "", name: str = ""
    ) -> IngestRow:
        """The row of a video that came to nothing because of ``error``. Without a ``name`` it has that of its file."""
        lines = "".join(traceback.format_exception(error)).splitlines()
        return cls(
            source,
            status,
            video_id,
            name or source_name(source_url(source)),
            type(error).__name__,
            str(error),
            "\n".join(lines[-_TRACEBACK_LINES:]) if status == "failed" else "",
        )

    def to_json(self) -> str:
        """One line of JSON, as in the ledger."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> IngestRow:
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(text))
