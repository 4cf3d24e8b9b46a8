from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from videox2l.config import SamplingConfig
from videox2l.errors import UnreadableVideoError, VideoError
from videox2l.video import FrameFormat, decode_chunks, decode_chunks_isolated, plan_video, plan_video_isolated
from videox2l.video.isolated import run_isolated

FMT = FrameFormat(24, 24)


def killed_after_two(source: str, number: int) -> Iterator[int]:
    yield 1
    yield 2
    os.kill(os.getpid(), number)
    yield 3


def hangs(source: str) -> Iterator[int]:
    yield os.getpid()
    time.sleep(600)


def endless(source: str) -> Iterator[int]:
    while True:
        yield os.getpid()


def buggy(source: str) -> Iterator[int]:
    yield 1 // 0


def exits(source: str) -> Iterator[int]:
    os._exit(7)
    yield 0


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_same_plan_and_frames_as_in_process(clip_path: Callable[[str], Path]) -> None:
    path = clip_path("h264_audio")
    plan = plan_video_isolated(path, SamplingConfig(fps=5), 4)
    assert plan == plan_video(path, SamplingConfig(fps=5), 4)
    isolated = decode_chunks_isolated(path, plan.chunks, FMT)
    for apart, here in zip(isolated, decode_chunks(path, plan.chunks, FMT), strict=True):
        assert apart.chunk == here.chunk
        np.testing.assert_array_equal(apart.frames_FHWC, here.frames_FHWC)


def test_errors_arrive_unchanged(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError, match=r"there is no file .*absent\.mp4"):
        plan_video_isolated(tmp_path / "absent.mp4", SamplingConfig(), 10)


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGKILL])
def test_a_killed_child_is_an_error(number: signal.Signals) -> None:
    items = run_isolated(killed_after_two, "bad.mp4", number)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(VideoError, match=rf"bad\.mp4 .* by {number.name}"):
        next(items)


def test_a_child_that_exits_is_an_error() -> None:
    with pytest.raises(VideoError, match=r"bad\.mp4 .* exit status 7"):
        list(run_isolated(exits, "bad.mp4"))


def test_a_hung_child_is_given_up_and_ended() -> None:
    items = run_isolated(hangs, "slow.mp4", timeout_s=20)
    pid = next(items)
    items.close()
    assert not running(pid)
    with pytest.raises(VideoError, match=r"slow\.mp4 made no progress for 5 s"):
        list(run_isolated(hangs, "slow.mp4", timeout_s=5))


def test_closing_the_iterator_ends_the_child() -> None:
    items = run_isolated(endless, "long.mp4")
    pid = next(items)
    assert running(pid)
    items.close()
    assert not running(pid)


def test_a_bug_shows_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        list(run_isolated(buggy, "clip.mp4"))
