"""One content under several names is ingested once; this is how the others become known, while the job runs.

The driver does it, for a duplicate may be found before its content is committed or after. What a driver that is killed
leaves undone, the next run notices: the content is in the archive then, and the name is not.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping

from pipelines.ingest.events import Event, RowFinished
from pipelines.ingest.job import ModelFacts
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.sources import VideoRequest
from videox2l.config import SamplingConfig
from videox2l.errors import ArchiveError
from videox2l.identity import VideoIdentity, source_url
from videox2l.store import Archive

logger = logging.getLogger(__name__)


class Aliases:
    """Notes names and sources of duplicates on the index of the video that stands for them."""

    def __init__(
        self, archive: Archive, requests: Mapping[str, VideoRequest], facts: ModelFacts, sampling: SamplingConfig
    ) -> None:
        self._archive = archive
        self._requests = requests
        self._facts = facts
        self._sampling = sampling
        self._stored: dict[str, str] = {}  # video ids by source
        self._waiting: defaultdict[str, list[IngestRow]] = defaultdict(list)

    def hear(self, event: Event) -> None:
        """Take in one event of the job."""
        if not isinstance(event, RowFinished):
            return
        row = event.row
        if row.same_as:
            self._waiting[row.same_as].append(row)
            self._note(row.same_as)
        elif row.status in ("committed", "skipped"):
            self._stored[row.source] = row.video_id
            self._note(row.source)

    def _note(self, first: str) -> None:
        if first not in self._stored:
            return
        spec = self._facts.spec_of(self._requests[first].sampling(self._sampling))
        for row in self._waiting.pop(first, []):
            video = VideoIdentity(self._stored[first], row.name, source_url(row.source), size=0, sha256="")
            try:
                self._archive.describe(video, spec.index_fp)
            except ArchiveError as error:
                logger.warning("%s has the same content as %s, which could not be noted: %s", row.source, first, error)
