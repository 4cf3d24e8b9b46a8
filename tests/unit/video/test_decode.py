from __future__ import annotations

import gc
import os
import random
import weakref
from collections.abc import Callable
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest

from tests.unit.video.clips import (
    NUMBERS,
    ClipCase,
    number_picture,
    read_number,
    regular,
    write_numbered_clip,
)
from videox2l.config import SamplingConfig
from videox2l.errors import TruncatedVideoError, VideoError
from videox2l.video import Chunk, FrameFormat, decode, decode_chunks, plan_video

FMT = FrameFormat(32, 32, "stretch")
EVERY_FRAME = SamplingConfig(fps=200)


def numbers(source: Path | str, chunks: tuple[Chunk, ...]) -> list[int]:
    return [read_number(frame) for decoded in decode_chunks(source, chunks, FMT) for frame in decoded.frames_FHWC]


def whole(source: Path, chunks: tuple[Chunk, ...], fmt: FrameFormat = FMT) -> list[np.ndarray]:
    return [decoded.frames_FHWC for decoded in decode_chunks(source, chunks, fmt)]


def test_numbers_are_told_apart() -> None:
    assert [read_number(number_picture(n, 64, 48)) for n in range(0, NUMBERS, 13)] == list(range(0, NUMBERS, 13))
    assert read_number(np.full((32, 32, 3), 128, dtype=np.uint8)) == -1


def test_every_frame_is_the_right_one(case: ClipCase, clip: Path) -> None:
    plan = plan_video(clip, EVERY_FRAME, 7)
    assert numbers(clip, plan.chunks) == case.indexed_numbers


@pytest.mark.parametrize(
    "sampling", [SamplingConfig(fps=1), SamplingConfig(fps=3.3), SamplingConfig(frames=3), SamplingConfig(max_frames=2)]
)
def test_every_sampled_frame_is_the_right_one(case: ClipCase, clip: Path, sampling: SamplingConfig) -> None:
    plan = plan_video(clip, sampling, 2)
    expected = [
        number
        for chunk in plan.chunks
        for time in chunk.times_s
        for number, shown in zip(case.indexed_numbers, case.indexed_times_s, strict=True)
        if abs(shown - time) < 1.5e-3
    ]
    assert numbers(clip, plan.chunks) == expected
    assert len(expected) == plan.frames


def test_a_segment_is_the_whole_bit_for_bit(case: ClipCase, clip: Path) -> None:
    plan = plan_video(clip, EVERY_FRAME, 3)
    expected = whole(clip, plan.chunks)
    for start in range(len(plan.chunks)):
        segment = whole(clip, plan.chunks[start : start + 2])
        for frames, right in zip(segment, expected[start:], strict=False):
            np.testing.assert_array_equal(frames, right)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_frames_that_no_other_needs_are_left_out(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that are looked at come out bit for bit as if nothing were."""
    path = tmp_path / f"b-frames{suffix}"
    write_numbered_clip(path, pts=regular(200), options={"preset": "medium", "bf": "3", "b-pyramid": "none"})
    plan = plan_video(path, SamplingConfig(fps=1), 4)
    decoded = []
    feed = decode._GroupDecoder._decoded
    monkeypatch.setattr(decode._GroupDecoder, "_decoded", lambda self, packet: decoded.append(1) or feed(self, packet))
    few = whole(path, plan.chunks)
    count, decoded[:] = len(decoded), []
    monkeypatch.setattr(decode, "disposable_packets", lambda _: lambda _: False)
    for frames, right in zip(few, whole(path, plan.chunks), strict=True):
        np.testing.assert_array_equal(frames, right)
    assert plan.frames == 20
    assert len(decoded) > 190
    assert count < 0.5 * len(decoded)


def test_random_truncation_is_an_error_or_right_frames(case: ClipCase, clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    cut = tmp_path / clip.name
    rng = random.Random(case.name)
    for size in sorted({1, len(data) - 1, *(rng.randrange(len(data)) for _ in range(12))}):
        cut.write_bytes(data[:size])
        try:
            plan = plan_video(cut, EVERY_FRAME, 5)
            seen = numbers(cut, plan.chunks)
        except VideoError as error:
            assert clip.name in str(error)
            continue
        assert seen == sorted(set(seen))
        assert set(seen) <= set(range(len(case.pts)))


def test_file_cut_after_planning(clip_path: Callable[[str], Path], tmp_path: Path) -> None:
    for name in ("h264_b_frames", "vp9", "h264_ts"):
        original = clip_path(name)
        plan = plan_video(original, EVERY_FRAME, 5)
        cut = tmp_path / original.name
        cut.write_bytes(original.read_bytes()[: original.stat().st_size * 6 // 10])
        seen = []
        with pytest.raises(VideoError, match=name):
            for decoded in decode_chunks(cut, plan.chunks, FMT):
                seen += [read_number(frame) for frame in decoded.frames_FHWC]
        assert seen == list(range(len(seen)))


def test_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shrinking.mkv"
    write_numbered_clip(path, codec="ffv1", pix_fmt="bgra", pts=regular(200), width=160, height=120)
    plan = plan_video(path, EVERY_FRAME, 5)
    chunks = decode_chunks(path, plan.chunks, FMT)
    next(chunks)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(TruncatedVideoError, match=r"shrinking\.mkv"):
        for number, decoded in enumerate(chunks, start=1):
            assert [read_number(frame) for frame in decoded.frames_FHWC] == list(range(5 * number, 5 * number + 5))


def test_another_file_than_the_planned_one(clip_path: Callable[[str], Path]) -> None:
    plan = plan_video(clip_path("h264_vfr"), EVERY_FRAME, 5)
    with pytest.raises(TruncatedVideoError, match="frame"):
        numbers(clip_path("vp9"), plan.chunks)


def test_lost_packet_in_the_middle(clip_path: Callable[[str], Path], tmp_path: Path) -> None:
    original = clip_path("h264_b_frames")
    plan = plan_video(original, EVERY_FRAME, 5)
    with av.open(str(original)) as container:
        stream = container.streams.video[0]
        sizes = [(entry.pos, entry.size) for entry in stream.index_entries]
    position, size = sizes[14]
    damaged = bytearray(original.read_bytes())
    damaged[position : position + size] = bytes(size)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    seen = []
    with pytest.raises(TruncatedVideoError, match=r"damaged\.mp4 .* \(at 1\.\d+ s\)"):
        for decoded in decode_chunks(tmp_path / "damaged.mp4", plan.chunks, FMT):
            seen += [read_number(frame) for frame in decoded.frames_FHWC]
    assert seen == list(range(10))


def test_remote_file_is_the_local_one(clip: Path) -> None:
    plan = plan_video(clip, EVERY_FRAME, 5)
    url = f"memory://clips/{clip.name}"
    with fsspec.open(url, "wb") as remote:
        remote.write(clip.read_bytes())
    assert plan_video(url, EVERY_FRAME, 5).chunks == plan.chunks
    for remote_frames, frames in zip(whole(url, plan.chunks[1:]), whole(clip, plan.chunks[1:]), strict=True):
        np.testing.assert_array_equal(remote_frames, frames)


def test_no_chunks(clip_path: Callable[[str], Path]) -> None:
    assert list(decode_chunks(clip_path("vp9"), [], FMT)) == []


def test_file_is_closed_when_the_iterator_is_dropped(clip_path: Callable[[str], Path]) -> None:
    path = clip_path("vp9")

    def open_files() -> int:
        return sum(link.readlink() == path for link in Path("/proc/self/fd").iterdir() if link.is_symlink())

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to count open files")
    chunks = decode_chunks(path, plan_video(path, EVERY_FRAME, 5).chunks, FMT)
    next(chunks)
    assert open_files() == 1
    chunks.close()
    assert open_files() == 0


def test_two_hours_hold_one_chunk_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    options = {"preset": "ultrafast", "g": "60"}
    write_numbered_clip(path, pts=regular(7200, step=1000), width=32, height=32, rate=1, options=options)
    plan = plan_video(path, SamplingConfig(fps=1), 10)
    assert plan.info.duration_s == 7200
    alive: list[weakref.ref[np.ndarray]] = []
    seen = 0
    for decoded in decode_chunks(path, plan.chunks, FMT):
        assert [read_number(frame) for frame in decoded.frames_FHWC] == [n % NUMBERS for n in range(seen, seen + 10)]
        seen += 10
        alive = [ref for ref in alive if ref() is not None]
        alive.append(weakref.ref(decoded.frames_FHWC))
        assert len(alive) <= 2  # The one in hand, and the one before it that this loop has just let go of.
    assert seen == 7200
    del decoded
    gc.collect()
    assert all(ref() is None for ref in alive)


def test_sparse_samples_skip_groups_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse.mp4"
    write_numbered_clip(path, pts=regular(600), width=32, height=32, options={"preset": "ultrafast", "g": "10"})
    plan = plan_video(path, SamplingConfig(frames=6), 2)
    fed = []
    feed = decode._GroupDecoder.decode
    monkeypatch.setattr(decode._GroupDecoder, "decode", lambda self, *args: fed.append(1) or feed(self, *args))
    assert numbers(path, plan.chunks) == [0, 100, 200, 300, 400, 500]
    assert len(fed) < 200
