"""The command ``videox2l train``, apart from its options: dry run, the run itself, and the checkpoint at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pipelines.train.deepspeed_config import half_precision
from pipelines.train.watch import StepProgress, estimate_table, interrupts
from videox2l.errors import ConfigError
from videox2l.training.vst.estimate import estimate
from videox2l.training.vst.export import check_out, export_run
from videox2l.training.vst.loop import StepDone, train_vst
from videox2l.training.vst.task import VSTJob

_FLOATS_SAVED = 3  # of every weight that learns: itself and AdamW's two moments
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class TrainRun:
    """A run as it was asked for on the command line; ``workers`` 0 is the plain loop in this process."""

    job: VSTJob
    work: str
    out: Path
    workers: int
    gpu: bool
    deepspeed: Mapping[str, Any]
    save_every: int
    storage_options: Mapping[str, Any] | None

    def show_needs(self, console: Console) -> None:
        """Print what the run will need.

        :raises ConfigError: some of the videos looked at cannot be used, and they are not to be skipped.
        """
        check_out(self.out)
        stage = self.deepspeed["zero_optimization"]["stage"] if self.workers else 0
        half = bool(self.workers) and half_precision(self.deepspeed)
        needs = estimate(self.job, workers=max(1, self.workers), stage=stage, half=half)
        console.print(estimate_table(needs, self.workers, _FLOATS_SAVED * _FLOAT32_BYTES * needs.trained))
        for reason in needs.unusable:
            console.print(reason, markup=False, soft_wrap=True)
        if needs.unusable and self.job.settings.broken_videos == "stop":
            raise ConfigError(
                f"{len(needs.unusable)} of {needs.planned} videos cannot be used: repair them, take them out of the "
                "list, or give --skip-broken"
            )

    def start(self, console: Console) -> None:
        """Train, or go on with training, and write the checkpoint.

        :raises KeyboardInterrupt: the run was interrupted; what it had done is saved.
        """
        check_out(self.out)
        with StepProgress(console) as show, interrupts(show.say) as should_stop:
            if self.workers:
                self._on_workers(show, should_stop)
            else:
                self._here(show, should_stop)
        if show.step and show.step < self.job.settings.steps:
            console.print(f"stopped after step {show.step}; the same command goes on from {self.work}", markup=False)
            raise KeyboardInterrupt
        export_run(self.job, self.work, self.out, storage_options=self.storage_options)
        console.print(f"checkpoint and model card are in {self.out}", markup=False)

    def _here(self, show: StepProgress, should_stop: Callable[[], bool]) -> None:
        if self.gpu and not torch.cuda.is_available():
            raise ConfigError("PyTorch finds no GPU here: leave out --gpu, or install a build of torch for your GPU")
        train_vst(
            self.job,
            self.work,
            device="cuda" if self.gpu else "cpu",
            save_every=self.save_every,
            storage_options=self.storage_options,
            on_step=show,
            on_skip=lambda reason: show.say(f"skipped: {reason}"),
            should_stop=should_stop,
        )

    def _on_workers(self, show: StepProgress, should_stop: Callable[[], bool]) -> None:
        # Imported here, because a run in this process needs no Ray.
        from pipelines.train.board import Event, VideoSkipped, WorkersStarted
        from pipelines.train.job import train

        def on_event(event: Event) -> None:
            match event:
                case StepDone():
                    show(event)
                case VideoSkipped(reason):
                    show.say(f"skipped: {reason}")
                case WorkersStarted(step, pids):
                    show.say(f"{len(pids)} workers go on from step {step}" if step else f"{len(pids)} workers started")

        train(
            self.job,
            self.work,
            workers=self.workers,
            gpu=self.gpu,
            deepspeed=self.deepspeed,
            save_every=self.save_every,
            storage_options=self.storage_options,
            on_event=on_event,
            should_stop=should_stop,
        )
