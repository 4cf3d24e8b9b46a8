"""What each worker of Ray Train runs: its share of every step."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.actor import ActorHandle
from ray.train.torch import get_device
from torch import distributed

from pipelines.train.board import VideoSkipped, WorkersStarted
from pipelines.train.deepspeed_config import half_precision
from pipelines.train.engine import DeepSpeedEngine
from videox2l.errors import VideoX2LError
from videox2l.training.vst.loop import SAVE_EVERY, StepDone, run_steps
from videox2l.training.vst.state import RunFolder
from videox2l.training.vst.task import VSTJob


@dataclass(frozen=True)
class WorkerJob:
    """All that a worker needs to know. Paths are absolute: Ray Train changes the working folder."""

    job: VSTJob
    work: str
    deepspeed: Mapping[str, Any]
    gpu: bool
    save_every: int = SAVE_EVERY
    storage_options: Mapping[str, Any] = field(default_factory=dict)


def run_worker(config: Mapping[str, Any]) -> None:
    """Ray Train's function: ``config`` holds the ``job`` (:class:`WorkerJob`) and the ``board``."""
    board: ActorHandle = config["board"]
    if ray.get(board.failure.remote()) is not None:
        return  # Ray Train tries again; the driver knows already why that would be in vain
    try:
        _run(config["job"], board)
    except VideoX2LError as error:
        ray.get(board.fail.remote(error))
        raise


def _run(asked: WorkerJob, board: ActorHandle) -> None:
    device = get_device() if asked.gpu else torch.device("cpu")
    if asked.gpu:
        torch.cuda.set_device(device)
    task, module = asked.job.task(
        device,
        torch.bfloat16 if half_precision(asked.deepspeed) else torch.float32,
        on_skip=lambda reason: ray.get(board.report.remote(VideoSkipped(reason))),
    )
    folder = RunFolder(asked.work, asked.storage_options)
    state = folder.load()
    engine = DeepSpeedEngine(module, asked.job.settings, state, asked.deepspeed, device)
    pids: list[int] = [0] * engine.workers
    distributed.all_gather_object(pids, os.getpid())
    stop = False
    if engine.rank == 0:
        stop = ray.get(board.report.remote(WorkersStarted(state.step if state else 0, tuple(pids))))

    def report(event: StepDone) -> None:
        nonlocal stop
        if engine.rank == 0:
            stop = ray.get(board.report.remote(event))

    run_steps(task, engine, folder, state, save_every=asked.save_every, on_step=report, should_stop=lambda: stop)
