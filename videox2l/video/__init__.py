"""Videos: opened, indexed by presentation time, sampled, cut into chunks, and decoded in a stream."""

from videox2l.video.container import Source
from videox2l.video.decode import DecodedChunk, decode_chunks
from videox2l.video.frames import FrameFormat
from videox2l.video.isolated import decode_chunks_isolated, plan_video_isolated
from videox2l.video.plan import Chunk, VideoPlan, plan_video
from videox2l.video.probe import FrameIndex, VideoInfo, index_frames, probe
from videox2l.video.thumbnails import thumbnail

__all__ = [
    "Chunk",
    "DecodedChunk",
    "FrameFormat",
    "FrameIndex",
    "Source",
    "VideoInfo",
    "VideoPlan",
    "decode_chunks",
    "decode_chunks_isolated",
    "index_frames",
    "plan_video",
    "plan_video_isolated",
    "probe",
    "thumbnail",
]
