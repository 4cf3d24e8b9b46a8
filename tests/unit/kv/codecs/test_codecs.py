"""What holds for every codec."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.kv.codecs.samples import DTYPES, Shape, any_bits, bits, like_a_model, shape_of, stored
from videox2l.kv import KV
from videox2l.kv.codecs import CODECS, CodecError, codec

NAMES = tuple(CODECS)
SHAPES: tuple[Shape, ...] = ((1, 1, 0, 4), (1, 1, 1, 1), (2, 1, 3, 5), (3, 2, 64, 8), (1, 3, 131, 7))

names, dtypes = st.sampled_from(NAMES), st.sampled_from(DTYPES)
shapes = st.tuples(*(st.integers(low, high) for low, high in ((1, 3), (1, 3), (0, 130), (1, 9))))


@settings(deadline=None)  # a busy machine is no failure
@given(name=names, shape=shapes, dtype=dtypes, seed=st.integers(0, 99))
def test_shape_and_dtype_come_back_and_every_bit_where_lossless(
    name: str, shape: Shape, dtype: torch.dtype, seed: int
) -> None:
    lossless = codec(name).lossless
    kv = (any_bits if lossless else like_a_model)(shape, dtype, seed)
    decoded = codec(name).decode(stored(codec(name), kv), shape, dtype)
    assert shape_of(decoded) == shape
    assert decoded.keys_LHTD.dtype == decoded.values_LHTD.dtype == dtype
    if lossless:
        assert bits(decoded) == bits(kv)


LAYOUTS = {
    "slice of a buffer": lambda t: torch.cat([t, t], 2)[:, :, : t.shape[2]],
    "tokens outside": lambda t: t.movedim(2, 0).contiguous().movedim(0, 2),
    "channels outside": lambda t: t.mT.contiguous().mT,
    "on a graph": lambda t: t.clone().requires_grad_(),
} | ({"on a GPU": lambda t: t.cuda()} if torch.cuda.is_available() else {})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bytes_do_not_depend_on_where_a_tensor_lies(name: str, layout: str) -> None:
    kv = like_a_model((2, 3, 70, 4), torch.bfloat16)
    elsewhere = KV(LAYOUTS[layout](kv.keys_LHTD), LAYOUTS[layout](kv.values_LHTD))
    assert stored(codec(name), elsewhere) == stored(codec(name), kv)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_reads_read_only_memory_at_any_address_without_a_warning(name: str, dtype: torch.dtype, shape: Shape) -> None:
    fields = stored(codec(name), like_a_model(shape, dtype))
    shifted = {key: memoryview(b"." + bytes(data))[1:] for key, data in fields.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = [codec(name).decode(given_, shape, dtype) for given_ in (fields, shifted)]
    assert bits(decoded[0]) == bits(decoded[1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_buffers_cut_short_extended_or_missing_are_refused(name: str, dtype: torch.dtype) -> None:
    kv = like_a_model((2, 2, 65, 8), dtype)
    fields = stored(codec(name), kv)
    for key, data in fields.items():
        others = {other: fields[other] for other in fields if other != key}
        for wrong in (data[:-1], data[:1], b"", bytes(data) + b"\0", bytes(data) * 9):
            with pytest.raises(CodecError, match=key):
                codec(name).decode({**others, key: memoryview(wrong)}, shape_of(kv), dtype)
        with pytest.raises(CodecError, match=key):
            codec(name).decode(others, shape_of(kv), dtype)


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data(), name=names, shape=shapes, dtype=dtypes)
def test_random_buffers_are_refused_or_read(data: st.DataObject, name: str, shape: Shape, dtype: torch.dtype) -> None:
    """Lengths near those that the shape asks for, so that some get past the first check."""
    lengths = {key: len(value) for key, value in stored(codec(name), like_a_model(shape, dtype)).items()}
    seed, off = data.draw(st.integers(0, 2**32 - 1)), data.draw(st.sampled_from((0, 0, 0, -1, 1, 1000)))
    random = np.random.default_rng(seed)
    fields = {key: memoryview(random.bytes(max(0, length + off))) for key, length in lengths.items()}
    decode_or_refuse(name, fields, shape, dtype)


@settings(deadline=None)  # a busy machine is no failure
@given(data=st.data(), name=names, dtype=dtypes)
def test_damaged_buffers_are_refused_or_read(data: st.DataObject, name: str, dtype: torch.dtype) -> None:
    kv = like_a_model((2, 1, 66, 4), dtype)
    fields = stored(codec(name), kv)
    key = data.draw(st.sampled_from(codec(name).fields()))
    damaged = bytearray(fields[key])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decode_or_refuse(name, {**fields, key: memoryview(damaged)}, shape_of(kv), dtype)


def decode_or_refuse(name: str, fields: dict[str, memoryview], shape: Shape, dtype: torch.dtype) -> None:
    try:
        decoded = codec(name).decode(fields, shape, dtype)
    except CodecError:
        return
    assert shape_of(decoded) == shape
    assert decoded.keys_LHTD.dtype == dtype


# (codec, dtype, the bytes of keys [[1.0, -2.0, 1.0]] over three tokens of one channel), as any machine must write them
WRITTEN = {
    ("raw", torch.bfloat16): {"keys": "803f 00c0 803f"},
    ("raw", torch.float16): {"keys": "003c 00c0 003c"},
    ("raw", torch.float32): {"keys": "0000803f 000000c0 0000803f"},
    ("int8", torch.bfloat16): {"keys": "ff 00 ff", "keys_minimum": "00c0", "keys_maximum": "803f"},
    ("int4", torch.bfloat16): {"keys": "ff 00", "keys_minimum": "00c0", "keys_maximum": "803f"},
    ("int4", torch.float32): {"keys": "ff 00", "keys_minimum": "000000c0", "keys_maximum": "0000803f"},
    ("squeeze", torch.bfloat16): {"keys_high": "3f c0 3f", "keys_low": "80 00 80"},
    ("squeeze", torch.float32): {"keys_high": "3f c0 3f", "keys_low": "80 00 80 000000 000000"},
}


@pytest.mark.parametrize(("name", "dtype"), WRITTEN)
def test_bytes_written(name: str, dtype: torch.dtype) -> None:
    keys_LHTD = torch.tensor([1.0, -2.0, 1.0], dtype=dtype).reshape(1, 1, 3, 1)
    fields = stored(codec(name), KV(keys_LHTD, torch.zeros_like(keys_LHTD)))
    for key, text in WRITTEN[name, dtype].items():
        assert fields[key] == bytes.fromhex(text), key


def test_raw_is_read_without_a_copy() -> None:
    kv = like_a_model((2, 2, 5, 8), torch.bfloat16)
    fields = stored(codec("raw"), kv)
    decoded = codec("raw").decode(fields, shape_of(kv), torch.bfloat16)
    assert decoded.keys_LHTD.data_ptr() == np.frombuffer(fields["keys"], np.uint8).ctypes.data


@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes_are_refused(name: str) -> None:
    keys_LHTD = torch.ones(1, 1, 3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="float64"):
        codec(name).encode(KV(keys_LHTD, keys_LHTD))


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ValueError, match="raw, int8, int4, squeeze, got 'zip'"):
        codec("zip")


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_goes_by_its_name(name: str) -> None:
    assert codec(name).name == name


@pytest.mark.parametrize(("name", "times"), [("raw", 1), ("int8", 1.8), ("int4", 3.5), ("squeeze", 1.2)])
def test_is_as_small_as_it_says(name: str, times: float) -> None:
    """In bfloat16, over whole groups."""
    kv = like_a_model((2, 2, 256, 16), torch.bfloat16)
    assert sum(data.nbytes for data in stored(codec(name), kv).values()) <= math.ceil(kv.nbytes / times)
