"""How gradients are made and weights changed: what differs between one process and many. Here, the simple way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from videox2l.training.vst.module import VSTModule, choose_trained, make_optimizer
from videox2l.training.vst.settings import VSTSettings
from videox2l.training.vst.state import PARTS, Tensors, TrainingState


class Engine(Protocol):
    """The trained module in one of ``workers`` processes, of which this is number ``rank``."""

    rank: int
    workers: int

    @property
    def module(self) -> nn.Module:
        """What computes the loss."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of this worker's next example. Every worker has equally many in a step."""

    def step(self, rate: float) -> None:
        """Change the weights by the gradients of all workers together; ``rate`` is a factor of the learning rates."""

    def total(self, *values: float) -> list[float]:
        """Sums over all workers."""

    def tensors(self) -> Mapping[str, Tensors]:
        """The trained weights and AdamW's moments of them, whole, in rank 0; all workers must call it."""


class PlainEngine:
    """One process, PyTorch alone. With a ``state`` it goes on from there."""

    rank = 0
    workers = 1

    def __init__(self, module: VSTModule, settings: VSTSettings, state: TrainingState | None) -> None:
        self.module: nn.Module = module
        self._clip_norm = settings.clip_norm
        self._trained = choose_trained(module, settings)
        self._optimizer = make_optimizer(self._trained, settings)
        if state is None:
            return
        set_weights(self._trained, state)
        for name, parameter in self._trained.items():
            moments = {part: state.tensors[part][name].to(parameter.device) for part in PARTS[1:]}
            self._optimizer.state[parameter] = {"step": torch.tensor(float(state.step)), **moments}

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def step(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        nn.utils.clip_grad_norm_(self._trained.values(), self._clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def total(self, *values: float) -> list[float]:
        return list(values)

    def tensors(self) -> Mapping[str, Tensors]:
        weights = {name: parameter.detach().cpu() for name, parameter in self._trained.items()}
        states = {name: self._optimizer.state[parameter] for name, parameter in self._trained.items()}
        moments = {part: {name: state[part].cpu() for name, state in states.items()} for part in PARTS[1:]}
        return {"weights": weights, **moments}


def set_weights(trained: Mapping[str, nn.Parameter], state: TrainingState) -> None:
    """Take over the weights of a saved state."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(state.tensors["weights"][name])
