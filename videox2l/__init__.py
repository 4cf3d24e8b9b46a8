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

from videox2l.answering import Answer, ResidentVideo, ask, stream_answer
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import VideoX2LError
from videox2l.models import load_model
from videox2l.prefill import ingest_video
from videox2l.store import Archive

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Archive",
    "CompressionConfig",
    "GenerationConfig",
    "ResidentVideo",
    "SamplingConfig",
    "SelectionConfig",
    "VideoX2LError",
    "ask",
    "ingest_video",
    "load_model",
    "stream_answer",
]
