"""Video-X²L: ask many questions of very long videos, cheaply (arXiv 2506.21184).

A video is prefilled once and its KV cache kept at two levels per chunk; a question re-loads the detailed level for the
few chunks that matter to it and uses the gist for the rest::

    import videox2l

    with videox2l.open("archive", model="tiny", create=True) as archive:
        video = archive.ingest("clip.mp4")
        print(video.ask("Is there a red circle scene in the video?"))

:func:`open` returns a :class:`~videox2l.library.Library`, for programs and notebooks. The parts below it, such as
:class:`Archive` and :func:`ask`, are for those who build something else of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videox2l.answering import Answer, ResidentVideo, TimeRange, ask, stream_answer
    from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
    from videox2l.errors import VideoX2LError
    from videox2l.library import AnswerStream, Conversation, Explanation, Library, Video, open  # noqa: A004
    from videox2l.models import load_model
    from videox2l.prefill import append_video, ingest_video
    from videox2l.store import Archive

__version__ = "0.1.0"

# Imported on first use: torch and transformers take seconds, and the processes that only decode need neither.
_HOMES = {
    "Answer": "videox2l.answering",
    "ResidentVideo": "videox2l.answering",
    "TimeRange": "videox2l.answering",
    "ask": "videox2l.answering",
    "stream_answer": "videox2l.answering",
    "CompressionConfig": "videox2l.config",
    "GenerationConfig": "videox2l.config",
    "SamplingConfig": "videox2l.config",
    "SelectionConfig": "videox2l.config",
    "VideoX2LError": "videox2l.errors",
    "AnswerStream": "videox2l.library",
    "Conversation": "videox2l.library",
    "Explanation": "videox2l.library",
    "Library": "videox2l.library",
    "Video": "videox2l.library",
    "open": "videox2l.library",
    "load_model": "videox2l.models",
    "append_video": "videox2l.prefill",
    "ingest_video": "videox2l.prefill",
    "Archive": "videox2l.store",
}

__all__ = [
    "Answer",
    "AnswerStream",
    "Archive",
    "CompressionConfig",
    "Conversation",
    "Explanation",
    "GenerationConfig",
    "Library",
    "ResidentVideo",
    "SamplingConfig",
    "SelectionConfig",
    "TimeRange",
    "Video",
    "VideoX2LError",
    "append_video",
    "ask",
    "ingest_video",
    "load_model",
    "open",
    "stream_answer",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
