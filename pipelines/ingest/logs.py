"""Log lines of worker processes that say which video they are about.

A cluster's machines each write the logs of many processes, and a process works on many videos, two of them at a time.
So whatever is logged while a video is being worked on, by this project or by any library, carries its name and id::

    2026-05-01 09:12:44,108 WARNING videox2l.store.writer [lecture.mp4 3f1c22a90b7e] …

It goes to the standard error of the process, which Ray keeps in its session's folder on that machine.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from videox2l.identity import source_name, source_url
from videox2l.video import Chunk, DecodedChunk, FrameFormat

if TYPE_CHECKING:
    # Would bring torch into processes that only decode.
    from pipelines.ingest.job import Decoder

_OURS = ("videox2l", "pipelines")

# The start of an id tells videos apart, and is what other commands take as well.
_ID_LENGTH = 12

_FORMAT = "%(asctime)s %(levelname)s %(name)s [%(video)s] %(message)s"

_video: ContextVar[str] = ContextVar("video", default="-")


@contextmanager
def about_video(source: str, video_id: str = "") -> Iterator[None]:
    """What is logged inside, in this thread, is about the video at ``source``. For worker processes only."""
    _log_to_stderr()
    name = source_name(source_url(source))
    token = _video.set(f"{name} {video_id[:_ID_LENGTH]}" if video_id else name)
    try:
        yield
    finally:
        _video.reset(token)


@dataclass(frozen=True)
class LoggedDecoder:
    """``decoder``, with its log lines naming the video."""

    decoder: Decoder

    def __call__(self, source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
        """As :data:`~pipelines.ingest.job.Decoder` says."""
        with about_video(source):
            yield from self.decoder(source, chunks, fmt)


class _Handler(logging.StreamHandler):
    """Its class tells whether a process has been set up."""

    def format(self, record: logging.LogRecord) -> str:
        record.video = _video.get()
        return super().format(record)


def _log_to_stderr() -> None:
    """Set this process up, once."""
    root = logging.getLogger()
    if any(isinstance(handler, _Handler) for handler in root.handlers):
        return
    handler = _Handler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    root.addHandler(handler)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
