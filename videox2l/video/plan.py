"""The plan of a video: which frames make up which chunk, as plain data that travels to workers and into manifests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError
from videox2l.video.container import Source
from videox2l.video.probe import VideoInfo, index_frames, probe
from videox2l.video.sampling import sample_frames


@dataclass(frozen=True)
class Chunk:
    """Consecutive sampled frames and the span of video they stand for.

    All times are seconds after the video's first frame. ``times_s`` are the frames' presentation times. The span
    ``[start_s, end_s)`` goes from the first of them to the first of the next chunk, or to the end of the video: the
    chunks of a plan cover the video without gap or overlap. ``pts`` are the frames' exact time stamps in the file's own
    units and ``key_pts`` the keyframe that each is decoded from, so that decoding neither rounds nor guesses.
    """

    index: int
    start_s: float
    end_s: float
    times_s: tuple[float, ...]
    pts: tuple[int, ...]
    key_pts: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Chunk:
        """The inverse of :meth:`to_dict`."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**fields)


@dataclass(frozen=True)
class VideoPlan:
    """A video and its chunks, in order. ``info.duration_s`` is exact: the end of the last chunk."""

    info: VideoInfo
    chunks: tuple[Chunk, ...]

    @property
    def frames(self) -> int:
        """Number of sampled frames."""
        return sum(len(chunk.pts) for chunk in self.chunks)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"info": dataclasses.asdict(self.info), "chunks": [chunk.to_dict() for chunk in self.chunks]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VideoPlan:
        """The inverse of :meth:`to_dict`."""
        return cls(VideoInfo(**data["info"]), tuple(Chunk.from_dict(chunk) for chunk in data["chunks"]))


def plan_video(source: Source, sampling: SamplingConfig, frames_per_chunk: int) -> VideoPlan:
    """Sample ``source`` and cut the sampled frames into chunks of ``frames_per_chunk`` (the last may have fewer).

    Raises:
        ConfigError: ``frames_per_chunk`` is below 1.
        VideoError: the file is unreadable, truncated or has no moving pictures; see :mod:`videox2l.errors`.
    """
    if frames_per_chunk < 1:
        raise ConfigError(f"frames_per_chunk must be at least 1, got {frames_per_chunk}")
    info, index = probe(source), index_frames(source)
    frames = sample_frames(index, sampling)
    pts = [int(stamp) for stamp in index.pts_N[frames]]
    times_s = [float(time) for time in index.times_s[frames]]
    starts = range(0, len(pts), frames_per_chunk)
    # The time at which each chunk ends: where the next one starts, and for the last the end of the video.
    ends_s = [times_s[start] for start in starts[1:]] + [index.duration_s]
    chunks = tuple(
        Chunk(
            index=number,
            start_s=times_s[start],
            end_s=end_s,
            times_s=tuple(times_s[start : start + frames_per_chunk]),
            pts=tuple(pts[start : start + frames_per_chunk]),
            key_pts=tuple(index.key_before(stamp) for stamp in pts[start : start + frames_per_chunk]),
        )
        for number, (start, end_s) in enumerate(zip(starts, ends_s, strict=True))
    )
    start_s = float(int(index.pts_N[0]) * index.time_base)
    return VideoPlan(dataclasses.replace(info, start_s=start_s, duration_s=index.duration_s), chunks)
