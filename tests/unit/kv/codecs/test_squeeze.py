from __future__ import annotations

import pyarrow as pa
import pytest
import torch

from tests.unit.kv.codecs.samples import bits, like_a_model, shape_of, stored
from videox2l.kv import KV
from videox2l.kv.codecs import CodecError, codec
from videox2l.kv.codecs.squeeze import MAX_RATIO

SQUEEZE = codec("squeeze")


def test_a_plane_that_promises_too_much_is_refused() -> None:
    """And is stored plain by the writer, so that nothing which was written is ever refused."""
    shape = (1, 1, 2**16, 2**4)
    zeros = torch.zeros(shape, dtype=torch.bfloat16)
    fields = stored(SQUEEZE, KV(zeros, zeros))
    assert bits(SQUEEZE.decode(fields, shape, torch.bfloat16)) == bits(KV(zeros, zeros))
    bomb = memoryview(pa.compress(bytes(zeros.numel()), "zstd", asbytes=True))
    assert bomb.nbytes * MAX_RATIO < zeros.numel()
    with pytest.raises(CodecError, match="cannot hold"):
        SQUEEZE.decode({**fields, "keys_high": bomb}, shape, torch.bfloat16)


def test_a_frame_must_hold_exactly_what_the_shape_asks_for() -> None:
    kv = like_a_model((2, 2, 65, 8), torch.bfloat16)
    fields = stored(SQUEEZE, kv)
    count = kv.keys_LHTD.numel()
    for length in (count - 1, count + 1, count * 2):
        frame = memoryview(pa.compress(bytes(range(8)) * length, "zstd", asbytes=True))
        with pytest.raises(CodecError, match="keys_high"):
            SQUEEZE.decode({**fields, "keys_high": frame}, shape_of(kv), torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_exponents_are_what_gets_smaller(dtype: torch.dtype) -> None:
    kv = like_a_model((2, 2, 256, 8), dtype)
    fields = stored(SQUEEZE, kv)
    assert fields["keys_high"].nbytes < kv.keys_LHTD.numel() * 0.6
    assert fields["keys_low"].nbytes <= kv.keys_LHTD.numel() * (dtype.itemsize - 1)
