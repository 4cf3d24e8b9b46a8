"""Videos on a web server: read in parts, and hardly more of them than there is."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.web import serve
from videox2l.config import SamplingConfig
from videox2l.errors import UnreadableVideoError
from videox2l.identity import video_identity
from videox2l.video import FrameFormat, decode_chunks, plan_video

BLOCK = 2**20
FORMAT = FrameFormat(16, 16)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of noise, which is large, with the table of contents at either end of the file."""
    folder = tmp_path_factory.mktemp("site")
    frames = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), dtype=np.uint8)
    for name, flags in (("end.mp4", {}), ("front.mp4", {"movflags": "faststart"}), ("any.mkv", {})):
        with av.open(str(folder / name), "w", options=flags) as output:
            stream = output.add_stream("libx264", rate=10, options={"preset": "ultrafast", "crf": "1", "g": "5"})
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for picture in frames:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
            output.mux(stream.encode())
    return folder


@pytest.mark.parametrize("name", ["end.mp4", "front.mp4", "any.mkv"])
def test_bytes_read(site: Path, name: str):
    size = (site / name).stat().st_size
    assert size > 4 * BLOCK, "too small to tell parts from the whole"
    sampling = SamplingConfig(fps=10)
    with serve(site) as web:
        url = f"{web.url}/{name}"
        assert video_identity(url).sha256 == video_identity(site / name).sha256
        hashed = web.bytes(name)
        assert hashed == size
        plan = plan_video(url, sampling, 5)
        planned = web.bytes(name) - hashed
        # Twice opened: once for a first look, once to read through. An end's table is read beside the pictures.
        assert planned <= size + 3 * BLOCK
        [last] = decode_chunks(url, plan.chunks[-1:], FORMAT)
        decoded = web.bytes(name) - hashed - planned
        assert decoded <= size / len(plan.chunks) + 3 * BLOCK
    [local] = decode_chunks(site / name, plan_video(site / name, sampling, 5).chunks[-1:], FORMAT)
    assert np.array_equal(last.frames_FHWC, local.frames_FHWC)


@pytest.mark.parametrize("name", ["end.mp4", "front.mp4", "any.mkv"])
def test_a_server_that_sends_only_whole_files(site: Path, name: str):
    with serve(site, ranges=False) as web, pytest.raises(UnreadableVideoError, match="only whole, not in parts"):
        plan_video(f"{web.url}/{name}", SamplingConfig(), 10)
