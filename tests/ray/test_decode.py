from __future__ import annotations

import bisect
import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import ray

from pipelines.ingest.decode import DecodeStream, cut_segments
from pipelines.ingest.isolation import DecoderTimeoutError
from tests.ray.decoders import counting, hanging, lacking
from videox2l.config import SamplingConfig
from videox2l.errors import TruncatedVideoError
from videox2l.video import FrameFormat, VideoPlan, decode_chunks, plan_video

FORMAT = FrameFormat(32, 32)


@pytest.fixture(scope="module")
def source(clips: Path) -> str:
    return str(clips / "225.mp4")


@pytest.fixture(scope="module")
def plan(source: str) -> VideoPlan:
    return plan_video(source, SamplingConfig(fps=10), 3)


class Counter:
    def __init__(self) -> None:
        self._count = 0

    def add(self, count: int) -> int:
        self._count += count
        return self._count


def test_chunks_come_in_order_and_a_bounded_way_ahead(ray_cluster: None, source: str):
    counter = ray.remote(Counter).options(name="decoded", num_cpus=0).remote()
    plan = plan_video(source, SamplingConfig(fps=10), 1)
    expected = list(decode_chunks(source, plan.chunks, FORMAT))
    assert len(expected) == 225
    ends = list(itertools.accumulate(len(segment) for segment in cut_segments(plan.chunks, FORMAT)))
    with DecodeStream(source, plan.chunks, FORMAT, decoder=counting, timeout_s=300) as stream:
        for number, item in enumerate(stream):
            assert item.chunk == expected[number].chunk
            assert np.array_equal(item.frames_FHWC, expected[number].frames_FHWC)
            assert item.frames_FHWC.flags.writeable
            if number in (1, 60):
                time.sleep(1)  # time enough to decode all of it
                at_work = bisect.bisect_right(ends, number)  # the segment that is being consumed
                assert number < ray.get(counter.add.remote(0)) <= ends[at_work + 2] < 225
    assert ray.get(counter.add.remote(0)) == 225
    assert stream.waited_s > 0


def test_a_decoder_s_own_error_arrives_as_it_is(ray_cluster: None, source: str, plan: VideoPlan):
    got = []
    with (
        pytest.raises(TruncatedVideoError, match="lacks chunk 10") as caught,
        DecodeStream(source, plan.chunks, FORMAT, decoder=lacking, timeout_s=300) as stream,
    ):
        got.extend(item.chunk.index for item in stream)
    assert got == list(range(10))
    assert type(caught.value) is TruncatedVideoError


def test_a_hung_decoder_is_given_up(ray_cluster: None, source: str, plan: VideoPlan):
    got = []
    with (
        pytest.raises(DecoderTimeoutError, match=r"225\.mp4.* in 2 s"),
        DecodeStream(source, plan.chunks, FORMAT, decoder=hanging, timeout_s=2) as stream,
    ):
        got.extend(item.chunk.index for item in stream)
    assert got == [0, 1, 2, 3]


def test_large_chunks_make_short_segments(plan: VideoPlan):
    sizes = [[len(part) for part in cut_segments(plan.chunks, FrameFormat(n, n))] for n in (32, 2048, 8000)]
    assert sizes[0] == [8, 32, 32, 3]
    assert max(sizes[1]) == 1
    assert sizes[2] == [1] * 75
    assert cut_segments((), FORMAT) == []
