"""What a run will need, before anything is loaded: weights that learn, epochs, and memory of each worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from videox2l.errors import VideoError
from videox2l.models.registry import find_checkpoint
from videox2l.models.video_xl.checkpoint import load_config, weight_files
from videox2l.models.video_xl.configuration import VideoXLConfig
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.training.vst.module import VSTModule, choose_trained
from videox2l.training.vst.settings import VSTSettings
from videox2l.training.vst.task import VSTJob
from videox2l.video import plan_video_isolated

_FLOAT32_BYTES = 4
# Planning a video reads its index, some tenths of a second; so many tell what the videos of a list are like.
_PLANNED_VIDEOS = 32
# Vectors of the hidden size that autograd keeps of each row of a layer: inputs and outputs of two norms, of attention
# and of the MLP, and residuals. Of the intermediate size: gate, its activation, up, and their product.
_HIDDEN_KEPT, _INTERMEDIATE_KEPT = 10, 4


@dataclass(frozen=True)
class Memory:
    """Bytes in one worker. ``activations``: of the longest of the videos that were planned."""

    weights: int
    gradients: int
    moments: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.activations


@dataclass(frozen=True)
class Estimate:
    """What a run will need. ``unusable``: reasons, of the ``planned`` videos that were looked at."""

    examples: int
    questions: int
    videos: int
    planned: int
    unusable: tuple[str, ...]
    longest_frames: int
    longest_chunks: int
    trained: int
    frozen: int
    epochs: float
    memory: Memory


def estimate(job: VSTJob, *, workers: int = 1, stage: int = 0, half: bool = False) -> Estimate:
    """Look at the list, some of its videos and the model's configuration.

    ``stage`` 0 stands for the plain loop; ``half``: DeepSpeed computes in bfloat16.

    :raises ConfigError: data or settings are wrong.
    :raises CheckpointError: the model's folder is not whole.
    """
    settings = job.settings
    examples = job.examples()
    folder = find_checkpoint(job.model)
    config = load_config(folder, weight_files(folder))
    per_chunk = settings.frames_per_chunk or config.compression.frames_per_chunk
    videos = list(dict.fromkeys(example.video for example in examples))
    chosen = [videos[int(i)] for i in np.linspace(0, len(videos) - 1, min(len(videos), _PLANNED_VIDEOS)).round()]
    frames, unusable = _planned_frames(chosen, settings, per_chunk)
    longest = max(frames, default=0)
    with torch.device("meta"):
        network = VideoXLNetwork(config)
    trained = sum(parameter.numel() for parameter in choose_trained(VSTModule(network), settings).values())
    everything = sum(parameter.numel() for parameter in network.parameters())
    vision = sum(p.numel() for part in (network.vision_tower, network.projector) for p in part.parameters())
    element = _FLOAT32_BYTES // 2 if half else _FLOAT32_BYTES
    memory = Memory(
        element * (vision + (everything - vision) // (workers if stage >= 3 else 1)),
        element * trained // (workers if stage >= 2 else 1),
        # Under ZeRO there is a float32 copy of the weights that learn, besides AdamW's two moments.
        _FLOAT32_BYTES * (2 * trained if stage == 0 else 3 * trained // workers),
        element * kept_elements(config, settings, longest, per_chunk),
    )
    return Estimate(
        examples=len(examples),
        questions=sum(len(example.pairs) for example in examples),
        videos=len(videos),
        planned=len(chosen),
        unusable=tuple(unusable),
        longest_frames=longest,
        longest_chunks=-(-longest // per_chunk),
        trained=trained,
        frozen=everything - trained,
        epochs=settings.steps * settings.batch / len(examples),
        memory=memory,
    )


def kept_elements(config: VideoXLConfig, settings: VSTSettings, frames: int, frames_per_chunk: int) -> int:
    """Roughly how many numbers autograd keeps of one example's chunks, at the lowest ratio for all of them."""
    chunks = -(-frames // frames_per_chunk)
    raw = min(frames, frames_per_chunk) * config.tokens_per_frame
    text = config.text
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    vsts = -(-raw // min(settings.ratios))
    rows = chunks * (raw + vsts)
    heads = text.num_attention_heads + 2 * text.num_key_value_heads
    of_rows = rows * (
        _HIDDEN_KEPT * text.hidden_size + _INTERMEDIATE_KEPT * text.intermediate_size + 2 * heads * head_dim
    )
    # Every chunk attends to a copy of the memory and its own rows, keys and values.
    of_memory = chunks * (chunks * vsts + raw + vsts) * 2 * text.num_key_value_heads * head_dim
    return int(text.num_hidden_layers * (of_rows + of_memory))


def _planned_frames(videos: Sequence[str], settings: VSTSettings, per_chunk: int) -> tuple[list[int], list[str]]:
    frames, unusable = [], []
    for video in videos:
        try:
            frames.append(plan_video_isolated(video, settings.sampling, per_chunk).frames)
        except VideoError as error:
            unusable.append(str(error))
    return frames, unusable
