"""Decoding the planned frames of a video, chunk after chunk, straight to the model's size.

Only groups of pictures that hold a wanted frame are decoded; within one, every frame that another may be predicted from
is, in order. A frame counts as decoded only if none of those was damaged or lost on the way: a wrong picture is worse
than an error.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from videox2l.errors import TruncatedVideoError
from videox2l.video.container import OpenVideo, Source, open_video, reading, truncated
from videox2l.video.disposable import disposable_packets
from videox2l.video.frames import FrameFormat
from videox2l.video.plan import Chunk
from videox2l.video.probe import is_hidden, whole_packets
from videox2l.video.scaling import FrameScaler

# Seeking goes by decoding time, or to an approximate byte position, and so may land behind the keyframe that is meant;
# then it is tried from this much earlier, and at last from the beginning of the file.
_SEEK_BACK_S = (0.0, 5.0, 60.0)


@dataclass(frozen=True)
class DecodedChunk:
    """A chunk's pictures: RGB, uint8 [frames, height, width, 3], one for each of ``chunk.times_s``."""

    chunk: Chunk
    frames_FHWC: np.ndarray


def decode_chunks(
    source: Source, chunks: Sequence[Chunk], fmt: FrameFormat, *, threads: int = 0
) -> Iterator[DecodedChunk]:
    """Decode ``chunks``, any contiguous part of a plan for ``source``; the result does not depend on where it starts.

    At most one chunk of scaled frames is held at a time, besides the decoder's own few frames. ``threads``: of the
    decoder, which takes as many as it likes by default. It is then done sooner, for a fifth more processor time.

    Raises:
        TruncatedVideoError: a frame is missing or damaged; the message names the time. Chunks before it were yielded.
        VideoError: the file cannot be opened; see :func:`~videox2l.video.container.open_video`.
    """
    if not chunks:
        return
    pts = [stamp for chunk in chunks for stamp in chunk.pts]
    key_pts = [stamp for chunk in chunks for stamp in chunk.key_pts]
    scale = FrameScaler(fmt)
    with closing(_decode_frames(source, pts, key_pts, seek=chunks[0].index > 0, threads=threads)) as frames:
        for chunk in chunks:
            frames_FHWC = np.empty((len(chunk.pts), fmt.height, fmt.width, 3), dtype=np.uint8)
            for picture_HWC in frames_FHWC:
                video, frame = next(frames)
                picture_HWC[:] = scale(frame, video.pixel_aspect)
            yield DecodedChunk(chunk, frames_FHWC)


def _decode_frames(
    source: Source, pts: Sequence[int], key_pts: Sequence[int], *, seek: bool, threads: int
) -> Generator[tuple[OpenVideo, Any]]:
    """The frames with time stamps ``pts``, in this order, each decoded from its keyframe in ``key_pts``."""
    wanted, wanted_pts = 0, frozenset(pts)
    group: _GroupDecoder | None = None
    with closing(_packets_from(source, key_pts[0], seek=seek, threads=threads)) as packets:
        for video, packet in packets:
            if group is None:
                if not _starts_group(video, packet, key_pts[wanted]):
                    continue
                group = _GroupDecoder(video, key_pts[wanted])
            for stamp, frame in group.decode(packet, wanted_pts):
                if stamp < pts[wanted]:
                    continue
                if stamp > pts[wanted]:
                    raise group.error(pts[wanted], "the frame there is missing")
                yield group.video, frame
                wanted += 1
                if wanted == len(pts):
                    return
            if key_pts[wanted] > group.last_stamp:
                group = None  # The next wanted frame is in a later group: read on to its keyframe without decoding.
    what = f"it ends before the frame with time stamp {pts[wanted]}, or was changed since it was planned"
    raise TruncatedVideoError(truncated(str(source), what))


class _GroupDecoder:
    """Decodes from one keyframe on, and vouches that every frame due since then has come out whole."""

    def __init__(self, video: OpenVideo, key: int) -> None:
        self.video = video
        self._key = key
        self._codec = video.stream.codec_context
        self._codec.flush_buffers()
        self._due: set[int] = set()
        self._is_disposable = disposable_packets(self._codec)
        self.last_stamp = key

    def decode(self, packet: Any, wanted: Set[int]) -> Iterator[tuple[int, Any]]:
        """Feed ``packet``; yield the frames that come out with their time stamps, in presentation order.

        Those with stamps in ``wanted`` are among them, and all that others may be predicted from.
        """
        stamp = self.video.stamp(packet)
        if stamp is not None:
            if not packet.size:
                return  # An empty packet repeats the last picture (AVI); a decoder would take it for the end.
            self.last_stamp = max(self.last_stamp, stamp)
            if stamp < self._key:
                return  # Shown before the keyframe but stored after it: needs the group before; nothing needs it.
            # Where frames are told apart by their order alone, each of them has to come out.
            if stamp not in wanted and self.video.stores_presentation_times and self._is_disposable(packet):
                return
            if not is_hidden(self.video, packet):
                self._due.add(stamp)
        for frame in self._decoded(packet):
            shown = frame.pts if self.video.stores_presentation_times else min(self._due, default=None)
            if shown is None:
                continue
            self._due.discard(shown)
            first_due = min(self._due, default=shown)
            if first_due < shown:
                raise self.error(first_due, "a frame there did not decode")
            if frame.is_corrupt:
                raise self.error(shown, "the frame there is damaged")
            yield shown, frame

    def error(self, stamp: int, what: str) -> TruncatedVideoError:
        """The error for something wrong at time ``stamp``."""
        return TruncatedVideoError(
            truncated(self.video.name, f"{what} (at {float(stamp * self.video.time_base):.3f} s)")
        )

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(self._codec.decode(packet))
        except av.FFmpegError as error:
            at = min(self._due, default=self.last_stamp)
            raise self.error(at, f"decoding fails with {error.strerror!r}") from error


def _packets_from(source: Source, key: int, *, seek: bool, threads: int) -> Generator[tuple[OpenVideo, Any]]:
    """The packets of ``source`` from the keyframe with stamp ``key`` on; without ``seek``, from the beginning."""
    for back_s in (*_SEEK_BACK_S, None) if seek else (None,):
        with open_video(source) as video, reading(video.name, TruncatedVideoError):
            video.stream.thread_type, video.stream.codec_context.thread_count = "AUTO", threads
            if back_s is None or not video.stores_presentation_times:
                yield from ((video, packet) for packet in whole_packets(video, video.container.demux(video.stream)))
                return
            packets = whole_packets(video, _sought(video, key - int(back_s / video.time_base)))
            start = next((packet for packet in packets if packet.is_keyframe and video.stamp(packet) >= key), None)
            if start is not None and video.stamp(start) == key:
                yield video, start
                yield from ((video, packet) for packet in packets)
                return


def _sought(video: OpenVideo, stamp: int) -> Iterator[Any]:
    try:
        video.container.seek(stamp, stream=video.stream)
    except av.FFmpegError:  # Before the beginning, in some formats.
        return
    yield from video.container.demux(video.stream)


def _starts_group(video: OpenVideo, packet: Any, key: int) -> bool:
    return bool(packet.is_keyframe) and video.stamp(packet) == key
