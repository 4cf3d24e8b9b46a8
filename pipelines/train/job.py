"""``train``: a run on the workers of a Ray cluster, watched and, if need be, stopped from here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow.fs
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from pipelines.ingest.cluster import ray_cluster
from pipelines.train.board import Board, Event
from pipelines.train.deepspeed_config import DEFAULT, check_deepspeed
from pipelines.train.worker import WorkerJob, run_worker
from videox2l.errors import ConfigError, VideoX2LError
from videox2l.training.vst.loop import SAVE_EVERY
from videox2l.training.vst.state import RunFolder
from videox2l.training.vst.task import VSTJob

# Seconds between looks at the board: often enough for a progress bar.
_LOOK_EVERY_S = 0.2

_RAY_TRAIN = "ray-train"  # Ray Train's own notes, in the run's folder


class WorkersFailedError(VideoX2LError):
    """Workers died, or could not be started, more often than they are started again."""


def train(
    job: VSTJob,
    work: str,
    *,
    workers: int,
    gpu: bool = False,
    deepspeed: Mapping[str, Any] = DEFAULT,
    save_every: int = SAVE_EVERY,
    max_failures: int = 3,
    storage_options: Mapping[str, Any] | None = None,
    on_event: Callable[[Event], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train on ``workers`` processes; a second call with the same ``work`` folder goes on where the first stopped.

    Workers that die are started again, ``max_failures`` times, from the last saved state. ``work`` must be a place that
    every node of the cluster reaches. ``deepspeed`` is what a DeepSpeed JSON file holds. When ``should_stop`` says so,
    the step is ended and saved. The number of workers and the ZeRO stage may change from call to call.

    :raises ConfigError: data or settings are wrong, or ``work`` holds another run.
    :raises VideoError: a video cannot be used (``settings.broken_videos``).
    :raises WorkersFailedError: the workers died more than ``max_failures`` times.
    """
    _check(job, workers)
    zero = check_deepspeed(deepspeed, "deepspeed")
    folder = RunFolder(work, storage_options)
    folder.claim(job.document())
    asked = WorkerJob(job, folder.storage.url, zero, gpu, save_every, dict(storage_options or {}))
    with ray_cluster(workers, 1.0) as own_cluster:
        if gpu and own_cluster:  # another one may still grow
            _require_gpus(workers)
        board = Board.remote()
        trainer = TorchTrainer(
            run_worker,
            train_loop_config={"job": asked, "board": board},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
            run_config=_run_config(folder, max_failures),
        )
        try:
            _fit(trainer, board, on_event, should_stop)
        finally:
            ray.kill(board)


def _check(job: VSTJob, workers: int) -> None:
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if job.settings.batch % workers:
        raise ConfigError(
            f"a batch of {job.settings.batch} examples cannot be shared out evenly among {workers} workers: choose a "
            f"multiple, such as {workers * -(-job.settings.batch // workers)}"
        )


def _require_gpus(workers: int) -> None:
    found = int(ray.cluster_resources().get("GPU", 0))
    if found < workers:
        raise ConfigError(
            f"{workers} workers need a GPU each, this machine has {found}: ask for fewer, or leave out --gpu"
        )


def _run_config(folder: RunFolder, max_failures: int) -> RunConfig:
    filesystem = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(folder.storage.fs))
    return RunConfig(
        name=_RAY_TRAIN,
        storage_path=folder.storage.root,
        storage_filesystem=filesystem,
        failure_config=FailureConfig(max_failures=max_failures),
    )


def _fit(
    trainer: TorchTrainer,
    board: ActorHandle,
    on_event: Callable[[Event], None] | None,
    should_stop: Callable[[], bool],
) -> None:
    """Run the trainer in a thread of its own: in the main thread it would take Ctrl-C for itself, and save nothing."""
    errors: list[BaseException] = []

    def fit() -> None:
        try:
            trainer.fit()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=fit, name="ray-train", daemon=True)
    thread.start()
    asked_to_stop = False
    while True:
        thread.join(_LOOK_EVERY_S)
        running = thread.is_alive()  # asked before the board, whose last events must not be missed
        for event in ray.get(board.collect.remote()):
            if on_event is not None:
                on_event(event)
        if not running:
            break
        if should_stop() and not asked_to_stop:
            board.stop.remote()
            asked_to_stop = True
    failure: VideoX2LError | None = ray.get(board.failure.remote())
    if failure is not None:
        raise failure
    if errors:
        raise _explained(errors[0]) from errors[0]


def _explained(error: BaseException) -> BaseException:
    if isinstance(error, TrainingFailedError | RayError):
        return WorkersFailedError(
            f"the workers failed; the last saved state is kept, and the same command goes on from there.\n{error}"
        )
    return error
