"""A stock decoder over several questions at once: their tokens packed one behind another, attention left to the caller.

All of a decoder but its attention treats tokens alike, so tokens of many questions can share its matrix products. How
each of them looks at its own KVs is up to ``attend``, which transformers' attention interface calls in each layer.
Without it the decoder's attention is the one it had, to the bit, so that one model can be used both ways.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Protocol

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

# Names under which a decoder's own attention was registered with ``attend`` beside it, and that attention's name.
_OWN: dict[str, str] = {}


class Attend(Protocol):
    """Attention of one layer: of the packed tokens' queries, over whatever each may see."""

    def __call__(
        self, layer: int, queries_QTD: torch.Tensor, keys_HTD: torch.Tensor, values_HTD: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """``[T, Q, D]``. ``keys_HTD`` (rotated) and ``values_HTD`` are those of the packed tokens themselves."""


def enable_packed(decoder: PreTrainedModel) -> None:
    """Make ``decoder`` fit for the functions below. Nothing else changes."""
    own = decoder.config._attn_implementation
    if own in _OWN:
        return
    own = "sdpa" if own in (None, "eager") else own  # eager attention belongs to a model's file, not to the interface
    name = "videox2l_packed_over_" + re.sub(r"\W", "_", own)  # a slash would be looked up on the Hub
    if name not in _OWN:
        AttentionInterface.register(name, partial(_attention, ALL_ATTENTION_FUNCTIONS[own]))
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[own])
        _OWN[name] = own
    decoder.set_attn_implementation(name)


def own_attention(decoder_config: Any) -> str | None:
    """The name of a decoder's attention, whether or not it is fit for packing."""
    name: str | None = decoder_config._attn_implementation
    return name if name is None else _OWN.get(name, name)


def packed_logits(
    decoder: PreTrainedModel, ids_T: torch.Tensor, positions_T: torch.Tensor, wanted: torch.Tensor, attend: Attend
) -> torch.Tensor:
    """Logits ``[len(wanted), vocabulary]`` behind the packed tokens numbered ``wanted``."""
    logits_BTV: torch.Tensor = packed_forward(decoder, ids_T, positions_T, attend, logits_to_keep=wanted).logits
    return logits_BTV[0]


def packed_forward(
    decoder: PreTrainedModel, ids_T: torch.Tensor, positions_T: torch.Tensor, attend: Attend, **others: Any
) -> Any:
    """What ``decoder``, or its base model, returns. ``attend`` may end the pass by an exception."""
    # A mask of four dimensions is passed on as it is; without one transformers would build its own.
    no_mask = torch.empty(1, 1, 1, 1, device=ids_T.device)
    positions_BT = positions_T[None]
    return decoder(
        ids_T[None], position_ids=positions_BT, attention_mask=no_mask, use_cache=False, attend=attend, **others
    )


def _attention(
    own: Any,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    attend: Attend | None = None,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if attend is None:
        result: tuple[torch.Tensor, torch.Tensor | None] = own(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return result
    layer: int = module.layer_idx  # type: ignore[assignment]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(layer, query[0], key[0], value[0], scale)[None], None
