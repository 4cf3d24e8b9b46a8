from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.unit.video.clips import ClipCase, regular, write_numbered_clip
from videox2l.config import SamplingConfig
from videox2l.errors import NoVideoStreamError, TruncatedVideoError, UnreadableVideoError
from videox2l.video import index_frames, plan_video, probe

CODECS = {"libx264": "h264", "libx265": "hevc", "libvpx": "vp8", "libvpx-vp9": "vp9", "libsvtav1": "av1"}


def test_probe(case: ClipCase, clip: Path) -> None:
    info = probe(clip)
    assert info.source == str(clip)
    assert info.codec == CODECS.get(case.codec, case.codec)
    turned = case.rotation % 180 != 0
    assert (info.width, info.height) == ((case.height, case.width) if turned else (case.width, case.height))
    assert info.has_audio == bool(case.audio_s)
    if not case.flip:
        assert info.rotation == case.rotation % 360
    # A header's word only: MPEG-PS has none and is estimated, FLV counts from 0.
    assert info.duration_s == pytest.approx(case.duration_s, abs=0.8)


def test_late_start_is_reported_but_times_count_from_the_first_frame(clip_path: Callable[[str], Path]) -> None:
    plan = plan_video(clip_path("h264_late_start"), SamplingConfig(), 10)
    assert plan.info.start_s == 2.5
    assert plan.chunks[0].times_s[0] == 0


def test_display_size_has_square_pixels(tmp_path: Path) -> None:
    write_numbered_clip(tmp_path / "a.mp4", pts=regular(5), pixel_aspect=Fraction(4, 3), width=72, height=64)
    assert (probe(tmp_path / "a.mp4").width, probe(tmp_path / "a.mp4").height) == (96, 64)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError, match=r"there is no file .*absent\.mp4"):
        probe(tmp_path / "absent.mp4")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError, match="is a folder"):
        probe(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UnreadableVideoError, match=r"empty\.mp4 is empty"):
        probe(tmp_path / "empty.mp4")


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "list.m3u8", "list.ffconcat"])
@pytest.mark.parametrize(
    "content",
    [
        "just some words\n" * 50,
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {clip}\n",
    ],
    ids=["words", "playlist", "concat"],
)
def test_text_is_not_a_video_even_if_it_names_one(
    tmp_path: Path, clip_path: Callable[[str], Path], name: str, content: str
) -> None:
    (tmp_path / "clip.ts").write_bytes(clip_path("h264_ts").read_bytes())
    (tmp_path / name).write_text(content.format(clip="clip.ts"))
    with pytest.raises(UnreadableVideoError, match=name):
        index_frames(tmp_path / name)


def test_random_bytes(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UnreadableVideoError, match=r"noise\.mp4"):
        index_frames(tmp_path / "noise.mp4")


def test_audio_only(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        output.mux(stream.encode(sound))
        output.mux(stream.encode(None))
    with pytest.raises(NoVideoStreamError, match=r"song\.mp4 has no video stream \(found: audio\)"):
        probe(tmp_path / "song.mp4")


def test_unknown_protocol() -> None:
    with pytest.raises(UnreadableVideoError, match="nosuch"):
        probe("nosuch://bucket/clip.mp4")


def test_missing_remote_file() -> None:
    with pytest.raises(UnreadableVideoError, match=r"there is no file memory://absent\.mp4"):
        probe("memory://absent.mp4")


def test_odd_file_names(tmp_path: Path, clip_path: Callable[[str], Path]) -> None:
    path = tmp_path / "concat:a|b ü%20 #1.mp4"
    path.write_bytes(clip_path("h264_b_frames").read_bytes())
    assert probe(path).duration_s == 4


@pytest.mark.parametrize(
    "name", ["h264_b_frames", "h264_fragmented", "h264_vfr", "hevc_10_bit", "vp9", "av1", "mpeg4", "mjpeg"]
)
def test_half_a_file_is_truncated(tmp_path: Path, clip_path: Callable[[str], Path], name: str) -> None:
    whole = clip_path(name)
    half = tmp_path / whole.name
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    with pytest.raises((TruncatedVideoError, UnreadableVideoError), match=name):
        index_frames(half)


def test_unfinished_recording_without_table_of_contents(tmp_path: Path, clip_path: Callable[[str], Path]) -> None:
    data = clip_path("hevc").read_bytes()
    (tmp_path / "unfinished.mp4").write_bytes(data[: data.rindex(b"moov") - 4])
    with pytest.raises(UnreadableVideoError, match="table of contents is missing"):
        probe(tmp_path / "unfinished.mp4")


@pytest.mark.parametrize("name", ["mpeg2_ps", "h264_ts"])
def test_recordings_joined_end_to_end(tmp_path: Path, clip_path: Callable[[str], Path], name: str) -> None:
    """Their times begin again: pictures of one would be taken for those of the other."""
    part = clip_path(name)
    joined = tmp_path / f"joined{part.suffix}"
    joined.write_bytes(_as_one_stream(part.read_bytes() * 2) if name.endswith("_ts") else part.read_bytes() * 2)
    with pytest.raises(UnreadableVideoError, match=r"jumps back in time, from \d+\.\d s"):
        index_frames(joined)


def _as_one_stream(data: bytes) -> bytes:
    """MPEG-TS packets counted through, by which a reader would otherwise notice that one is missing."""
    packets = bytearray(data)
    counts: Counter[int] = Counter()
    for start in range(0, len(packets), 188):
        if packets[start + 3] & 0x10:  # it has a payload
            stream = int.from_bytes(packets[start + 1 : start + 3], "big") & 0x1FFF
            packets[start + 3] = packets[start + 3] & 0xF0 | counts[stream] % 16
            counts[stream] += 1
    return bytes(packets)
