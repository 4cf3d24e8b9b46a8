"""Attention of a window's queries over the memory in front of it and, causally, over the window itself.

Which kernel runs is the language model's own setting (:func:`use_attention`): SDPA unless told otherwise, or one of the
flash-attention packages through transformers' interface. Flash-attention aligns its causal mask to the lower right
corner by itself, which is what a window behind a memory needs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.attention.bias import CausalBias, causal_lower_right
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from videox2l.errors import ModelError
from videox2l.models.packed import own_attention

WindowMask = torch.Tensor | CausalBias | None

SDPA = "sdpa"
FLASH = ("flash_attention_2", "flash_attention_3")
"""From the packages flash-attn and flash-attn-3, or from their builds on the Hub where ``kernels`` is installed."""

ATTENTION = (SDPA, *FLASH)

# Built into transformers, but they want a mask of their own kind, which nothing here makes.
_UNSUPPORTED = ("eager", "flex_attention")


def use_attention(language_model: PreTrainedModel, name: str) -> None:
    """Let prefill, and questions on this decoder, run attention with ``name``, one of :data:`ATTENTION`.

    What was registered with transformers' ``AttentionInterface`` works too, if it aligns ``is_causal`` to the lower
    right corner. Flash kernels need a GPU; where this was written there was none to run them on.

    :raises ModelError: there is no such implementation, it is not installed, or it cannot run this model.
    """
    dtype = str(language_model.dtype).removeprefix("torch.")
    if name in _UNSUPPORTED:
        raise ModelError(f"attention {name!r} cannot run a prefill: use {', '.join(ATTENTION)}")
    if name in FLASH and (language_model.device.type != "cuda" or dtype == "float32"):
        raise ModelError(
            f"{name} needs a GPU and bfloat16 or float16, but the model is in {dtype} on {language_model.device}: "
            f"use {SDPA} there"
        )
    try:
        language_model.set_attn_implementation(name)
    except (ImportError, ValueError, OSError) as error:
        raise ModelError(f"attention {name!r} cannot be used ({error}); {SDPA} always can") from error


def window_mask(window: int, memory: int, device: torch.device) -> WindowMask:
    """The mask of ``window`` queries over ``memory + window`` keys, aligned to the lower right corner.

    Without memory plain ``is_causal`` does it (``None``). On CUDA the alignment is SDPA's own causal bias, which its
    flash kernel evaluates without a mask in memory; that branch needs a GPU to run. CPU kernels know no such alignment,
    so there one boolean [window, memory + window] tensor is made for a chunk and shared by all layers and heads.
    """
    if memory == 0:
        return None
    if device.type == "cuda":
        bias = causal_lower_right(1, 1)
        # Its constructor would reserve 8 * window * (memory + window) bytes of the host, gigabytes for a long video,
        # that nothing reads: as a subclass of Tensor it takes these numbers for a shape.
        bias.seq_len_q, bias.seq_len_kv = window, memory + window
        return bias
    return torch.ones(window, memory + window, dtype=torch.bool, device=device).tril(memory)


def rows_mask(rows: torch.Tensor, window: int, memory: int) -> torch.Tensor:
    """:func:`window_mask` for some ``rows`` of the window only; boolean [rows, memory + window] on any device."""
    return torch.arange(memory + window, device=rows.device) <= memory + rows[:, None]


def attend(
    attention: Qwen2Attention,
    queries_BQTD: torch.Tensor,
    keys_BHTD: torch.Tensor,
    values_BHTD: torch.Tensor,
    mask: WindowMask,
) -> torch.Tensor:
    """Grouped-query attention of one layer; returns [B, T, Q·D]. Q must be a multiple of H.

    ``mask`` comes from :func:`window_mask`; implementations of transformers' interface align themselves.
    """
    name = own_attention(attention.config)
    if name not in (None, SDPA, *_UNSUPPORTED):
        run = ALL_ATTENTION_FUNCTIONS[name]
        out_BTQD, _ = run(
            attention, queries_BQTD, keys_BHTD, values_BHTD, None, scaling=attention.scaling, is_causal=True
        )
        return out_BTQD.flatten(2)
    return attend_masked(attention, queries_BQTD, keys_BHTD, values_BHTD, mask)


def attend_masked(
    attention: Qwen2Attention,
    queries_BQTD: torch.Tensor,
    keys_BHTD: torch.Tensor,
    values_BHTD: torch.Tensor,
    mask: WindowMask,
) -> torch.Tensor:
    """:func:`attend` by SDPA, whatever the model's setting: flash-attention knows no mask of any shape."""
    plain_mask = mask is not None and not isinstance(mask, CausalBias)
    if (isinstance(mask, CausalBias) and queries_BQTD.dtype == torch.float32) or (plain_mask and queries_BQTD.is_cuda):
        # Flash kernels are for half precision and know no mask of any shape, and the memory-efficient one wants as many
        # KV heads as query heads; left alone SDPA would write down all scores: Q * rows * (memory + window) numbers.
        groups = queries_BQTD.shape[1] // keys_BHTD.shape[1]
        keys_BHTD, values_BHTD = (kv.repeat_interleave(groups, dim=1) for kv in (keys_BHTD, values_BHTD))
    out_BQTD = F.scaled_dot_product_attention(
        queries_BQTD,
        keys_BHTD,
        values_BHTD,
        attn_mask=mask,
        is_causal=mask is None,
        scale=attention.scaling,
        enable_gqa=queries_BQTD.shape[1] != keys_BHTD.shape[1],
    )
    return out_BQTD.transpose(1, 2).flatten(2)
