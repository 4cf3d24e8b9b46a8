"""What a prefill needs of a device's memory, known before anything is loaded, and whether it is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, Qwen2Config

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import LEVELS
from videox2l.models.video_xl.configuration import VideoXLConfig
from videox2l.models.video_xl.network import VISION_BATCH_FRAMES, VideoXLNetwork
from videox2l.models.video_xl.vst import PassPlan, plan_pass

# Video-XL's chat template in front of a video, in tokens of Qwen2's tokenizer.
PROMPT_TOKENS = 14

# Of what is free: the rest is for libraries' workspaces and for gaps between an allocator's blocks.
USABLE = 0.95

_GIB = 2**30


@dataclass(frozen=True)
class Workload:
    """A prefill to be: ``videos`` at once, none longer than ``chunks`` (:meth:`VideoXLPrefill.expect` was told so)."""

    config: VideoXLConfig
    compression: CompressionConfig
    dtype: torch.dtype
    chunks: int
    videos: int = 1

    @property
    def raw_tokens(self) -> int:
        """Visual tokens of a chunk."""
        return self.compression.frames_per_chunk * self.config.tokens_per_frame

    def plans(self) -> list[PassPlan]:
        """The passes over one video, level by level."""
        sizes = {"chunks": self.chunks, "raw_tokens": self.raw_tokens, "prompt_tokens": PROMPT_TOKENS}
        return [plan_pass(level, self.compression, **sizes) for level in LEVELS]


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes on the device: ``weights``, the ``memories`` of both passes, and what runs through (``working``)."""

    weights: int
    memories: int
    working: int

    @property
    def total(self) -> int:
        return self.weights + self.memories + self.working

    def __str__(self) -> str:
        parts = (f"{name} {getattr(self, name) / _GIB:.1f}" for name in ("weights", "memories", "working"))
        return f"{self.total / _GIB:.1f} GiB ({', '.join(parts)})"


def required_bytes(work: Workload, *, mask: bool = False, parameters: int | None = None) -> MemoryNeed:
    """The most that ``work`` holds at any time.

    ``mask``: on a device where SDPA needs one written down (a CPU). ``parameters``: how many are to be loaded, by
    default all of the model.
    """
    if parameters is None:
        parameters = count_weights(work.config)
    text, size = work.config.text, work.dtype.itemsize
    plans = work.plans()
    token_bytes = 2 * text.num_hidden_layers * text.num_key_value_heads * _head_dim(text) * size
    rows = work.raw_tokens + max(plan.most_vsts for plan in plans)
    capacity = max(plan.capacity for plan in plans)
    # Kept KVs exist twice while layers are stacked, and the chunk's before are still on their way to the host.
    exported = 3 * sum(plan.most_vsts for plan in plans) * token_bytes
    # A boolean mask, and the same in the dtype of the scores, which SDPA makes of it.
    masks = rows * capacity * (1 + size) if mask else 0
    language = rows * _row_elements(text) * size + masks
    vision = 0 if work.config.vision is None else _vision_bytes(work, work.config.vision)
    return MemoryNeed(
        weights=parameters * size,
        memories=work.videos * sum(plan.capacity for plan in plans) * token_bytes,
        working=max(work.videos * language, vision) + work.videos * exported,
    )


def check_fits(work: Workload, device: torch.device, *, loaded: bool = False, free: int | None = None) -> MemoryNeed:
    """Return what ``work`` needs; ``loaded`` says that the weights are on ``device`` already, ``free`` its free bytes.

    :raises ModelError: it does not fit. The message has the numbers, and what would fit.
    """
    free = free_bytes(device) if free is None else free
    parameters = 0 if loaded else count_weights(work.config)
    need = _need(work, device, parameters)
    if free is None or need.total <= USABLE * free:
        return need
    usable = int(USABLE * free)
    frames = f"{work.chunks} chunks of {work.compression.frames_per_chunk} frames"
    videos = "a video" if work.videos == 1 else f"{work.videos} videos at once"
    raise ModelError(
        f"a prefill of {videos} of {frames} needs {need} on {device}, where {usable / _GIB:.1f} GiB can be used. "
        f"{_remedies(work, device, parameters, usable)}"
    )


def free_bytes(device: torch.device) -> int | None:
    """Memory that this process could still take on ``device``; ``None`` where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return _host_free_bytes() if device.type == "cpu" else None


def count_weights(config: VideoXLConfig) -> int:
    """Parameters of a network of this configuration, tied ones once."""
    with torch.device("meta"):
        network = VideoXLNetwork(config)
    network.language_model.tie_weights()
    return sum(parameter.numel() for parameter in network.parameters())


def _need(work: Workload, device: torch.device, parameters: int) -> MemoryNeed:
    return required_bytes(work, mask=device.type != "cuda", parameters=parameters)


def _remedies(work: Workload, device: torch.device, parameters: int, usable: int) -> str:
    bases = {"": work}
    if work.dtype == torch.float32 and parameters:
        bases["bfloat16 and "] = replace(work, dtype=torch.bfloat16)
    for words, base in bases.items():
        found = [words + change for change in _smaller(base, device, parameters, usable)]
        if found:
            return f"What would fit: {'; or '.join(found)}."
    least = _need(replace(bases.popitem()[1], chunks=1, videos=1), device, parameters)
    return (
        f"Even one chunk of one video needs {least.total / _GIB:.1f} GiB: take a larger device, or shard the model "
        "over several."
    )


def _smaller(work: Workload, device: torch.device, parameters: int, usable: int) -> list[str]:
    """Changes of ``work`` that would each make it fit, in words."""

    def fits(changed: Workload) -> bool:
        return _need(changed, device, parameters).total <= usable

    found = []
    if work.videos > 1 and fits(replace(work, videos=1)):
        found.append("one video at a time")
    if fits(replace(work, chunks=1)):
        below, above = 1, work.chunks + 1
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if fits(replace(work, chunks=middle)) else (below, middle)
        found.append(f"videos of up to {below} chunks")
    for ratio in (4, 8, 16, 32):
        if ratio > work.compression.low_ratio:
            coarser = replace(work.compression, low_ratio=ratio, high_ratio=max(ratio, work.compression.high_ratio))
            if fits(replace(work, compression=coarser)):
                found.append(f"a low ratio of {ratio}")
                break
    return found


def _head_dim(text: Qwen2Config) -> int:
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


def _row_elements(text: Qwen2Config) -> int:
    """Numbers that a row of a window occupies at the busiest point of a layer.

    In the MLP: three of its inner width, and the residual, its norm (in float32) and the chunk's own tokens beside it.
    In attention: queries, keys and values, before and after they are put in order and rotated.
    """
    hidden = text.hidden_size
    heads = (text.num_attention_heads + 2 * text.num_key_value_heads) * _head_dim(text)
    return max(3 * text.intermediate_size + 6 * hidden, 4 * heads + 6 * hidden)


def _vision_bytes(work: Workload, vision: CLIPVisionConfig) -> int:
    """The vision tower on one batch of frames: all layers' states are kept, as transformers hands out all of them."""
    frames = min(VISION_BATCH_FRAMES, work.compression.frames_per_chunk)
    patches = (vision.image_size // vision.patch_size) ** 2 + 1
    states = (vision.num_hidden_layers + 5) * vision.hidden_size + 2 * vision.intermediate_size
    projected = 3 * work.config.text.hidden_size
    pixels = 3 * vision.image_size**2 * (3 * 4 + work.dtype.itemsize)  # three steps in float32
    return frames * (patches * (states + projected) * work.dtype.itemsize + pixels)


def _host_free_bytes() -> int | None:
    """What the system and, in a container, its limit leave."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
        return min(free, limit - used + int(cached))
    except (OSError, KeyError, ValueError):
        return free  # no limit, or cgroups of another version
