from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from videox2l.kv.partial_attention import Part, attend, attend_by_hand

SCALING = 8**-0.5


def tensors(queries: int, keys: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, count, 8) for count in (queries, keys, keys)]
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 300), (5, 40)])
def test_the_fused_kernel_equals_the_formula(queries: int, keys: int, masked: bool) -> None:
    query, key, value = tensors(queries, keys)
    mask = torch.zeros(2, 1, 1, keys) if masked else None
    if mask is not None and keys > 1:
        mask[1, ..., keys // 2 :] = -torch.inf
    fused, formula = (how(query, key, value, SCALING, mask) for how in (attend, attend_by_hand))
    torch.testing.assert_close(fused.out_ND, formula.out_ND, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fused.lse_N, formula.lse_N, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", [attend, attend_by_hand])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_joined_parts_are_attention_over_all_keys(how, dtype: torch.dtype, tolerance: float) -> None:
    query, key, value = tensors(4, 90, dtype)
    parts: list[Part] = [
        how(query, key[:, :, part], value[:, :, part], SCALING) for part in (slice(0, 13), slice(13, 14), slice(14, 90))
    ]
    joined = parts[0].join(parts[1]).join(parts[2])
    expected = scaled_dot_product_attention(query, key, value, scale=SCALING)
    torch.testing.assert_close(joined.out_ND, expected.float(), rtol=tolerance, atol=tolerance)
