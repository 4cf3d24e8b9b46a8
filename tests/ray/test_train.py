"""Training on two workers must be the plain loop, whatever is shared out, also when workers die."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines.train.board import Event, WorkersStarted
from pipelines.train.job import train
from tests.training_lists import SETTINGS, write_training_list
from videox2l.errors import ConfigError, VideoError
from videox2l.training.vst.loop import StepDone, train_vst
from videox2l.training.vst.state import RunFolder, TrainingState
from videox2l.training.vst.task import VSTJob

TOLERANCE = 1e-5
STAGES = (1, 2, 3)


def zero(stage: int) -> dict:
    # Nothing is too small to be shared out; by default all weights of a test's model would be.
    return {"zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0}}


@pytest.fixture(scope="module")
def job(random_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> VSTJob:
    videos = write_training_list(tmp_path_factory.mktemp("training"))
    return VSTJob(str(random_checkpoint), str(videos), dataclasses.replace(SETTINGS, trained="all"))


@pytest.fixture(scope="module")
def plain(job: VSTJob, tmp_path_factory: pytest.TempPathFactory) -> TrainingState:
    return run(job, tmp_path_factory.mktemp("plain"))


def run(job: VSTJob, work: Path, **options) -> TrainingState:
    train_vst(job, str(work), **options)
    return loaded(work)


def loaded(work: Path) -> TrainingState:
    state = RunFolder(str(work)).load()
    assert state is not None
    return state


def assert_equal(state: TrainingState, expected: TrainingState) -> None:
    assert state.step == expected.step and state.seen == expected.seen
    assert state.losses == pytest.approx(expected.losses, abs=TOLERANCE)
    for part, tensors in expected.tensors.items():
        assert state.tensors[part].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.allclose(state.tensors[part][name], tensor, atol=TOLERANCE, rtol=0), (part, name)


@pytest.fixture(scope="module")
def two_ranks(job: VSTJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every ZeRO stage in two processes, each of which stopped after two steps and then went on."""
    folder = tmp_path_factory.mktemp("ranks")
    runs = [(str(folder / f"stage-{stage}"), zero(stage), stop) for stage in STAGES for stop in (2, 0)]
    (folder / "runs.pickle").write_bytes(pickle.dumps((job, runs)))
    command = [sys.executable, "-m", "tests.ray.two_ranks", str(folder)]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    try:
        assert [rank.wait() for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_two_workers_learn_what_one_process_learns(two_ranks, plain, stage) -> None:
    assert_equal(loaded(two_ranks / f"stage-{stage}"), plain)


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_worker_is_started_again_and_nothing_is_lost(job, plain, tmp_path) -> None:
    """ZeRO-3; states of the plain loop go on with two workers, and the other way round."""
    train_vst(job, str(tmp_path), should_stop=lambda: True)
    events: list[Event] = []

    def kill_one(event: Event) -> None:
        events.append(event)
        starts = [event for event in events if isinstance(event, WorkersStarted)]
        if isinstance(event, StepDone) and event.step == 4 and len(starts) == 1:
            os.kill(starts[0].pids[1], signal.SIGKILL)

    train(job, str(tmp_path), workers=2, deepspeed=zero(3), save_every=1, on_event=kill_one)
    starts = [event.step for event in events if isinstance(event, WorkersStarted)]
    assert starts[0] == 1 and len(starts) == 2 and starts[1] >= 3
    assert_equal(loaded(tmp_path), plain)


@pytest.mark.usefixtures("ray_cluster")
def test_stopping_saves_and_errors_of_workers_are_told(job, plain, tmp_path) -> None:
    steps: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, StepDone):
            steps.append(event.step)

    train(job, str(tmp_path), workers=2, deepspeed=zero(2), on_event=on_event, should_stop=lambda: bool(steps))
    stopped = loaded(tmp_path)
    assert 1 <= stopped.step == steps[-1] < SETTINGS.steps
    assert_equal(run(job, tmp_path), plain)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "list.jsonl").write_text('{"video": "broken.mp4", "question": "Why?", "answer": "Chance"}')
    broken = dataclasses.replace(job, data=str(tmp_path / "list.jsonl"))
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        train(broken, str(tmp_path / "other"), workers=1)


@pytest.mark.parametrize(
    ("deepspeed", "message"),
    [
        ({"optimizer": {"type": "Adam"}}, "remove the block 'optimizer'"),
        ({"zero_optimization": {"stage": 0}}, "must be 1, 2 or 3"),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}}, "offload to"),
        ({"zero_optimization": {"stage": 2}, "fp16": {"enabled": True}}, "use bf16"),
    ],
)
def test_deepspeed_settings_that_would_mislead_are_refused(job, tmp_path, deepspeed, message) -> None:
    with pytest.raises(ConfigError, match=message):
        train(job, str(tmp_path), workers=2, deepspeed=deepspeed)


def test_a_batch_that_cannot_be_shared_out_is_refused(job, tmp_path) -> None:
    with pytest.raises(ConfigError, match="such as 6"):
        train(job, str(tmp_path), workers=3)
