"""A prefill that goes on from stored KVs equals one that never stopped, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest
import torch

from videox2l.config import CompressionConfig, EdgeRatio, PrefillMode, Remainder
from videox2l.kv import KV, LEVELS, ChunkKV
from videox2l.models import PrefillState, load_model
from videox2l.models.video_xl.model import VideoXL

Split = Sequence[torch.Tensor]


def prefill(model: VideoXL, chunks: Split, compression: CompressionConfig) -> tuple[KV, list[ChunkKV]]:
    """Prompt and chunks of a whole video in one go."""
    running = model.start_prefill(compression)
    return running.prompt, [running.append(chunk, last=chunk is chunks[-1]) for chunk in chunks]


def assert_same_bits(found: KV, expected: KV) -> None:
    for ours, theirs in ((found.keys_LHTD, expected.keys_LHTD), (found.values_LHTD, expected.values_LHTD)):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert torch.equal(ours.contiguous().view(torch.uint8), theirs.contiguous().view(torch.uint8))


def check_every_split(model: VideoXL, chunks: Split, compression: CompressionConfig) -> None:
    """Prefill the first chunks as a video of their own, go on behind all but its last, and compare."""
    prompt, expected = prefill(model, chunks, compression)
    for kept in range(1, len(chunks)):
        # The shorter video ends one chunk later, whose last frames may have been missing then.
        short = [*chunks[:kept], chunks[kept][: len(chunks[kept]) // 2 + 1]]
        stored_prompt, stored = prefill(model, short, compression)
        resumed = model.start_prefill(compression, PrefillState(stored_prompt, iter(stored[:kept])))
        assert_same_bits(resumed.prompt, prompt)
        for index in range(kept, len(chunks)):
            found = resumed.append(chunks[index], last=index == len(chunks) - 1)
            for level in LEVELS:
                assert_same_bits(found[level], expected[index][level])
        for level in LEVELS:
            assert resumed.memory_tokens(level) == prompt.tokens + sum(chunk[level].tokens for chunk in expected)


@pytest.mark.parametrize("mode", get_args(PrefillMode))
@pytest.mark.parametrize("remainder", ["close", "floor"])
@pytest.mark.parametrize("edge_ratio", ["low", "level", 5])
def test_every_split_of_a_random_model(
    random_model: VideoXL, edge_ratio: EdgeRatio, remainder: Remainder, mode: PrefillMode
) -> None:
    compression = CompressionConfig(2, 8, edge_ratio=edge_ratio, remainder=remainder, prefill=mode)
    tokens_TN = torch.randn(5 * 20 + 7, 32, generator=torch.Generator().manual_seed(0))
    check_every_split(random_model, tokens_TN.split(20), compression)


@pytest.mark.parametrize("mode", get_args(PrefillMode))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_split_of_the_bundled_model(dtype: str, mode: PrefillMode) -> None:
    model = load_model(device="cpu", dtype=dtype)
    assert isinstance(model, VideoXL)
    compression = replace(model.default_compression, prefill=mode)
    frame = model.frame_format
    frames = torch.randint(
        256,
        (4 * compression.frames_per_chunk - 3, frame.height, frame.width, 3),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    chunks = [model.encode_frames(part) for part in frames.split(compression.frames_per_chunk)]
    check_every_split(model, chunks, compression)


def test_resuming_behind_nothing_is_starting(random_model: VideoXL) -> None:
    compression = CompressionConfig(low_ratio=2, high_ratio=8)
    chunks = torch.randn(60, 32, generator=torch.Generator().manual_seed(0)).split(20)
    prompt, expected = prefill(random_model, chunks, compression)
    resumed = random_model.start_prefill(compression, PrefillState(prompt, []))
    for index, chunk in enumerate(chunks):
        found = resumed.append(chunk, last=index == len(chunks) - 1)
        for level in LEVELS:
            assert_same_bits(found[level], expected[index][level])
