"""A run's engine on DeepSpeed: gradients, moments and (stage 3) weights are shared out among the workers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed, nn

from pipelines.train.deepspeed_config import complete_deepspeed
from videox2l.parallel.backend import import_deepspeed
from videox2l.training.vst.engine import set_weights
from videox2l.training.vst.module import VSTModule, choose_trained, make_optimizer
from videox2l.training.vst.settings import VSTSettings
from videox2l.training.vst.state import PARTS, Tensors, TrainingState


class DeepSpeedEngine:
    """One of the workers; torch's process group must have been set up, as Ray Train does it.

    With a ``state`` it goes on from there.
    """

    def __init__(
        self,
        module: VSTModule,
        settings: VSTSettings,
        state: TrainingState | None,
        deepspeed_settings: Mapping[str, Any],
        device: torch.device,
    ) -> None:
        self._device = device
        self.rank, self.workers = distributed.get_rank(), distributed.get_world_size()
        self._trained = choose_trained(module, settings)
        if state is not None:
            set_weights(self._trained, state)
        optimizer = make_optimizer(self._trained, settings)
        deepspeed = import_deepspeed(device)
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # it tells every worker's every setting
        self._utils = deepspeed.utils
        # auto_mpi_discovery: with it DeepSpeed would look for an MPI that is not there.
        deepspeed.init_distributed(dist_backend=distributed.get_backend(), auto_mpi_discovery=False)
        # The embedding is read without calling a module of its own, where ZeRO-3 would have gathered it.
        deepspeed.zero.register_external_parameter(module, module.vst.embedding.weight)
        config = complete_deepspeed(deepspeed_settings, settings, self.workers)
        if config["zero_optimization"]["stage"] == 3:
            # Weight by weight, so that no device ever holds all of them.
            deepspeed.zero.Init(module=module, config_dict_or_path=config)
        self._engine, self._optimizer, _, _ = deepspeed.initialize(model=module, optimizer=optimizer, config=config)
        # DeepSpeed averages over workers and over a step's examples, whose losses are meant to be summed.
        self._sum_factor = settings.batch
        self._prepare_moments(state.step if state is not None else 0)
        if state is not None:
            self._restore(state)

    @property
    def module(self) -> nn.Module:
        module: nn.Module = self._engine
        return module

    def backward(self, loss: torch.Tensor) -> None:
        self._engine.backward(loss * self._sum_factor)
        if not self._engine.is_gradient_accumulation_boundary():
            self._engine.step()

    def step(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        self._engine.step()

    def total(self, *values: float) -> list[float]:
        sums = torch.tensor(values, dtype=torch.float64, device=self._device)
        distributed.all_reduce(sums)
        return sums.tolist()

    def tensors(self) -> Mapping[str, Tensors]:
        """Gathered weight by weight, so that no worker but the first ever holds more than one of them whole."""
        gathered: dict[str, Tensors] = {part: {} for part in PARTS}
        for name, parameter in self._trained.items():
            for part in PARTS:
                whole = (
                    self._utils.safe_get_full_fp32_param(parameter)
                    if part == "weights"
                    else self._utils.safe_get_full_optimizer_state(parameter, part)
                )
                if self.rank == 0:
                    gathered[part][name] = whole.detach().cpu().clone().view(_shape(parameter))
        return gathered

    def _restore(self, state: TrainingState) -> None:
        """Set AdamW's moments, and the weights once more: the module's may be rounded to bfloat16."""
        for name, parameter in self._trained.items():
            for part in PARTS:
                self._set(parameter, part, state.tensors[part][name].to(self._device))

    def _set(self, parameter: nn.Parameter, part: str, whole: torch.Tensor) -> None:
        if not hasattr(parameter, "ds_tensor"):  # all but stage 3
            if part == "weights":
                self._utils.safe_set_full_fp32_param(parameter, whole)
            else:
                self._utils.safe_set_full_optimizer_state(parameter, whole, part)
            return
        # All workers' shares are equally long, so zeros may stand behind the last one's.
        length = parameter.ds_tensor.numel()
        padded = nn.functional.pad(whole.flatten(), (0, length * self.workers - whole.numel()))
        own = padded.narrow(0, length * self.rank, length)
        if part == "weights":
            self._utils.safe_set_local_fp32_param(parameter, own)
        else:
            self._utils.safe_set_local_optimizer_state(parameter, own, part)

    def _prepare_moments(self, step: int) -> None:
        """Give AdamW the moments that it would only make in its first step, so that there is something to set.

        DeepSpeed 0.19 moreover finds only the first group's, unless all are there before that step.
        """
        inner = self._optimizer.optimizer
        for share in self._shares():
            zeros = {part: torch.zeros_like(share) for part in PARTS[1:]}
            inner.state[share] = {"step": torch.tensor(float(step)), **zeros}
        if hasattr(self._optimizer, "_lazy_init_hp_params_optimizer_state"):  # all but stage 3
            self._optimizer._lazy_init_hp_params_optimizer_state()

    def _shares(self) -> list[torch.Tensor]:
        """This worker's share of the trained weights, as AdamW knows it."""
        for name in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups", "fp32_groups_flat_partition"):
            if hasattr(self._optimizer, name):
                shares: list[torch.Tensor] = getattr(self._optimizer, name)
                return shares
        raise RuntimeError(f"cannot restore the state of {type(self._optimizer).__name__}")


def _shape(parameter: nn.Parameter) -> torch.Size:
    """Its whole shape: ZeRO-3 leaves an empty tensor in place of a weight that is shared out."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape
