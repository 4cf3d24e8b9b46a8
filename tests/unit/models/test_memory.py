"""What a prefill needs of a device, against what real ones hold; and what is said when it is not there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.checkpoints import write_random_checkpoint
from videox2l.config import CompressionConfig, EdgeRatio, PrefillMode
from videox2l.errors import ModelError
from videox2l.kv import LEVELS
from videox2l.models import load_model
from videox2l.models.memory import USABLE, check_fits, free_bytes, required_bytes
from videox2l.models.video_xl.memory import VideoXLWorkload, count_weights
from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.models.video_xl.presets import video_xl_7b

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LARGE = VideoXLWorkload(config=video_xl_7b(), compression=CompressionConfig(), dtype=torch.bfloat16, chunks=360)
GIB = 2**30


def test_sizes_of_the_published_model() -> None:
    """Bytes of a KV token, and of an hour at one frame a second, are arithmetic on the published configuration."""
    need = required_bytes(LARGE)
    assert count_weights(LARGE.config) == pytest.approx(8.40e9, rel=1e-3)
    low_tokens, high_tokens = 360 * 720, 2 * 720 + 358 * 45
    windows = 2 * (1440 + 14)
    assert need.memories == 57_344 * (low_tokens + high_tokens + windows)
    assert need.weights == 2 * count_weights(LARGE.config)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_those_of_the_loaded_model(tmp_path: Path, tied: bool) -> None:
    model = load_model(str(write_random_checkpoint(tmp_path, tie_word_embeddings=tied)), device="cpu")
    assert isinstance(model, VideoXL)
    assert count_weights(model.network.config) == sum(weight.numel() for weight in model.network.parameters())


@pytest.mark.parametrize("edge_ratio", ["low", "level", 5])
@pytest.mark.parametrize("chunks", [1, 2, 5])
@pytest.mark.parametrize("mode", get_args(PrefillMode))
def test_memories_are_the_buffers_of_a_prefill(
    random_model: VideoXL, chunks: int, edge_ratio: EdgeRatio, mode: PrefillMode
) -> None:
    compression = CompressionConfig(2, 8, frames_per_chunk=5, edge_ratio=edge_ratio, prefill=mode)
    work = VideoXLWorkload(
        config=random_model.network.config, compression=compression, dtype=torch.float32, chunks=chunks
    )
    network = random_model.network
    prefill = VideoXLPrefill(network.language_model, network.vst, torch.arange(14), compression)
    prefill.expect(chunks, work.raw_tokens)
    for index in range(chunks):
        prefill.append(torch.zeros(work.raw_tokens, 32), last=index == chunks - 1)
    held = sum(prefill._memory[level].keys_LHTD.nbytes + prefill._memory[level].values_LHTD.nbytes for level in LEVELS)
    assert required_bytes(work).memories == held


def test_more_of_anything_needs_more() -> None:
    need = required_bytes(LARGE)
    assert required_bytes(replace(LARGE, chunks=361)).memories > need.memories
    assert required_bytes(replace(LARGE, videos=2)).memories == 2 * need.memories
    doubled = required_bytes(replace(LARGE, dtype=torch.float32))
    assert (doubled.weights, doubled.memories) == (2 * need.weights, 2 * need.memories)
    longer = replace(LARGE.compression, frames_per_chunk=20)
    assert required_bytes(replace(LARGE, compression=longer)).working > need.working
    assert required_bytes(LARGE, mask=True).working > need.working
    single = required_bytes(replace(LARGE, compression=replace(LARGE.compression, prefill="single-pass")))
    assert (single.memories, single.weights) == (need.memories, need.weights)
    assert single.working > need.working


def test_ranks_share_weights_and_memories() -> None:
    whole, half = required_bytes(LARGE), required_bytes(replace(LARGE, ranks=2))
    assert half.memories == whole.memories // 2
    assert half.working < whole.working
    # Embeddings, the output projection and the vision tower are not shared out.
    text = LARGE.config.text
    kept = 2 * 2 * text.vocab_size * text.hidden_size + 2 * 300e6
    assert half.weights == pytest.approx(kept + (whole.weights - kept) / 2, rel=0.02)
    assert check_fits(replace(LARGE, ranks=4), GPU, free=24 * GIB).total < required_bytes(LARGE).total / 2


def test_exactly_enough_is_enough() -> None:
    total = required_bytes(LARGE).total
    assert check_fits(LARGE, GPU, free=int(total / USABLE) + 1).total == total
    with pytest.raises(ModelError):
        check_fits(LARGE, GPU, free=int(total / USABLE) - 1)


def test_loaded_weights_need_no_room() -> None:
    need = check_fits(LARGE, GPU, loaded=True, free=20 * GIB)
    assert need.weights == 0
    with pytest.raises(ModelError):
        check_fits(LARGE, GPU, free=20 * GIB)


def test_the_length_that_would_fit_does_and_one_more_does_not() -> None:
    free = 24 * GIB
    with pytest.raises(ModelError, match="360 chunks of 10 frames") as error:
        check_fits(LARGE, GPU, free=free)
    longest = int(re.search(r"videos of up to (\d+) chunks", str(error.value))[1])  # type: ignore[index]
    check_fits(replace(LARGE, chunks=longest), GPU, free=free)
    with pytest.raises(ModelError):
        check_fits(replace(LARGE, chunks=longest + 1), GPU, free=free)


REMEDIES = {
    "several videos": (replace(LARGE, videos=4), 48, "one video at a time"),
    "long": (LARGE, 28, "a low ratio of 4"),
    "very long": (LARGE, 24, "a low ratio of 8"),
    "float32": (replace(LARGE, dtype=torch.float32, chunks=20), 24, "bfloat16 and videos of up to 20 chunks"),
    "too small a device": (LARGE, 8, "Even one chunk .* 1[67]\\.. GiB: take a larger device, or 4 such devices"),
    "too small for any number": (LARGE, 2, "Even one chunk of one video needs 1[67]\\.. GiB: take a larger device.$"),
    "half a device": (replace(LARGE, chunks=30), 16, "What would fit: 2 such devices together|or 2 such devices"),
    "too small for float32": (
        replace(LARGE, dtype=torch.float32),
        8,
        "Even in bfloat16 one chunk of one video needs 1[67]\\.. GiB",
    ),
}


@pytest.mark.parametrize("case", REMEDIES)
def test_what_would_fit_is_said(case: str) -> None:
    work, free_gib, remedy = REMEDIES[case]
    with pytest.raises(ModelError, match=remedy):
        check_fits(work, GPU, free=free_gib * GIB)


def test_free_memory_of_this_machine() -> None:
    free = free_bytes(CPU)
    assert free is not None
    assert 2**20 < free < 2**50
    check_fits(replace(LARGE, chunks=1), torch.device("meta"))  # of whose memory nothing is known
