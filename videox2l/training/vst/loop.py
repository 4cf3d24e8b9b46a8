"""The steps of a run, in one process or as one of many workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from videox2l.errors import ConfigError
from videox2l.training.vst.engine import Engine, PlainEngine
from videox2l.training.vst.state import RunFolder, TrainingState
from videox2l.training.vst.task import VSTJob, VSTTask

SAVE_EVERY = 100
"""Steps between saved states; the most that a killed run loses."""

# One video is decoded while another is learned from; a second covers one that decodes slowly.
_PREFETCHED = 2


@dataclass(frozen=True)
class StepDone:
    """A step that was made. ``loss``: mean cross entropy of its answers' tokens, in nats; ``seconds``: it took."""

    step: int
    steps: int
    loss: float
    answer_tokens: int
    seconds: float


def train_vst(
    job: VSTJob,
    work: str,
    *,
    device: str | torch.device = "cpu",
    save_every: int = SAVE_EVERY,
    storage_options: Mapping[str, Any] | None = None,
    on_step: Callable[[StepDone], None] | None = None,
    on_skip: Callable[[str], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingState:
    """Train in this process; a second call with the same ``work`` folder goes on where the first stopped.

    ``should_stop`` is asked after every step; when it says so, the state is saved and returned. The same machine,
    library versions and number of threads repeat a run bit for bit, however often it was interrupted.

    :raises ConfigError: data or settings are wrong, or ``work`` holds another run.
    :raises VideoError: a video cannot be used (``settings.broken_videos``).
    """
    folder = RunFolder(work, storage_options)
    folder.claim(job.document())
    task, module = job.task(torch.device(device), on_skip=on_skip)
    state = folder.load()
    engine = PlainEngine(module.to(device), job.settings, state)
    return run_steps(task, engine, folder, state, save_every=save_every, on_step=on_step, should_stop=should_stop)


def run_steps(
    task: VSTTask,
    engine: Engine,
    folder: RunFolder,
    state: TrainingState | None,
    *,
    save_every: int = SAVE_EVERY,
    on_step: Callable[[StepDone], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingState:
    """Make the steps that are left behind ``state``; all workers do, each with its share of the examples.

    A loss is divided by the answers' tokens of the whole step, which every worker counts for itself. Sums over workers
    then are exactly what one process would have computed, but for rounding.
    """
    settings = task.settings
    state = state or TrainingState()
    state.tensors = {}  # the engine has them
    saved = state.step
    items = task.batch(state.seen)
    try:
        while state.step < settings.steps:
            began = time.monotonic()
            following = task.batch(state.seen + settings.batch) if state.step + 1 < settings.steps else []
            answer_tokens = sum(len(item.tokens.targets_X) for item in items)
            mine, coming = (part[engine.rank :: engine.workers] for part in (items, following))
            own_loss = 0.0
            for place, item in enumerate(mine):
                for soon in [*mine, *coming][place : place + 1 + _PREFETCHED]:
                    task.prefetch(soon)
                loss = task.loss(engine.module, item) / answer_tokens
                engine.backward(loss)
                own_loss += loss.item()
            engine.step(settings.rate(state.step))
            # One sum for both: workers must agree on stopping, or the others wait for those that left.
            total, stop = engine.total(own_loss, float(should_stop()))
            _require_finite(total, state.step)
            state.step, state.seen = state.step + 1, state.seen + settings.batch
            state.losses.append(total)
            items = following
            if on_step is not None:
                on_step(StepDone(state.step, settings.steps, total, answer_tokens, time.monotonic() - began))
            if stop or state.step == settings.steps or state.step - saved >= save_every:
                _save(state, engine, folder)
                saved = state.step
            if stop:
                break
    finally:
        task.close()
    return state


def _save(state: TrainingState, engine: Engine, folder: RunFolder) -> None:
    tensors = engine.tensors()
    if engine.rank == 0:
        state.tensors = tensors
        folder.save(state)
        state.tensors = {}


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise ConfigError(
            f"the loss of step {step + 1} is {loss}: the weights have run away. Begin anew with a lower learning rate "
            "or more warm-up steps; the states saved before are still there."
        )
