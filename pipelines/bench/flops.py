"""Floating-point operations of a prefill, by formula, and how fast a device multiplies matrices.

Counted are matrix products only, two operations a multiplication with its addition; norms, RoPE, softmax, activations
and copies are not. So a fraction of the matrix peak is a lower bound of what the device was kept busy with.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from transformers import CLIPVisionConfig, Qwen2Config

from videox2l.kv import LEVELS
from videox2l.models.video_xl.memory import VideoXLWorkload
from videox2l.models.video_xl.vst import PassPlan

# Side of the matrices. On a GPU large enough to reach its peak; on a CPU small enough to take milliseconds.
_SIDE = {"cuda": 8192, "cpu": 1024}
_ROUNDS, _PRODUCTS_A_ROUND = 5, 8


@dataclass(frozen=True)
class Flops:
    """Operations of a whole video, by part."""

    vision: int
    low: int
    high: int

    @property
    def total(self) -> int:
        return self.vision + self.low + self.high


def prefill_flops(work: VideoXLWorkload) -> Flops:
    """Operations of one video of ``work.chunks``, its prompt not counted. In a single pass ``low`` are its VSTs alone.

    The first chunk is counted at both levels, though it is run once where they are equal there.
    """
    low, high = (
        _level_flops(work.config.text, plan, with_raw=bool(work.compression.made_by(level)))
        for level, plan in zip(LEVELS, work.plans(), strict=True)
    )
    frames = work.chunks * work.compression.frames_per_chunk
    assert work.config.vision is not None
    return Flops(frames * _frame_flops(work.config.vision, work.config.text), low, high)


def _level_flops(text: Qwen2Config, plan: PassPlan, *, with_raw: bool) -> int:
    """Rows times weights in all layers but the last, which only projects; and scores and sums of attention.

    A row at place i of a window behind m memory tokens sees m + i + 1 keys. With W rows that is W·m + W(W+1)/2 a chunk;
    for V VSTs alone, at rows r, 2r + 1, … of it, V·m + W(V+1)/2.
    """
    hidden, head_dim = text.hidden_size, getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    query, key = text.num_attention_heads * head_dim, text.num_key_value_heads * head_dim
    projections = hidden * (query + 2 * key)
    layer = projections + query * hidden + 3 * hidden * text.intermediate_size
    idle = 0 if with_raw else plan.raw_tokens
    rows = plan.chunks * (plan.raw_tokens - idle) + plan.kept_tokens
    seen = sum((window - idle) * memory + window * (window - idle + 1) // 2 for memory, window in plan.windows())
    layers = text.num_hidden_layers - 1
    return 2 * rows * (layers * layer + projections) + layers * 4 * query * seen


def _frame_flops(vision: CLIPVisionConfig, text: Qwen2Config) -> int:
    """The whole tower, as transformers runs it whichever layer is wanted, and the projector on every patch."""
    side, hidden = vision.image_size // vision.patch_size, vision.hidden_size
    patches, rows = side**2, side**2 + 1
    layer = 2 * rows * (4 * hidden**2 + 2 * hidden * vision.intermediate_size) + 4 * rows**2 * hidden
    embedding = 2 * patches * 3 * vision.patch_size**2 * hidden
    projector = 2 * patches * (hidden * text.hidden_size + text.hidden_size**2)
    return vision.num_hidden_layers * layer + embedding + projector


@torch.inference_mode()
def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of large square matrix products: the best of a few rounds."""
    side = _SIDE.get(device.type, _SIDE["cpu"])
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = a @ b
    best = float("inf")
    for _ in range(_ROUNDS):
        synchronize(device)
        began = time.perf_counter()
        for _ in range(_PRODUCTS_A_ROUND):
            torch.mm(a, b, out=out)
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 * _PRODUCTS_A_ROUND / best


def synchronize(device: torch.device) -> None:
    """Wait for a GPU; other devices here compute before they return."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
