from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.kv.codecs.samples import DTYPES, like_a_model, shape_of, stored
from videox2l.kv import KV
from videox2l.kv.codecs import CodecError, codec
from videox2l.kv.codecs.quantised import GROUP_TOKENS

STEPS = {"int8": 255, "int4": 15}


def there_and_back(name: str, kv: KV) -> KV:
    return codec(name).decode(stored(codec(name), kv), shape_of(kv), kv.keys_LHTD.dtype)


def constant(value: float, dtype: torch.dtype, tokens: int = 5) -> KV:
    keys_LHTD = torch.full((1, 2, tokens, 3), value, dtype=dtype)
    return KV(keys_LHTD, keys_LHTD)


@settings(deadline=None)  # a busy machine is no failure
@given(
    name=st.sampled_from(tuple(STEPS)),
    dtype=st.sampled_from(DTYPES),
    tokens=st.sampled_from((1, 2, GROUP_TOKENS - 1, GROUP_TOKENS, GROUP_TOKENS + 1, 3 * GROUP_TOKENS - 5)),
    dim=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_error_is_at_most_half_a_step_of_each_channels_own_group(
    name: str, dtype: torch.dtype, tokens: int, dim: int, seed: int
) -> None:
    kv = like_a_model((2, 2, tokens, dim), dtype, seed)
    decoded = there_and_back(name, kv)
    for before, after in ((kv.keys_LHTD, decoded.keys_LHTD), (kv.values_LHTD, decoded.values_LHTD)):
        for group, restored in zip(before.split(GROUP_TOKENS, 2), after.split(GROUP_TOKENS, 2), strict=True):
            low, high = group.double().aminmax(dim=2, keepdim=True)
            rounding = torch.finfo(dtype).eps * torch.maximum(low.abs(), high.abs())
            error = (restored.double() - group.double()).abs()
            assert (error <= (high - low) / STEPS[name] / 2 * (1 + 1e-5) + rounding).all()
            # The ends are exact, so nothing ever leaves the range that a channel had.
            assert torch.equal(restored.double().amin(2, keepdim=True), low)
            assert torch.equal(restored.double().amax(2, keepdim=True), high)


EXTREMES = (0.0, 1e-3, -333.0, "tiny", "max", "min", "smallest_normal")


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", EXTREMES)
def test_constant_groups_are_exact(name: str, dtype: torch.dtype, value: float | str) -> None:
    kv = constant(getattr(torch.finfo(dtype), value) if isinstance(value, str) else value, dtype)
    assert torch.equal(there_and_back(name, kv).keys_LHTD, kv.keys_LHTD)


@pytest.mark.parametrize("name", STEPS)
def test_neighbours_of_an_outlier_channel_keep_their_precision(name: str) -> None:
    kv = like_a_model((1, 1, GROUP_TOKENS, 4), torch.float32)
    larger = KV(kv.keys_LHTD * torch.tensor([1000.0, 1, 1, 1]), kv.values_LHTD)
    alone, beside = there_and_back(name, kv).keys_LHTD, there_and_back(name, larger).keys_LHTD
    assert torch.equal(alone[..., 1:], beside[..., 1:])


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("tensor", ["keys", "values"])
def test_values_that_are_not_finite_are_refused(name: str, value: float, tensor: str) -> None:
    kv = like_a_model((2, 1, GROUP_TOKENS + 3, 2), torch.bfloat16)
    getattr(kv, f"{tensor}_LHTD")[1, 0, -1, 1] = value
    with pytest.raises(ValueError, match=f"{tensor} holds values that are not finite"):
        codec(name).encode(kv)


@pytest.mark.parametrize("name", STEPS)
def test_a_range_wider_than_float32_is_refused(name: str) -> None:
    keys_LHTD = torch.tensor([3e38, -3e38]).reshape(1, 1, 2, 1)
    with pytest.raises(ValueError, match="too far apart"):
        codec(name).encode(KV(keys_LHTD, keys_LHTD))


# (minimum, maximum) as little-endian bfloat16: NaN, infinite, the wrong way round, too far apart
BOUNDS = {"nan": ("c07f", "c07f"), "infinite": ("0000", "807f"), "reversed": ("803f", "0000"), "wide": ("7fff", "7f7f")}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("bounds", BOUNDS)
def test_stored_bounds_that_are_no_range_are_refused(name: str, bounds: str) -> None:
    kv = KV(torch.ones(1, 1, 3, 1, dtype=torch.bfloat16), torch.ones(1, 1, 3, 1, dtype=torch.bfloat16))
    low, high = (memoryview(bytes.fromhex(text)) for text in BOUNDS[bounds])
    fields = {**stored(codec(name), kv), "values_minimum": low, "values_maximum": high}
    with pytest.raises(CodecError, match="values_minimum and values_maximum"):
        codec(name).decode(fields, shape_of(kv), torch.bfloat16)
