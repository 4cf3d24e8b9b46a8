"""Small real video files whose every frame carries its own number as a pattern that survives lossy coding and scaling.

The picture is a 4 × 4 grid of black and white blocks: twelve bits of the frame's number and four of a checksum, so that
a wrong or damaged frame is told from the right one after any codec, pixel format, scaling or rotation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

# SVT-AV1 writes its banner to stderr whatever FFmpeg's log level is.
os.environ.setdefault("SVT_LOG", "0")

GRID = 4
NUMBERS = 1 << 12
MILLISECONDS = Fraction(1, 1000)


def number_picture(number: int, width: int, height: int) -> np.ndarray:
    """Frame ``number`` (modulo ``NUMBERS``) as [height, width, 3] uint8 RGB."""
    number %= NUMBERS
    bits = (number << 4) | _checksum(number)
    grid = np.array([(bits >> i) & 1 for i in range(GRID * GRID)], dtype=np.uint8).reshape(GRID, GRID)
    rows = np.arange(height) * GRID // height
    columns = np.arange(width) * GRID // width
    # 32 and 224 rather than 0 and 255: inside every codec's limited range, so nothing clips.
    luminance = 32 + 192 * grid[np.ix_(rows, columns)]
    return np.repeat(luminance[:, :, None], 3, axis=2)


def read_number(frame_HWC: np.ndarray) -> int:
    """The number in a decoded picture [H, W, 3] that shows the whole grid; -1 if it is no sound number."""
    height, width = frame_HWC.shape[:2]
    bits = 0
    for row in range(GRID):
        for column in range(GRID):
            y = slice(int((row + 0.3) * height / GRID), int((row + 0.7) * height / GRID) + 1)
            x = slice(int((column + 0.3) * width / GRID), int((column + 0.7) * width / GRID) + 1)
            block = float(frame_HWC[y, x].mean())
            if 90 < block < 166:
                return -1
            bits |= int(block > 128) << (row * GRID + column)
    number = bits >> 4
    return number if bits & 0xF == _checksum(number) else -1


def _checksum(number: int) -> int:
    return ((number >> 8) ^ (number >> 4) ^ number ^ 0b1010) & 0xF


@contextmanager
def _ordinary_scheduling() -> Iterator[None]:
    """Put the process back among the ordinary ones afterwards.

    Run by root, SVT-AV1 makes the whole process a real-time one, and every process that it starts from then on: two of
    them that wait for each other in a busy loop stop the machine.
    """
    policy, parameter = os.sched_getscheduler(os.getpid()), os.sched_getparam(os.getpid())
    try:
        yield
    finally:
        os.sched_setscheduler(os.getpid(), policy, parameter)


def write_numbered_clip(
    path: Path,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int],
    time_base: Fraction = MILLISECONDS,
    width: int = 64,
    height: int = 64,
    rate: int = 10,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    rotation: int = 0,
    flip: bool = False,
    pixel_aspect: Fraction | None = None,
    audio_s: float = 0.0,
) -> None:
    """Write frames numbered 0, 1, … at presentation times ``pts × time_base``; ``path``'s suffix picks the container.

    ``width`` and ``height`` are those of the stored picture. ``rotation`` (degrees counter-clockwise) and then ``flip``
    (left to right) are what the file's metadata asks a player to do; the stored picture is turned the other way, so
    that the numbers are upright for one that obeys. ``audio_s`` adds that many seconds of silence.
    """
    with _ordinary_scheduling(), av.open(str(path), "w", container_options=dict(container_options or {})) as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = time_base
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        silence = output.add_stream("aac", rate=16000, layout="mono") if audio_s else None
        for number, stamp in enumerate(pts):
            upright = number_picture(number, *((height, width) if rotation % 180 else (width, height)))
            stored = np.rot90(np.fliplr(upright) if flip else upright, -rotation // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = stamp, time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if silence is not None:
            for start in range(0, int(audio_s * 16000), 1024):
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
                sound.sample_rate, sound.pts = 16000, start
                output.mux(silence.encode(sound))
            output.mux(silence.encode(None))


def regular(frames: int, step: int = 100, start: int = 0) -> tuple[int, ...]:
    """Presentation time stamps of ``frames`` frames, ``step`` units apart."""
    return tuple(start + step * i for i in range(frames))


def irregular(frames: int, seed: int = 0) -> tuple[int, ...]:
    """Variable frame rate: steps of 20 to 400 units."""
    steps = np.random.default_rng(seed).integers(20, 400, size=frames)
    return tuple(int(stamp) for stamp in np.cumsum(steps) - steps[0])


@dataclass(frozen=True)
class ClipCase:
    """One kind of file: how to write it and what to expect of it. Times are in units of 1 ms."""

    name: str
    suffix: str
    codec: str
    pix_fmt: str = "yuv420p"
    pts: tuple[int, ...] = field(default_factory=lambda: regular(40))
    width: int = 64
    height: int = 64
    options: tuple[tuple[str, str], ...] = ()
    container_options: tuple[tuple[str, str], ...] = ()
    rotation: int = 0
    flip: bool = False
    audio_s: float = 0.0
    constant_rate: bool = False

    last_is_uncertain: bool = False

    @property
    def indexed_numbers(self) -> list[int]:
        """The frames that the index is to have: all, but for the one stored last where its end is not recorded.

        The encoder's last packet is the B-frame before the last frame.
        """
        frames = list(range(len(self.pts)))
        return frames[:-2] + frames[-1:] if self.last_is_uncertain else frames

    @property
    def indexed_times_s(self) -> list[float]:
        """Presentation times of ``indexed_numbers``."""
        return [self.times_s[number] for number in self.indexed_numbers]

    @property
    def duration_s(self) -> float:
        """From the first frame to the end of the last; every writer here gives that one 0.1 s."""
        return self.times_s[-1] + 0.1

    @property
    def times_s(self) -> tuple[float, ...]:
        """Presentation time of each frame in seconds after the first."""
        return tuple((stamp - self.pts[0]) / 1000 for stamp in self.pts)

    def write(self, folder: Path) -> Path:
        """Write the clip into ``folder`` and return its path."""
        path = folder / f"{self.name}{self.suffix}"
        write_numbered_clip(
            path,
            codec=self.codec,
            pix_fmt=self.pix_fmt,
            # A container that stores a frame rate in place of times needs a time base of one frame.
            pts=[stamp // 100 for stamp in self.pts] if self.constant_rate else self.pts,
            time_base=Fraction(1, 10) if self.constant_rate else MILLISECONDS,
            width=self.width,
            height=self.height,
            options=dict(self.options),
            container_options=dict(self.container_options),
            rotation=self.rotation,
            flip=self.flip,
            audio_s=self.audio_s,
        )
        return path


_X264 = (("preset", "veryfast"), ("g", "12"), ("bf", "3"), ("threads", "1"))
_X265 = (("preset", "ultrafast"), ("x265-params", "log-level=none:keyint=12:bframes=3:pools=none:frame-threads=1"))
_VP9 = (("deadline", "good"), ("cpu-used", "5"), ("g", "12"), ("lag-in-frames", "8"), ("auto-alt-ref", "1"))
_AV1 = (("preset", "8"), ("g", "12"), ("svtav1-params", "lp=1:crf=10"))
_MPEG2 = (("g", "12"), ("bf", "2"), ("b", "2000000"))
_FRAGMENTED = (("movflags", "frag_keyframe+empty_moov"),)
_FAST_START = (("movflags", "faststart"),)

CASES: tuple[ClipCase, ...] = (
    ClipCase("h264_b_frames", ".mp4", "libx264", options=_X264, container_options=_FAST_START),
    ClipCase("h264_open_gop", ".mp4", "libx264", options=(*_X264, ("x264-params", "open-gop=1:b-adapt=0"))),
    ClipCase("h264_late_start", ".mp4", "libx264", options=_X264, pts=regular(40, start=2500)),
    ClipCase("h264_fragmented", ".mp4", "libx264", options=_X264, container_options=_FRAGMENTED),
    ClipCase("h264_audio", ".mp4", "libx264", options=_X264, audio_s=4.0, container_options=_FAST_START),
    ClipCase("h264_vfr", ".mkv", "libx264", options=_X264, pts=irregular(40)),
    ClipCase("h264_ts", ".ts", "libx264", options=_X264, pts=regular(40, start=3000), last_is_uncertain=True),
    ClipCase("mpeg2_ts", ".ts", "mpeg2video", options=_MPEG2, constant_rate=True, last_is_uncertain=True),
    ClipCase("mpeg2_ps", ".mpg", "mpeg2video", options=_MPEG2, constant_rate=True, last_is_uncertain=True),
    ClipCase("h264_flv", ".flv", "libx264", options=_X264),
    ClipCase("wmv2", ".wmv", "wmv2", options=(("g", "12"),)),
    ClipCase("h264_odd_size", ".mkv", "libx264", "yuv444p", options=_X264, width=75, height=53),
    ClipCase("h264_rotated_90", ".mov", "libx264", options=_X264, width=96, height=64, rotation=90),
    ClipCase("h264_rotated_180", ".mp4", "libx264", options=_X264, width=96, height=64, rotation=180),
    ClipCase("h264_rotated_270", ".mov", "libx264", options=_X264, width=96, height=64, rotation=-90),
    ClipCase("h264_mirrored", ".mp4", "libx264", options=_X264, width=96, height=64, flip=True),
    ClipCase("hevc", ".mp4", "libx265", options=_X265),
    ClipCase("hevc_10_bit", ".mkv", "libx265", "yuv420p10le", options=_X265),
    ClipCase("vp9", ".mkv", "libvpx-vp9", options=_VP9),
    ClipCase("av1_10_bit", ".mkv", "libsvtav1", "yuv420p10le", options=_AV1, pts=regular(24)),
    ClipCase("vp8_hidden_frames", ".webm", "libvpx", options=_VP9),
    ClipCase("av1", ".webm", "libsvtav1", options=_AV1),
    ClipCase("av1_vfr", ".mp4", "libsvtav1", options=_AV1, pts=irregular(30, seed=1)),
    ClipCase("mpeg4", ".avi", "mpeg4", options=(("g", "12"),), constant_rate=True),
    ClipCase("mpeg4_b_frames", ".avi", "mpeg4", options=(("g", "12"), ("bf", "2")), constant_rate=True),
    ClipCase("h264_avi", ".avi", "libx264", options=_X264, constant_rate=True),
    ClipCase("mjpeg", ".avi", "mjpeg", "yuvj420p", constant_rate=True),
    ClipCase("ffv1_gray", ".mkv", "ffv1", "gray", width=61, height=47),
    ClipCase("ffv1_alpha", ".mkv", "ffv1", "bgra"),
    ClipCase("ffv1_16_bit", ".mkv", "ffv1", "gray16le"),
)
