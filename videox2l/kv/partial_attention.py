"""Attention over part of the keys, such that parts can be joined: results with their log-sum-exp."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_flash_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True)
class Part:
    """Results ``[..., N, D]`` in float32 and log-sum-exp of the scores ``[..., N]`` of N queries over some keys."""

    out_ND: torch.Tensor
    lse_N: torch.Tensor

    def join(self, other: Part) -> Part:
        """Attention over the keys of both."""
        share_N = torch.sigmoid(other.lse_N - self.lse_N)
        out_ND = torch.lerp(self.out_ND, other.out_ND, share_N[..., None])
        return Part(out_ND, torch.logaddexp(self.lse_N, other.lse_N))


def attend(
    queries_BHND: torch.Tensor,
    keys_BHMD: torch.Tensor,
    values_BHMD: torch.Tensor,
    scaling: float,
    mask_BHNM: torch.Tensor | None = None,
) -> Part:
    """N queries a KV head, each over all M keys; ``mask`` (broadcast) is added to the scores."""
    if queries_BHND.is_cpu:
        # What PyTorch's own attention calls on a CPU; only its public face keeps the log-sum-exp to itself.
        if mask_BHNM is not None:
            mask_BHNM = mask_BHNM.to(queries_BHND.dtype).expand(*queries_BHND.shape[:3], -1)
        out, lse = _flash_cpu(queries_BHND, keys_BHMD, values_BHMD, attn_mask=mask_BHNM, scale=scaling)
        return Part(out.float(), lse.float())
    return attend_by_hand(queries_BHND, keys_BHMD, values_BHMD, scaling, mask_BHNM)


def attend_by_hand(
    queries_BHND: torch.Tensor,
    keys_BHMD: torch.Tensor,
    values_BHMD: torch.Tensor,
    scaling: float,
    mask_BHNM: torch.Tensor | None = None,
) -> Part:
    """As :func:`attend`, by the formula: for devices whose fused kernels do not tell the log-sum-exp."""
    scores_BHNM = (queries_BHND @ keys_BHMD.mT).float() * scaling
    if mask_BHNM is not None:
        scores_BHNM = scores_BHNM + mask_BHNM
    weights_BHNM = scores_BHNM.softmax(-1)
    # From the largest weight, exp(max - lse): cheaper than to sum all scores once more.
    lse_BHN = scores_BHNM.amax(-1) - weights_BHNM.amax(-1).log()
    return Part((weights_BHNM.to(values_BHMD.dtype) @ values_BHMD).float(), lse_BHN)
