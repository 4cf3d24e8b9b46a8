"""Video-X²L: ask many questions of very long videos, cheaply (arXiv 2506.21184).

A video is prefilled once and its KV cache kept at two levels per chunk; a question re-loads the detailed level for the
few chunks that matter to it and uses the gist for the rest::

    from videox2l import Archive, ResidentVideo, ask, ingest_video, load_model

    model = load_model("tiny")
    archive = Archive.open("archive", create=True)
    identity, _ = ingest_video(model, archive, "clip.mp4")
    video = ResidentVideo(model, archive.open_index(identity.video_id))
    print(ask(model, video, "Is there a red circle scene in the video?"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videox2l.answering import Answer, ResidentVideo, TimeRange, ask, stream_answer
    from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
    from videox2l.errors import VideoX2LError
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
    "load_model": "videox2l.models",
    "append_video": "videox2l.prefill",
    "ingest_video": "videox2l.prefill",
    "Archive": "videox2l.store",
}

__all__ = [
    "Answer",
    "Archive",
    "CompressionConfig",
    "GenerationConfig",
    "ResidentVideo",
    "SamplingConfig",
    "SelectionConfig",
    "TimeRange",
    "VideoX2LError",
    "append_video",
    "ask",
    "ingest_video",
    "load_model",
    "stream_answer",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
