"""What a file says about itself, and when each of its frames is shown, both without decoding it.

The index reads every packet's header once. That is what makes sampling exact for variable frame rates, reordered frames
and late starts, where multiplying a frame number by an average rate is not; it also finds out that a file is incomplete
before an hour of prefill has been spent on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from videox2l.errors import TruncatedVideoError, UnreadableVideoError
from videox2l.video.container import OpenVideo, Source, open_video, reading, truncated
from videox2l.video.scaling import display_size, orientation

# Containers whose header states the true duration. Others are left out: theirs is FFmpeg's estimate from what is there.
_DURATION_IN_HEADER = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf"})
# Formats that do not store how long a packet is: of a cut file's last one nobody can tell that its end is missing, and
# decoders invent the rest of the picture.
_FORMATS_WITHOUT_PACKET_SIZES = frozenset({"mpegts", "mpeg", "gif"})
# Headers round, and audio is padded to whole blocks; a second is more than either.
_DURATION_TOLERANCE_S = 1.0
# Packets are stored in decoding order. Clocks of recorders may be set back by a little, and nothing is lost by that.
_SET_BACK_S = 1.0


@dataclass(frozen=True)
class VideoInfo:
    """What a video file is.

    ``width`` and ``height`` are pixels as displayed: rotated, and widened to square pixels. ``rotation`` is the
    counter-clockwise turn in degrees (0, 90, 180 or 270) that displaying takes. ``start_s`` is the container's time of
    the first frame; all other times in this package count from that frame. ``duration_s`` and ``average_fps`` are the
    header's, None where it does not say; in a plan, :func:`~videox2l.video.plan.plan_video` gives the exact duration.
    """

    source: str
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    rotation: int
    start_s: float
    duration_s: float | None
    average_fps: float | None
    has_audio: bool


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """When every frame is shown, in presentation order.

    ``pts_N`` (int64, strictly increasing) are time stamps in units of ``time_base`` seconds, ``end_pts`` is where the
    last frame's time ends, and ``key_pts_K`` (int64, increasing) are the stamps from which decoding can start.
    """

    pts_N: np.ndarray
    key_pts_K: np.ndarray
    end_pts: int
    time_base: Fraction

    @property
    def times_s(self) -> np.ndarray:
        """Presentation time of each frame in seconds after the first, float64 [N]."""
        return (self.pts_N - self.pts_N[0]) * self.time_base.numerator / self.time_base.denominator

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's appearance to the end of the last one's."""
        return float((self.end_pts - int(self.pts_N[0])) * self.time_base)

    def key_before(self, pts: int) -> int:
        """The stamp of the keyframe from which the frame at ``pts`` can be decoded."""
        return int(self.key_pts_K[np.searchsorted(self.key_pts_K, pts, side="right") - 1])


def probe(source: Source) -> VideoInfo:
    """Read what ``source`` says about itself; decodes one frame, which is where the display rotation is found.

    Raises:
        UnreadableVideoError: the file cannot be opened, or not even its first frame decodes.
        NoVideoStreamError: the file has no moving pictures.
    """
    with open_video(source) as video, reading(video.name):
        stream = video.stream
        frame = next(video.container.decode(stream), None)
        if frame is None:
            raise UnreadableVideoError(f"{video.name} contains no picture that can be decoded")
        width, height = display_size(frame, video.pixel_aspect)
        return VideoInfo(
            source=video.name,
            container=video.container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            pixel_format=frame.format.name,
            width=width,
            height=height,
            rotation=orientation(frame).rotation,
            start_s=float(frame.pts * video.time_base) if frame.pts is not None else 0.0,
            duration_s=_declared_duration_s(video),
            average_fps=float(stream.average_rate) if stream.average_rate else None,
            has_audio=bool(video.container.streams.audio),
        )


def index_frames(source: Source) -> FrameIndex:
    """Find every frame's presentation time by reading the packets, without decoding them.

    Not in the index, because they are not displayed or cannot be decoded with certainty: pictures before the first
    keyframe, those hidden by an edit list, and in formats without packet sizes (MPEG-TS and -PS, GIF) the last one.

    Raises:
        UnreadableVideoError: the file cannot be opened, has no frames, or has no usable time stamps, such as those of
            recordings that were joined end to end.
        NoVideoStreamError: the file has no moving pictures.
        TruncatedVideoError: the file ends before its header says, or a packet is incomplete.
    """
    with open_video(source) as video:
        with reading(video.name, TruncatedVideoError):
            packets = _read_packets(video)
            _check_complete(video, packets.end_s)
        if not packets.durations:
            raise UnreadableVideoError(f"{video.name} contains no frame that can be displayed")
        pts_N = np.array(sorted(packets.durations), dtype=np.int64)
        last = int(pts_N[-1])
        return FrameIndex(
            pts_N=pts_N,
            key_pts_K=np.array(sorted(packets.key_pts), dtype=np.int64),
            end_pts=last + (packets.durations[last] or _usual_step(video, pts_N)),
            time_base=video.time_base,
        )


def whole_packets(video: OpenVideo, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """The ``packets`` of the video stream that are sure to be whole, and the empty one that ends a demuxer's output."""
    if video.container.format.name not in _FORMATS_WITHOUT_PACKET_SIZES:
        yield from packets
        return
    held = None
    for packet in packets:
        if held is not None and packet.size:
            yield held
        held = packet if packet.size else None
        if not packet.size:
            yield packet


def is_hidden(video: OpenVideo, packet: av.Packet) -> bool:
    """Whether decoding ``packet`` yields no picture to show: edited out, or a VP8 frame that others only refer to."""
    if packet.is_discard:
        return True
    return video.stream.codec_context.codec.canonical_name == "vp8" and not bytes(packet)[0] & 0x10


@dataclass
class _Packets:
    """What the packets say. ``durations``: displayed frames' stamps and durations; ``end_s``: when the last packet of
    any stream ends, in the container's time; ``clock_s``: the latest time at which one was to be decoded."""

    durations: dict[int, int]
    key_pts: list[int]
    end_s: float = 0.0
    clock_s: float = -math.inf


def _read_packets(video: OpenVideo) -> _Packets:
    found = _Packets({}, [])
    for packet in whole_packets(video, _video_packets(video, found)):
        if not packet.size:
            continue
        stamp = video.stamp(packet)
        if stamp is None:
            raise UnreadableVideoError(
                f"{video.name} has frames without a presentation time; give it some by converting it, "
                f"for instance with `ffmpeg -i FILE NEW.mp4`"
            )
        if packet.is_corrupt:
            at = f"the packet at {float(stamp * video.time_base):.3f} s is incomplete"
            raise TruncatedVideoError(truncated(video.name, at))
        _check_clock(video, packet, found)
        if packet.is_keyframe and (not found.key_pts or video.stores_presentation_times):
            found.key_pts.append(stamp)
        if found.key_pts and stamp >= found.key_pts[0] and not is_hidden(video, packet):
            found.durations[stamp] = packet.duration or 0
    return found


def _check_clock(video: OpenVideo, packet: av.Packet, found: _Packets) -> None:
    """Time stamps begin again where recordings were joined end to end.

    Frames of the second one would be taken for those of the first, and the rest be lost.
    """
    if packet.dts is None:
        return
    now_s = float(packet.dts * video.time_base)
    if now_s < found.clock_s - _SET_BACK_S:
        raise UnreadableVideoError(
            f"{video.name} jumps back in time, from {found.clock_s:.1f} s to {now_s:.1f} s, as if several recordings "
            "had been joined end to end; give it one run of times by converting it, for instance with "
            "`ffmpeg -i FILE NEW.mp4`, or ingest its parts"
        )
    found.clock_s = max(found.clock_s, now_s)


def _video_packets(video: OpenVideo, found: _Packets) -> Iterator[av.Packet]:
    """The video stream's packets; notes on the way where the last packet of any stream ends."""
    for packet in video.container.demux():
        if packet.pts is not None:
            found.end_s = max(found.end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index == video.stream.index:
            yield packet


def _check_complete(video: OpenVideo, end_s: float) -> None:
    """Compare what was read with what the header announces. ``end_s``: end of the last packet, container time."""
    container, stream = video.container, video.stream
    declared_s = _declared_duration_s(video)
    if declared_s is not None and container.format.name in _DURATION_IN_HEADER:
        present_s = end_s - (container.start_time or 0) / av.time_base
        if present_s < declared_s - _DURATION_TOLERANCE_S:
            what = f"its header announces {declared_s:.1f} s, {max(present_s, 0):.1f} s are there"
            raise TruncatedVideoError(truncated(video.name, what))
    if container.format.name.startswith("mov"):
        announced = max((entry.pos + entry.size for entry in stream.index_entries), default=0)
        if announced > container.size > 0:
            what = f"its table of contents reaches to byte {announced}, the file has {container.size}"
            raise TruncatedVideoError(truncated(video.name, what))


def _declared_duration_s(video: OpenVideo) -> float | None:
    duration = video.container.duration
    return None if duration is None or duration <= 0 else duration / av.time_base


def _usual_step(video: OpenVideo, pts_N: np.ndarray) -> int:
    """A duration for a last frame that has none: the median distance of frames, or one frame at the stated rate."""
    if len(pts_N) > 1:
        return max(1, int(np.median(np.diff(pts_N))))
    rate = video.stream.average_rate or video.stream.guessed_rate or 25
    return max(1, round(1 / (rate * video.time_base)))
