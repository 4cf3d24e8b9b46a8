"""A model larger than its GPU: weights wait in the CPU's memory and come over layer by layer (ZeRO-3 inference).

The results are those of the plain model, bit for bit, since every layer computes what it always does. The price is
time: all weights cross the bus for every chunk and level, and for every token of an answer.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from videox2l.errors import ConfigError
from videox2l.models.protocol import KVCompressibleModel
from videox2l.models.registry import load_model, placement
from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.parallel.backend import import_deepspeed

OFFLOADS = ("cpu",)


def load_model_offloaded(
    name: str,
    *,
    offload: str = "cpu",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> KVCompressibleModel:
    """As :func:`~videox2l.models.load_model`, with the weights left where ``offload`` says; one process, one device.

    The model must not be used by several threads at once: a layer's weights are gone when the first of them is through.
    Only on the CPU was it tested, where it moves nothing but runs the same code.

    :raises ConfigError: no such ``offload``, a model that this does not work for, or a process of several ranks.
    """
    if offload not in OFFLOADS:
        raise ConfigError(f"weights can be offloaded to {', '.join(OFFLOADS)}, not to {offload!r}")
    if dist.is_initialized() and dist.get_world_size() > 1:
        raise ConfigError("this process shares a model with other ranks: offload in a process of its own")
    chosen, dtype = placement(device, dtype)
    model = load_model(name, device="cpu", dtype=dtype)
    if not isinstance(model, VideoXL):
        raise ConfigError(f"{name} is no Video-XL: no other kind of model can be offloaded yet")
    _partition(model.network, chosen)
    return model


def _partition(network: VideoXLNetwork, device: torch.device) -> None:
    deepspeed = import_deepspeed(device)
    if not dist.is_initialized():
        # DeepSpeed wants a process group even of one; this store needs no port.
        dist.init_process_group(
            "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1
        )
    deepspeed.init_distributed(auto_mpi_discovery=False)
    dtype = network.language_model.dtype
    pinned = device.type == "cuda"  # page-locked memory is what a GPU copies from at full speed
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,  # demanded, and without meaning for inference
        "zero_optimization": {"stage": 3, "offload_param": {"device": "cpu", "pin_memory": pinned}},
        "bf16": {"enabled": dtype == torch.bfloat16},
        "fp16": {"enabled": dtype == torch.float16},
    }
    # First of all to the CPU: what is whole when the engine starts, it moves to the device in one piece.
    deepspeed.zero.Init(module=network, config_dict_or_path=config, remote_device="cpu", pin_memory=pinned, dtype=dtype)
    deepspeed.initialize(model=network, config=config)
    for name, buffer in list(network.named_buffers()):
        owner, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(owner), attribute, buffer.to(device))
